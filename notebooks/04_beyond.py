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
# # 4 · The way on
#
# The report ends with the wish to find other ways to improve the model. This lesson goes some of them. It begins where improving most often
# ends: with bugs that raise no error, each caught by a check of three lines. Then it climbs a ladder from the report's second model to what
# the field does today, every rung measured in the same way. At last it leaves the list of known names behind: are these two utterances by
# one person, whoever it is?
#
# **After this lesson you can**
# - catch four silent bugs: people mixed in a batch, padding that counts, a checkpoint that moves, a validation that swings;
# - say what pooling makes of frames, and see which frames a model listens to;
# - draw what a margin asks for, on the circle and as a curve;
# - read a ladder of improvements with seeds as the yardstick;
# - tell identification from verification, and say how many people a conclusion about voices needs.
#
# **學習目標**
# - 抓出四個不會報錯的程式錯誤：同一批次裡的人混在一起、補齊（padding）的部分被算進去、會自己變動的檢查點、忽高忽低的驗證準確率；
# - 說明池化（pooling）如何把許多音框變成一個向量，並看出模型在聽哪些音框；
# - 畫出間隔（margin）的要求：在圓上，以及畫成曲線；
# - 以不同種子之間的落差為尺，讀懂一階一階的改進；
# - 分辨語者辨識（identification）與語者驗證（verification），並說明要下關於聲音的結論，需要多少人。
#
# You need: lessons 1 to 3. Where you have not run them on this machine, short runs take their place.

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

DATA = "what is here, else simulated voices"  # @param ["what is here, else simulated voices", "download HW4"]
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## Bug 1: people mixed in a batch
#
# A *Conformer* layer is a Transformer layer with a convolution over neighbouring frames in it. The assignment asks for one, and several
# public solutions plug it in like this: the layer wants `(frames, batch, d_model)`, gets `(batch, frames, d_model)`, and does not complain,
# because both are three numbers in a row. **What does it then do with a batch of three people?**
#
# Ask the gradient: whose input could change the first person's output?
#
# **Exercise.** Write that check. (`torch.autograd.grad(y, x)` gives the gradient of one number `y`, here with respect to the batch.)

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import torch

from speaker_lib.course import check


def people_reached(layer, hidden):
    """How many people of the batch hidden (batch, frames, width) can change the first one's layer(hidden)[0]."""
    # solution: the gradient of the first person's output, and how many people have any in theirs.
    hidden = hidden.clone().requires_grad_()
    (reach,) = torch.autograd.grad(layer(hidden)[0, :, 0].sum(), hidden)  # (batch, frames, width)
    return (reach.abs().amax(dim=(1, 2)) > 0).sum()
    # end of solution


check.people_reached(people_reached)

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import Classifier, ModelConfig
from speaker_lib.models import utterances_reached

torch.manual_seed(0)
model = Classifier(ModelConfig(encoder="conformer", d_model=32)).eval()
layer, hidden = model.encoder.layers[0], torch.randn(3, 20, 32)  # three people
feeds = {
    "turned around": lambda hidden: layer(hidden.transpose(0, 1)).transpose(0, 1),
    "as it is": layer,
}
for name, feed in feeds.items():
    seen = utterances_reached(feed, hidden)
    print(f"{name:<14} the first person's output depends on {seen} of 3 people")

# %% [markdown]
# Fed as it is, the layer takes the people for moments of one recording: attention and convolution run *across the batch*. It still learns,
# a little, since each frame also passes by itself. But its answer depends on who else is in the batch, and on a test set in another order
# it is another answer. **The check:** the gradient of one utterance's output by the others' inputs is exactly zero, or something is mixed
# up. It works for any model in evaluation mode.
#
# ## Bug 2: silence that counts
#
# Whole utterances differ in length, so a batch of them is padded, here with -20, the logarithm of next to nothing. To the model that is a
# sound like any other. **Does the answer to an utterance change if 40 padded frames follow it?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
mel = torch.randn(1, 60, 40)
padded = torch.nn.functional.pad(mel, (0, 0, 0, 40), value=-20.0)  # 60 frames and 40 of nothing
with torch.inference_mode():
    alone, ignored, told = model(mel), model(padded), model(padded, torch.tensor([60]))
print("not told the length, the same answer:", torch.allclose(alone, ignored, atol=1e-4))
print("told the length, the same answer:    ", torch.allclose(alone, told, atol=1e-4))

# %% [markdown]
# The padding is looked at, convolved and averaged in, unless every part of the model is told where the utterance ends. In a public study of
# HW4 a missing mask changed 91 of 8,000 test predictions: too few to notice, enough to lose a place. **The check:** an utterance alone and
# the same one in a padded batch must get the same answer.
#
# ## Bug 3: the best weights, which are the last
#
# The sample code keeps the best model of all validations like this: `best_state_dict = model.state_dict()`. **What is in it one training
# step later?**

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
# A `state_dict` is no copy but the model's own memory under other names. So the sample code prints the best accuracy and saves the last
# weights. The cosine schedule hides it, because at its end the last weights are nearly the best. **The check:** take one step, compare.
#
# ## Bug 4: a validation that swings
#
# No bug in the code this time, but in what is made of its number. One trained model, the same held-out utterances; only *where* the
# segments are cut is drawn anew. **By how much will ten validations differ?**

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
# Whoever validates every 2,000 steps and keeps the best of 35 such numbers keeps the luckiest cut as well. (On HW4, with 5,667 held-out
# utterances, a public study saw 0.674 to 0.688.) So this kit validates on cuts that stay the same for the whole run, gives *crop* with its
# spread, and compares models by *full*, where nothing is drawn. **The check:** evaluate one model twice before you believe a difference.
#
# ## Pooling: from frames to one vector
#
# On to improvements. The encoder gives a vector per frame, the head wants one per utterance. The report's models take the **mean**: every
# frame counts the same, a vowel as much as a breath. **Self-attention pooling** learns a score for each frame, and softmax turns the scores into
# weights with the sum 1.
#
# **Exercise.** Write the pooling, once the weights are there.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def pool(frames, weights):
    """Frames (batch, frames, width) by weights (batch, frames), which sum to 1, to one vector each (batch, width)."""
    # solution: each frame times its weight, and the sum over frames.
    return (frames * weights[:, :, None]).sum(dim=1)  # (batch, width)
    # end of solution


check.pool(pool)

# %% [markdown]
# **Attentive statistics** also keeps the deviation: not only how a voice sounds on average, but how much it varies. Four frames of
# two numbers, the third with the highest score:

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
# **What does that cost?** The report's second model with each of the three:

# %% tags=["NBVAL_CHECK_OUTPUT"]
from dataclasses import replace

from speaker_lib import PRESETS
from speaker_lib.models import cost_table

poolings = ("mean", "self_attention", "attentive_statistics")
print(cost_table({name: replace(PRESETS["tuned"].model, pooling=name) for name in poolings}))

# %% [markdown]
# Self-attention pooling costs 512 parameters, one for each number of a frame. Attentive statistics cost some 66,000 for the scores, and four times that in
# the head, whose first layer is twice as wide for two vectors side by side. Which frames a trained model picks, we look at below.
#
# ## A margin, and its geometry
#
# Cross-entropy is content as soon as the right speaker is *ahead*. A **margin** asks for more. It needs a head that compares directions
# only: the logit is the cosine between the utterance's vector and a learned direction per speaker, times a scale. Then, in training alone,
# the right speaker's logit is lowered before the loss looks at it. Two ways are common: a margin taken off the cosine (*AM-softmax*, Wang
# et al. 2018), and one added to the angle (*ArcFace*, Deng et al. 2019).
#
# **Exercise.** Write the first.

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
# The library's [`with_margin`](../speaker_lib/training/losses.py) has both. Below, two speakers' directions A and B on the unit circle,
# and all places where an utterance's vector may point. **Where must an utterance by A lie, so that the loss finds it right?** Move the slider.

# %%
from speaker_lib.plots import margin_figure

explore(margin_figure, "margin", most=1.0, start=0.2, step=0.01)

# %% [markdown]
# **What to see:** without a margin (slider at 0) the border is the dotted line, half-way between the two. With one, each speaker's own
# territory draws back, and a strip opens between them: an utterance in the strip is named right and still has a loss. Training pushes
# each speaker's utterances together and the directions apart until the strip is empty. A margin on the angle makes a strip exactly as wide
# as itself (0.20 radians are 11.5°); one on the cosine makes a strip whose width depends on how far apart the two directions are. Above some
# 0.66 on the cosine even A's own direction is no longer good enough, as long as B is this close. On the right: the cosine margin lowers the
# whole curve, the angle margin shifts it to the left, so that it costs least where an utterance is right already and where it is hopeless.
#
# From the first step on, such a demand can keep a fresh model from learning. So here the margin is 0 in the warmup and then grows.
#
# ## The ladder
#
# Now all of it on one way, each rung with the settings of those before it. At the end of the way stand a few that were only *tried*, each
# on top of the same highest rung; the margin is one of them. Who found it stands beside it. **Which rung will gain the most? And which of
# them does harm?** Write down your guess before the table.

# %%
from speaker_lib.experiments import run_ladder

profile = lesson.profile
ladder = run_ladder(profile.tuned, profile.ladder, lesson.ablation_corpus(), lesson.runs / "ladder")
for step in ladder.results:
    print(f"{step.label:<44} {step.source}")

# %% [markdown]
# As in lesson 3, these are short runs of small models on a part of the data, unless this is the `full` profile; each rung is trained from
# several seeds. Where the data know their recordings, whole recordings are held out: that is the harder question of lesson 3's end.

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
# **What to see:** each dot is a seed: what it gains over the same seed of the step above, or, below the dotted line, where steps were only tried, over
# the same seed of the last one that is kept. Taking each band's mean off takes away most of what a microphone does. Where the held-out recordings are new, as
# with the simulated voices, that gains much; where they are in the training data it costs, so `best`, meant for HW4, does without. A rung that gains
# nothing is no proof that its idea is worthless: the order in which rungs are climbed decides how much each seems to be worth, as with the
# four changes of lesson 3; some ideas (the average of the weights, the masks, the margin) are made for runs much longer than these; and the
# nearer to 1, the less there is to gain. On the right, what a step costs: subsampling by 2 makes it cheaper, the Conformer
# dearer. In words, computed from the runs. As in lesson 3 each step has a paired t-test over the seeds, and Holm's correction is made over
# all steps. Without it almost four of ten ladders would have a significant step even where nothing helps:

# %%
from speaker_lib.experiments import ladder_conclusions

ladder_conclusions(ladder)

# %% [markdown]
# ## What does it listen to?
#
# The highest rung that is kept pools by attentive statistics. One held-out utterance, and the weight of each of its frames in the vector
# that the head is given. **Do you expect it to prefer loud frames or soft ones?**

# %%
from speaker_lib import Run
from speaker_lib.models import pooling_weights
from speaker_lib.plots import pooling_figure

top = Run.open(lesson.runs / "ladder" / ladder.kept[-1].name / f"seed{profile.ladder.seeds[0]}")
mel = SpeakerDataset(few.labelled).whole(heldout_indices(top, few)[:1]).mels[0]  # (frames, n_mels)
weights = pooling_weights(top.load_model(), mel)  # (frames,)
show(pooling_figure(mel, weights, "One held-out utterance"))

# %% [markdown]
# **What to see:** how far the blue line is from the dashed one. Where it is high, the model found that such frames tell the speaker; compare
# them with the picture above. Where it hardly leaves the dashed line, the plain mean and deviation would do as well. Loud or soft? The rank
# correlation above the picture is positive where loud frames count more, negative where soft ones do. One utterance may be an exception:

# %%
from speaker_lib.models import loudness_correlation

model = top.load_model()
mels = [torch.from_numpy(few.labelled.mel(int(i))) for i in heldout_indices(top, few)[:50]]
ranks = torch.tensor([loudness_correlation(mel, pooling_weights(model, mel)) for mel in mels])
print(
    f"rank correlation of weight and loudness, mean of {len(ranks)} utterances: {ranks.mean():+.2f} (SD {ranks.std():.2f})"
)

# %% [markdown]
# ## Speakers who are not in the training data
#
# Every model so far answers with a name from its list. Here are simulated voices from another seed, *strangers*. **What will it say of
# them? And will it at least be less sure?**

# %%
from speaker_lib.evaluation import full_outputs

unseen_speakers = lesson.unseen_speakers()
everyone = torch.arange(len(unseen_speakers.labelled))
for who, voices, chosen in (
    ("known", corpus, utterances),
    ("strangers", unseen_speakers, everyone),
):
    dataset = SpeakerDataset(voices.labelled, device=lesson.device)
    logits = full_outputs(tuned.load_model(lesson.device), dataset, chosen, lesson.device)
    sure = logits.softmax(dim=1).amax(dim=1)  # (utterances,) the probability of its answer
    print(
        f"{who:<10} {len(sure):>5} utterances, sure to {sure.mean():.2f} on average; {(sure > 0.9).float().mean():.0%} above 0.9"
    )

# %% [markdown]
# It cannot say "nobody I know": its probabilities have to sum to 1 over the names that it has, and so every stranger gets one of them, often
# with some confidence. *Identification* is a closed list. But what the head's *last* layer is given, the **embedding**, needs no list: a
# vector that says how an utterance sounds. Do strangers have their own place among such vectors?

# %%
from speaker_lib.evaluation import embed
from speaker_lib.plots import map_figure

show(map_figure(embed(tuned, unseen_speakers, everyone, lesson.device)))

# %% [markdown]
# **What to see:** each colour with its marker is a stranger. Where one keeps together, the model has learned something about voices, not only
# about the names on its list. (Near means alike; the distance between far groups means little on such a map. A group that falls into two
# may be two recordings: the microphone is part of the sound, too.)
#
# ## Verification: one person, or two?
#
# So ask another question. Two utterances, two embeddings, the cosine between them: from some threshold on we say *the same*. Either error can
# be traded for the other by moving it; where both are equally frequent lies the **equal error rate**, EER.
#
# **Exercise.** Write the EER of two lists of scores.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def equal_error_rate(same, different):
    """The EER of the scores of pairs of one speaker, same (n,), and of pairs of two, different (m,)."""
    # solution: try each score as the threshold, and take the one where both error rates are closest.
    thresholds = torch.cat([same, different])[:, None]  # (n + m, 1)
    rejected = (same < thresholds).float().mean(dim=1)  # (n + m,)
    accepted = (different >= thresholds).float().mean(dim=1)  # (n + m,)
    best = (accepted - rejected).abs().argmin()
    return (accepted[best] + rejected[best]) / 2
    # end of solution


check.equal_error_rate(equal_error_rate)

# %% [markdown]
# **minDCF** weighs them for a door
# that hardly anybody with a right to enter comes to: 0 is perfect, 1 no better than keeping it shut. Each pair of one speaker is from two
# recordings, so that the room cannot give the answer.

# %%
from speaker_lib.plots import verification_figure
from speaker_lib.evaluation import draw_trials, verify

trials = draw_trials(unseen_speakers, everyone)
result, scores = verify(tuned, unseen_speakers, trials, lesson.device)
show(verification_figure(result, scores, trials.same))

# %% [markdown]
# **What to see:** on the left how far the two heaps stand apart; all that overlaps is an error, wherever the dashed line is put. On the right
# the same as a curve: the nearer to the corner at the bottom left, the better.
#
# **Is that good? Compared with what?** With guessing the EER is 0.5. But features alone tell something about a voice, even through a model
# whose weights are chance. So an *untrained* model belongs beside every trained one:

# %%
from speaker_lib.evaluation import verification_table

runs = [lesson.untrained("tuned"), lesson.trained("baseline"), tuned, top]
names = ["tuned, untrained", "baseline", "tuned", "top of the ladder"]
results = {
    name: verify(run, unseen_speakers, trials, lesson.device)[0]
    for name, run in zip(names, runs, strict=True)
}
print(verification_table(results))
for name, found in results.items():
    print(f"{name:<18} trained on {found.trained_on}")

# %% [markdown]
# Read it with care. The runs were trained on different numbers of voices, for different numbers of steps, and to recognise strangers needs *many
# known people* more than it needs many utterances of each. And the strangers are few, too: on ten real speakers of LibriSpeech an untrained
# model did as well as a trained one (EER 0.152 and 0.169, 2026-11-26). So count the *people* before you conclude anything about voices;
# benchmarks have a thousand and more.
#
# ## What we saw

# %%
from IPython.display import display

untrained, trained = results["tuned, untrained"], results["tuned"]
print(f"One model, ten cuts: {draws.min():.3f} to {draws.max():.3f}.")
display(ladder_conclusions(ladder)[:2])
print(
    f"{trained.n_speakers} strangers: EER {trained.eer:.3f} trained, {untrained.eer:.3f} untrained."
)

# %% [markdown]
# ## Quiz
#
# Five questions. Choose an answer, and read why it is right or wrong.

# %%
quiz(4)

# %% [markdown]
# **Recap.** Silent bugs are found by asking what must not change: by others in the batch, by padding, by a step after the copy, by another
# cut. Pooling decides which frames count. A margin asks the right speaker to be ahead by a strip, in training alone. A ladder shows what
# each rung adds to those below it, on these data, at this length. Identification knows a list of names; verification compares any two
# utterances, and needs many people before it says anything about people.
#
# **重點回顧。** 要找出不會報錯的錯誤，就問什麼不該變：換了同批次的其他人、加了補齊、複製之後再走一步、換個地方切，答案都不該變。
# 池化決定哪些音框算數。間隔要求正確的語者領先一段距離，只在訓練時使用。一階一階的改進，說明的是每一階在前面各階之上多了什麼，而且只限於這份資料、這樣的訓練長度。
# 語者辨識只認得名單上的人；語者驗證則能比較任意兩段語句，但要有夠多的人，才談得上關於人的結論。
#
# **To try**
# - HW4 itself: `bash data/download.sh data/Dataset`, then
#   `python -m speaker_lib train --data data/Dataset --preset strong --run runs/strong` (or `conformer`, or `best`), and hand in what
#   `python -m speaker_lib predict --data data/Dataset --run runs/strong` writes. [docs/accuracy.md](../docs/accuracy.md) has the ladder on
#   other data, and says what a stand-in can be trusted for.
# - Longer training: on HW4 three times the steps took a public Conformer from 0.866 to 0.900 (segments), more than any new loss did.
# - Several models together: train two seeds, and let them answer as one with `python -m speaker_lib predict --data data/Dataset RUN RUN`.
# - People: `python -m speaker_lib prepare` makes a data set of your own recordings, and `verify` asks this lesson's last question of it.
#
# **End of the course.** What you have now is a way to find out: one change at a time, several seeds, one way of measuring, and the question
# *compared with what?*
