# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["badges"]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/04_beyond.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/04_beyond.ipynb)

# %% [markdown]
# # 4 · Beyond the report
#
# The report closes by asking what else might help. This lesson starts with what most often spoils an improvement: bugs that
# raise no error. Then it climbs a *ladder*, change after change, from the report's second model towards today's methods.
#
# **After this lesson you can** catch four silent bugs, each with a check of a few lines; see which frames count most for a
# model; say what a margin asks for; and read a ladder of improvements without fooling yourself.
#
# Allow 50 minutes; the computer needs six of them, or 30 seconds with [finished runs](../docs/teaching.md).
# If you have not run lesson 2 on this machine, a short run replaces it.

# %% tags=["bootstrap"]
# On Colab and Kaggle this fetches the course. Where speaker_lib is installed it does nothing.
import importlib.util, os, subprocess, sys

ADDRESS = "https://github.com/OWNER/speaker-course"
COURSE, RELEASE = "speaker-course", "v0.1.0"
if importlib.util.find_spec("speaker_lib") is None:
    assert not os.path.exists("../speaker_lib"), "open this notebook by `make lab` in the checkout"
    if not os.path.exists(COURSE):
        source = os.environ.get("SPEAKER_REPOSITORY", ADDRESS)
        clone = f"git -c advice.detachedHead=false clone --quiet --depth=1 --branch={RELEASE}"
        failed = subprocess.run([*clone.split(), source, COURSE]).returncode
        assert not failed, f"cannot fetch {RELEASE} from {source}; on Kaggle, switch Internet on"
    subprocess.run([sys.executable, f"{COURSE}/tools/install_missing.py"], check=True)
    sys.path.insert(0, os.path.abspath(COURSE))

# %% [markdown]
# ## Before we begin
#
# As in lesson 1.

# %%
from speaker_lib.course import explore, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## Bug 1: people mixed in a batch
#
# A *Conformer* layer ([Gulati et al. 2020](https://arxiv.org/abs/2005.08100)) is a Transformer layer with a convolution over
# neighbouring frames. The assignment asks for one. In several public solutions it expects `(frames, batch, d_model)`, as
# PyTorch's own Transformer layer does by default, gets `(batch, frames, d_model)`, and raises no error. **What does such a
# layer do with a batch of three people?** The gradient tells whose input can change the first one's output.
#
# **Exercise.** Write that check. (`torch.autograd.grad(y, x)` is the gradient of one number `y` with respect to `x`. Take
# one feature of each frame, `[0, :, 0].sum()`: after a LayerNorm the sum of all features is constant.)

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import torch

from speaker_lib.course import check


def people_reached(layer, hidden):
    """How many people of the batch hidden (batch, frames, width) can change the first one's layer(hidden)[0]."""
    # solution: the gradient of the first person's output with respect to all inputs, and how many people's is not 0.
    hidden = hidden.clone().requires_grad_()
    (reach,) = torch.autograd.grad(layer(hidden)[0, :, 0].sum(), hidden)  # (batch, frames, width)
    return (reach.abs().amax(dim=(1, 2)) > 0).sum()
    # end of solution


check.people_reached(people_reached)

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import utterances_reached

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(32, nhead=2).eval()
hidden = torch.randn(3, 20, 32)  # three people
feeds = {
    "turned around": lambda hidden: layer(hidden.transpose(0, 1)).transpose(0, 1),
    "as it is": layer,
}
for name, feed in feeds.items():
    seen = utterances_reached(feed, hidden)
    print(f"{name:<14} the first person's output depends on {seen} of 3 people")

# %% [markdown]
# With the two dimensions swapped, attention runs *across the batch*. The model still learns a little, because
# residual connections let each frame through. But its answer depends on who else is in the batch. **The check:** the gradient
# of one utterance's output with respect to the others' inputs must be exactly zero.
#
# ## Bug 2: silence that counts
#
# A batch of whole utterances is padded, here with −20, the logarithm of almost nothing. **Does the answer change if 40 frames
# of padding follow an utterance?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import Classifier, ModelConfig

model = Classifier(ModelConfig(encoder="conformer", d_model=32)).eval()
mel = torch.randn(1, 60, 40)
padded = torch.nn.functional.pad(mel, (0, 0, 0, 40), value=-20.0)  # 60 frames and 40 of nothing
with torch.inference_mode():
    alone, ignored, told = model(mel), model(padded), model(padded, torch.tensor([60]))
print("not told the length, the same answer:", torch.allclose(alone, ignored, atol=1e-4))
print("told the length, the same answer:    ", torch.allclose(alone, told, atol=1e-4))

# %% [markdown]
# Padding is attended to, convolved and averaged in, unless every part of the model is told where the utterance ends. **The
# check:** an utterance alone and in a padded batch must get the same answer.
#
# ## Bug 3: “best” weights that are the last ones
#
# The assignment's sample code keeps the best model like this: `best_state_dict = model.state_dict()`. **What is in it one
# training step later?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
import copy

model = torch.nn.Linear(4, 2)
best, copied = model.state_dict(), copy.deepcopy(model.state_dict())
before = model.weight.detach().clone()
model(torch.randn(8, 4)).sum().backward()
torch.optim.AdamW(model.parameters()).step()
print("state_dict() is what it was:       ", torch.equal(best["weight"], before))
print("a deep copy of it is what it was:  ", torch.equal(copied["weight"], before))
print("state_dict() is the model's memory:", best["weight"].data_ptr() == model.weight.data_ptr())

# %% [markdown]
# A `state_dict` is no copy. It is the model's own memory, so the sample code prints the best accuracy and saves later
# weights. **The check:** take one step, and compare.
#
# ## Bug 4: a validation that swings
#
# We validate one model ten times on the same utterances, each time on other random segments. **How much will the accuracies
# differ?**

# %%
from speaker_lib import SpeakerDataset
from speaker_lib.evaluation import crop_draws, heldout_indices

tuned = lesson.trained("tuned")
dataset = SpeakerDataset(corpus.labelled, tuned.preset.train.segment_len, device=lesson.device)
utterances = heldout_indices(tuned, corpus)
draws = crop_draws(tuned.load_model(lesson.device), dataset, utterances, lesson.device)  # (10, 2)
draws = draws[:, 0]  # (10,) the accuracies, without the losses
print("accuracies:", *(f"{accuracy:.3f}" for accuracy in draws))
print(
    f"from {draws.min():.3f} to {draws.max():.3f}: {100 * (draws.max() - draws.min()):.1f} points"
)

# %% [markdown]
# If you keep the best of many such numbers, you favour lucky cuts. So this course validates on fixed cuts and compares
# models by *full*, where nothing is random. **The check:** evaluate one model on two sets of cuts before you believe a
# difference.
#
# ## Pooling: from frames to one vector
#
# The encoder gives a vector per frame, the head needs one per utterance. The report's models take the **mean**, so a breath
# counts as much as a vowel. **Self-attention pooling** computes a score for each frame, and softmax turns the scores into
# weights.
#
# **Exercise.** Write the pooling, given the weights.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def pool(frames, weights):
    """Frames (batch, frames, width) by weights (batch, frames), which sum to 1, to one vector each (batch, width)."""
    # solution: each frame times its weight, and the sum over frames.
    return (frames * weights[:, :, None]).sum(dim=1)  # (batch, width)
    # end of solution


check.pool(pool)

# %% [markdown]
# **Attentive statistics pooling** ([Okabe et al. 2018](https://arxiv.org/abs/1803.10963)) also keeps the standard deviation:
# how much a voice varies. Four frames of two numbers, the third with the highest score:

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import frame_weights, mean_pooling, weighted_sum

frames = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 8.0], [0.0, 0.0]]])  # (1, frames, 2)
weights = frame_weights(torch.tensor([[[0.0], [0.0], [2.0], [0.0]]]), None)  # (1, frames)
mean = weighted_sum(frames, weights, None)  # (1, 2)
deviation = weighted_sum((frames - mean) ** 2, weights, None).sqrt()  # (1, 2)
print("weights               ", [round(w, 3) for w in weights[0].tolist()])
print("mean                  ", [round(x, 3) for x in mean_pooling(frames, None)[0].tolist()])
print("weighted mean         ", [round(x, 3) for x in mean[0].tolist()])
print("  and beside it spread", [round(x, 3) for x in deviation[0].tolist()])

# %% [markdown]
# **What does it cost?** The report's second model with each pooling:

# %% tags=["NBVAL_CHECK_OUTPUT"]
from dataclasses import replace

from speaker_lib import PRESETS
from speaker_lib.models import cost_table

poolings = ("mean", "self_attention", "attentive_statistics")
print(cost_table({name: replace(PRESETS["tuned"].model, pooling=name) for name in poolings}))

# %% [markdown]
# Self-attention pooling costs 512 parameters. Attentive statistics cost 66,000 for the scores, and four times that in the
# head, which gets two vectors side by side.
#
# ## A margin
#
# Accuracy only needs the right speaker to be ahead. Cross-entropy asks for more, but the model can lower it by making its
# vectors *longer*. A **margin** asks for distance in *direction*: the logit becomes the cosine between the utterance's vector
# and a learned direction per speaker, times a scale, and in training the right speaker's cosine is lowered. That is
# *AM-softmax* ([Wang et al. 2018](https://arxiv.org/abs/1801.05599)).
#
# **Exercise.** Lower the right speaker's logit.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def lower_logit(logits, labels, margin, scale):
    """Logits (batch, n_speakers) = scale * cosine; the right speaker's cosine, labels (batch,), loses the margin."""
    # solution: a copy of the logits, lowered at one place in each row.
    lowered = logits.clone()  # (batch, n_speakers)
    lowered[torch.arange(len(labels)), labels] -= scale * margin
    return lowered
    # end of solution


check.lower_logit(lower_logit)

# %% [markdown]
# *ArcFace* ([Deng et al. 2019](https://arxiv.org/abs/1801.07698)) adds the margin to the angle instead. Below are two
# speakers' directions A and B, and all directions that an utterance may have. **Where must an utterance of A lie, so that A
# is ahead even after the margin?** Move the slider.

# %%
from speaker_lib.plots import margin_figure

explore(margin_figure, "margin", most=1.0, start=0.2, step=0.01)

# %% [markdown]
# **What to see:** without a margin (0) the border is halfway. With one, each speaker's region shrinks, and a strip
# (no-man's-land) opens between them: an utterance in it is named correctly, but not by enough. Training pushes each speaker's
# utterances together and the directions apart until the strip is empty. For a fresh model that is too hard, so the margin
# starts at 0 and grows.
#
# ## The ladder
#
# Now one change after another. Each step (*rung* in the table) keeps all changes before it:
#
# - **linear head, BatchNorm before it**: one linear layer to the names instead of two;
#   [BatchNorm](https://arxiv.org/abs/1502.03167) scales each number of the pooled vector to mean 0 and standard deviation 1
#   over the batch;
# - **attentive statistics pooling**, as above;
# - **subsampling by 2**: a strided convolution makes one vector of two frames, for less work;
# - **Conformer with MFA** ([Zhang et al. 2022](https://arxiv.org/abs/2203.15249)): Conformer layers, and the outputs of *all*
#   of them are pooled (multi-scale feature aggregation);
# - **EMA**: evaluate an exponential moving average of the weights, not the last ones.
#
# The last three are only *tried*, each on top of these: **CMN** (cepstral mean normalisation), which subtracts each band's
# mean over the utterance; [**SpecAugment**](https://arxiv.org/abs/1904.08779), which masks random bands and frames; and the
# margin. **Which step will gain most? Does one do harm? Write it down.**

# %%
from speaker_lib.experiments import run_ladder

profile = lesson.profile
ladder = run_ladder(profile.tuned, profile.ladder, lesson.ablation_corpus(), lesson.runs / "ladder")

# %% [markdown]
# Unless the first cell says `profile full`, these are short runs on a part of the data; the first row is lesson 3's model
# with all four changes. If the data name their recordings, whole recordings are held out, as there. **Does the ladder pass
# LDA?**

# %%
from speaker_lib.experiments import classical_baselines, ladder_table

few, held_out = lesson.ablation_corpus(), replace(profile.ladder.train, split=ladder.split)
print(ladder_table(ladder, classical_baselines(few, held_out)))

# %%
from speaker_lib.plots import ladder_figure, save_figure

figure = ladder_figure(ladder)
save_figure(figure, lesson.runs / "ladder.png")
show(figure)

# %% [markdown]
# **What to see:** each dot is a seed, compared with the same seed one step before; what was only *tried*, with the last
# kept step. CMN removes most of a microphone's effect. That can help on new recordings, and do harm on those of the
# training data; so `best`, the top of this ladder at full size, does not use it. On the simulated voices only the row with
# CMN is ahead of LDA. Which steps are kept was decided on longer runs.
#
# In words, with a paired t-test per step and Holm's correction over all. Without the correction, up to a third of such
# ladders would have a significant step even if nothing helped. With it the first of eight comparisons, over three seeds,
# needs $|t| > 12.6$:

# %%
from speaker_lib.experiments import ladder_conclusions

ladder_conclusions(ladder)

# %% [markdown]
# ## Which frames count?
#
# The top of the ladder pools by attentive statistics. **Do loud frames get more weight, or soft ones?** Here are the
# weights in a held-out utterance.

# %%
from speaker_lib import Run
from speaker_lib.models import pooling_weights
from speaker_lib.plots import pooling_figure

top = Run.open(lesson.runs / "ladder" / ladder.kept[-1].name / f"seed{profile.ladder.seeds[0]}")
mel = SpeakerDataset(few.labelled).whole(heldout_indices(top, few)[:1]).mels[0]  # (frames, n_mels)
weights = pooling_weights(top.load_model(), mel)  # (frames,)
show(pooling_figure(mel, weights, "One held-out utterance"))

# %% [markdown]
# **What to see:** above the dashed line a frame counts for more than in the mean. And loud or soft? The *rank correlation* is
# +1 if louder frames always get more weight, −1 if always less:

# %%
from speaker_lib.models import loudness_correlation

model = top.load_model()
mels = [torch.from_numpy(few.labelled.mel(int(i))) for i in heldout_indices(top, few)[:50]]
ranks = torch.tensor([loudness_correlation(mel, pooling_weights(model, mel)) for mel in mels])
print(
    f"rank correlation of weight and loudness, mean of {len(ranks)} utterances: {ranks.mean():+.2f} (SD {ranks.std():.2f})"
)

# %% [markdown]
# ## What we saw

# %%
print(f"One model, ten cuts: {draws.min():.3f} to {draws.max():.3f}.")
ladder_conclusions(ladder)[:2]

# %% [markdown]
# ## Quiz

# %%
quiz(4)

# %% [markdown]
# **Recap.** To find a silent bug, ask what must not change: answers, when there are other people in the batch or padding;
# saved weights, when training goes on. And validate twice: with random cuts, accuracy varies. Pooling decides how much each
# frame counts. A margin asks for distance in direction, in training only. A ladder shows what each step adds to those before
# it, on these data and in runs of this length.
#
# **To try.** Average the answers of two runs (an *ensemble*): `python -m speaker_lib predict --data DIR RUN RUN`. Or fetch
# HW4 and train `strong` or `best` on it ([docs/hw4.md](../docs/hw4.md)).
#
# **Next.** All these models choose from a fixed list of names. [Lesson 5](05_strangers.ipynb) goes beyond it.
