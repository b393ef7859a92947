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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/02_tuned.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/02_tuned.ipynb)

# %% [markdown]
# # 2 · Four changes and two discoveries
#
# The report changes four things in the baseline of [lesson 1](01_baseline.ipynb), and its accuracy goes from 0.4834 to
# 0.7599. This lesson looks at each *before* any long training, then finds two things that the report does not mention.
#
# **After this lesson you can** say what width, heads, layers and the activation cost and do; measure how much gradient a
# Sigmoid lets through; catch a layer that is declared but never called; and recognise a deep Transformer that collapses.
#
# Allow 40 minutes; the computer needs four of them, or 90 seconds with [finished runs](../docs/teaching.md).

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
# As in lesson 1. Choose the same data as there.

# %%
from speaker_lib.course import LivePlot, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## The four changes
#
# The report's two models at full size, setting by setting:

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import PRESETS

baseline, tuned = PRESETS["baseline"], PRESETS["tuned"]
for setting, (before, after) in baseline.differences(tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")

# %% [markdown]
# In the drawing of lesson 1:

# %%
from speaker_lib.plots import architecture_figure

show(architecture_figure(tuned, changed_from=baseline))

# %% [markdown]
# Four of these five are the report's. The fifth, `norm`, is ours; discovery 2 shows why. **If you could change only one,
# which would it be?** Your guess is kept, and lesson 3 comes back to it.

# %%
lesson.guess("Which of the four helps most?", ["d_model", "nhead", "num_layers", "activation"])

# %% [markdown]
# ## Change 1: `d_model`, from 80 to 512
#
# This is how many numbers describe each frame inside the model. More of them leave room to tell more voices apart. Matrices
# of `d_model` × `d_model` grow fourfold with each doubling. **And the whole model?** (A GFLOP is a billion multiplications or
# additions; a step has 32 segments, forward and backward.)

# %% tags=["NBVAL_CHECK_OUTPUT"]
from dataclasses import replace

from speaker_lib.models import cost_table

widths = {
    f"d_model {width}": replace(baseline.model, d_model=width) for width in (80, 160, 256, 512)
}
print(cost_table(widths))

# %%
from speaker_lib.plots import cost_figure

show(cost_figure(widths))

# %% [markdown]
# **What to see:** 6.4 times the width means some 15 times the parameters and 16 times the work. That is less than $6.4^2 =
# 41$, because only the square matrices grow that fast.
#
# ## Change 2: `nhead`, from 2 to 16
#
# Each head works on its own `d_model / nhead` numbers of every frame, so more heads mean more, but narrower, views. All heads
# together compute queries, keys and values with three matrices from `d_model` to `d_model` numbers. A fourth matrix,
# `out_proj`, mixes their results. Each has a bias.
#
# **Exercise.** Count the parameters of attention with `nhead` heads.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def attention_parameters(d_model, nhead):
    """The number of parameters of self-attention with nhead heads, biases included."""
    # solution: four matrices with a bias each. What becomes of the number of heads?
    return 4 * (d_model * d_model + d_model)
    # end of solution


check.attention_parameters(attention_parameters)

# %% [markdown]
# More heads cost no parameters: the same numbers are only grouped differently. (They do cost time, because every head has its
# own map of frames × frames.) Here are the attention maps of lesson 1's baseline on one held-out segment. Each row is a frame
# that looks, each column a frame that is looked at.

# %%
from speaker_lib.data import SpeakerDataset, split_utterances
from speaker_lib.models import attention_maps
from speaker_lib.plots import attention_figure

trained_baseline = lesson.trained("baseline")
dataset = SpeakerDataset(corpus.labelled, trained_baseline.preset.train.segment_len)
held_out = split_utterances(corpus.labelled, trained_baseline.preset.train)[1]
mel = dataset[int(held_out[0])][0]  # (frames, n_mels)
maps = attention_maps(trained_baseline.load_model(), mel)  # (layers, heads, frames, frames)
show(attention_figure(maps[0], mel, "Attention of lesson 1's baseline, its only layer"))

# %% [markdown]
# **What to see:** vertical stripes. Nearly every frame looks at the same few. The model does not know the order, so what
# counts is a frame's sound, not its place.
#
# ## Change 3: layers, from 1 to 6
#
# The same kind of layer six times in a row, each working on the output of the one before.

# %% tags=["NBVAL_CHECK_OUTPUT"]
many_heads = replace(baseline.model, d_model=512, nhead=16)
depths = {
    f"{n} layer{'s' * (n > 1)}, 512 wide": replace(many_heads, num_layers=n) for n in (1, 2, 4, 6)
}
print(cost_table(depths))

# %%
show(cost_figure(depths))

# %% [markdown]
# **What to see:** each layer adds the same again, 1.3 million parameters and 35 GFLOP. Six wide layers take 97 times the work
# of the baseline (2.2 GFLOP). **Would you expect both models to train at the same speed?**
#
# ## Change 4: Sigmoid to ReLU
#
# This changes one word in the output head and costs nothing. (A ReLU sets negative numbers to 0 and keeps the others.) The
# report says that a Sigmoid *saturates*: it squeezes inputs far from 0 to nearly 0 or 1, where its slope vanishes, and so
# does the gradient. **Does that happen in *this* model?**
#
# **Exercise.** Write the slope of a Sigmoid, $y = 1 / (1 + e^{-x})$. How steep is it where it is steepest?

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import torch

from speaker_lib.course import check


def sigmoid_slope(x):
    """The derivative of torch.sigmoid at each number of x, in the shape of x."""
    # solution: the derivative of 1 / (1 + exp(-x)). It can be written with y alone.
    y = torch.sigmoid(x)
    return y * (1 - y)
    # end of solution


check.sigmoid_slope(sigmoid_slope)

# %% [markdown]
# Now a fresh baseline with one real batch, and the same weights with ReLU in place of the Sigmoid:

# %%
from speaker_lib import Classifier, get_dataloader, set_seed
from speaker_lib.training import fit_to_data
from speaker_lib.models import head_signals
from speaker_lib.plots import activation_figure

preset = fit_to_data(lesson.profile.baseline, corpus)
mels, _, labels = next(iter(get_dataloader(corpus, preset.train)[0]))
set_seed(preset.train.seed)
signals = head_signals(Classifier(preset.model), mels, labels)
show(
    activation_figure(
        signals, "The head of a fresh baseline: one batch, the same weights, one word changed"
    )
)

# %% [markdown]
# **What to see:** the inputs (left) lie close to 0, where a Sigmoid is *steepest*. Nothing is saturated. ReLU blocks about
# half of its inputs, and still about three times the gradient arrives at the first layers (right). The slope of a Sigmoid is
# 1/4 at best, so differences going forward and gradients going back shrink to a quarter or less. **And after training?**

# %%
from speaker_lib.models import head_table

heads = {"fresh": signals, "trained": head_signals(trained_baseline.load_model(), mels, labels)}
print(head_table(heads))

# %% [markdown]
# (Each `relu` row is the same weights with ReLU.) *spread* is how much the numbers after the activation differ from one
# utterance to another. (Compare gradients within a pair only: larger weights make all of them larger.) In the fresh model the
# Sigmoid leaves little *spread*. Training makes up for that with larger inputs, and only *then* do slopes come near zero. So
# saturation is real, but it comes with training. From the first step on, the Sigmoid *dampens*.
#
# ## Discovery 1: layers that never run
#
# This is how the report declares its six layers. The report shows only `__init__`; this `forward` is from the assignment's
# sample code. **Read both. What is missing?**

# %%
from torch import nn


class AsReported(nn.Module):
    def __init__(self, d_model=512, n_spks=600):
        super().__init__()
        self.prenet = nn.Linear(40, d_model)
        self.encoder_layer = nn.TransformerEncoderLayer(d_model, nhead=16, dim_feedforward=256)
        self.encoder = nn.TransformerEncoder(self.encoder_layer, 6, enable_nested_tensor=False)
        self.pred_layer = nn.Sequential(
            nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, n_spks)
        )

    def forward(self, mels):
        out = self.prenet(mels).permute(1, 0, 2)  # (frames, batch, d_model)
        return self.pred_layer(self.encoder_layer(out).mean(dim=0))  # (batch, n_spks)


model = AsReported()

# %% [markdown]
# There is no error and no warning. But after `backward()`, only parameters that took part in the answer have a gradient.

# %% tags=["NBVAL_CHECK_OUTPUT"]
model(torch.randn(2, 128, 40)).sum().backward()
declared = sum(p.numel() for p in model.parameters())
learning = sum(p.numel() for p in model.parameters() if p.grad is not None)
print(f"declared {declared:,}, learning {learning:,}")
print(
    "never called:",
    sorted({name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}),
)

# %% [markdown]
# Four in five of the declared parameters never learn: `forward` calls `encoder_layer`, not `encoder`, which holds six
# *copies* of it.
#
# Did that happen in the report? Its log gives a speed: 44 steps a second for *both* models. **How much arithmetic is that for
# each? Could a T4, a GPU that Colab often lends, do it?**

# %%
from speaker_lib.plots import speed_figure

candidates = {
    "baseline": baseline.model,
    "tuned, 1 layer runs": depths["1 layer, 512 wide"],
    "tuned, 6 layers run": depths["6 layers, 512 wide"],
}
show(speed_figure(candidates, 44, peak=8.1e12, peak_name="the most a T4 can do in float32"))

# %% [markdown]
# Six layers would need more than a T4 can do at its very best. One layer is possible. It takes 16 times the baseline's work,
# at the same speed. So neither model waits for arithmetic, but for something else, such as the data. So if the report's GPU
# was a T4 in float32, or a slower one, it ran **one** wide layer. This course has a *preset* (named settings) for each: in
# `tuned` all six run, in `seed_tuned_as_run` one does.
#
# ## Discovery 2: six layers that collapse
#
# So let all six run. Each half of a layer (attention; the small network) is a *sublayer*, and its result is added to its
# input: a *residual connection*. A *LayerNorm* scales a frame's vector to mean 0 and standard deviation 1. By default PyTorch
# puts it *after* the addition (*post-norm*): `norm(x + sublayer(x))`. With *pre-norm* the sublayer gets the normalised input,
# and its result is added to the input as it was.
#
# **Exercise.** Write pre-norm.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def residual(x, sublayer, norm):
    """One half of a pre-norm layer: x (batch, frames, d_model) to the same shape."""
    # solution: what the sublayer is given, and what its result is added to.
    return x + sublayer(norm(x))
    # end of solution


check.residual(residual)

# %% [markdown]
# Two runs differ only in the place of the norm. At full size (512 wide) one of them *collapses*: at the baseline's learning
# rate of 0.001 it learns nothing. Small layers (128 wide) tolerate that rate, so scaled-down runs use 0.003. **Which run will
# learn?**

# %%
from speaker_lib import train
from speaker_lib.plots import comparison_figure

deep_runs = [lesson.collapse_run(norm) for norm in ("post", "pre")]
for deep in deep_runs:
    train(deep, lesson.ablation_corpus(), lesson.device)
show(comparison_figure(deep_runs))

# %%
for deep in deep_runs:
    last, chance = deep.metrics()[-1], 1 / deep.preset.model.n_speakers
    rate, accuracy = deep.preset.train.learning_rate, last["valid_accuracy"]
    print(
        f"{deep.name}, learning rate {rate:g}: accuracy {accuracy:.3f} after {last['step']:,} steps; guessing gives {chance:.3f}"
    )

# %% [markdown]
# **What to see:** one run learns; the loss of the other stays at that of guessing, $\ln n$. In a fresh post-norm model the
# last layers have large gradients, so the first steps are too large. With pre-norm, more layers make these gradients smaller,
# and the residual connection carries them past every sublayer ([Xiong et al. 2020](https://arxiv.org/abs/2002.04745)). If you
# ever see a loss stand still at $\ln n$, think of this picture.
#
# ## Training the tuned model
#
# All four changes and pre-norm, trained like the baseline of lesson 1:

# %%
for setting, (before, after) in lesson.profile.baseline.differences(lesson.profile.tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")
run = lesson.run("tuned")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **What to see:** does the accuracy leave the level of guessing earlier than in lesson 1? (Lesson 3 draws both.) Now *crop*
# and *full*, on the same held-out utterances as in lesson 1:

# %%
from speaker_lib.evaluation import evaluate, evaluation_text

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))

# %% [markdown]
# And the attention of every head in the last layer, on the same segment as above:

# %%
maps = attention_maps(run.load_model(), mel)  # (layers, heads, frames, frames)
show(attention_figure(maps[-1], mel, f"Attention of {run.name}, layer {len(maps)} of {len(maps)}"))

# %% [markdown]
# **What to see:** the title names the heads that are most alike. Heads with the same map do the work of one wider head, in
# more time.
#
# ## What we saw

# %%
reached = trained_baseline.evaluation()
print(f"On {corpus.title}, whole utterances:")
print(
    f"  {trained_baseline.name:<16} {reached['n_parameters']:>10,} parameters   full {reached['full']['accuracy']:.4f}"
)
print(
    f"  {run.name:<16} {evaluation.n_parameters:>10,} parameters   full {evaluation.full.accuracy:.4f}"
)
print("The report, on 600 VoxCeleb2 speakers, segments: 0.4834 and 0.7599.")

# %% [markdown]
# ## Quiz

# %%
quiz(2)

# %% [markdown]
# **Recap.** Width multiplies the work by 16, layers by another 6; heads add no parameters; the new activation in the output
# head is free. A Sigmoid dampens from the first step and saturates later. Layers that are not called do not learn, and nobody
# warns you: count the parameters that have a gradient. Six post-norm layers collapse at a learning rate at which pre-norm
# trains.
#
# **To try.** Does a lower rate save post-norm? `preset = lesson.profile.collapse.override({"train.learning_rate": 3e-4})`,
# then `Run.create` and `train` as in lesson 1, on `lesson.ablation_corpus()`.
#
# **Next.** [Lesson 3](03_compare.ipynb) asks which of the four changes did it.
