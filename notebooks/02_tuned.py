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
# The report changes four things in the baseline of [lesson 1](01_baseline.ipynb), and its accuracy goes from 0.4834 to 0.7599. This
# lesson takes the four one by one: what each is, what one would expect of it, what it costs, and what can be seen of it *before* any
# long training. Then it finds two things that the report does not mention.
#
# **After this lesson you can**
# - say what width, attention heads, layers and the activation in the output head do, and what each costs in parameters and in work;
# - measure how much gradient a Sigmoid and a ReLU let through in a real model, instead of repeating what is said of them;
# - catch a layer that is declared but never called;
# - recognise a deep Transformer that collapses, and mend it with one word.
#
# **學習目標**
# - 說明寬度、注意力頭、層數與輸出層的激勵函數（activation）各有什麼作用，又各要多少參數量與計算量；
# - 在實際的模型裡測量 Sigmoid 與 ReLU 各讓多少梯度通過，而不是照搬別人的說法；
# - 抓出宣告了卻從未被呼叫的層；
# - 認出訓練崩潰的深層 Transformer，並且只改一個字就把它救回來。
#
# You need: lesson 1, or to know what a segment, attention and the output head are.

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
# As in lesson 1: the machine, the data, and how long training will take here. Choose the same as there.

# %%
from speaker_lib.course import LivePlot, preflight, quiz, show

DATA = "what is here, else simulated voices"  # @param ["what is here, else simulated voices", "download HW4"]
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## The four changes
#
# The report's two models at their full size, setting by setting:

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import PRESETS

baseline, tuned = PRESETS["baseline"], PRESETS["tuned"]
for setting, (before, after) in baseline.differences(tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")

# %% [markdown]
# The same in the drawing of lesson 1, with what changes marked:

# %%
from speaker_lib.plots import architecture_figure

show(architecture_figure(tuned, changed_from=baseline))

# %% [markdown]
# Four are the report's. The fifth, `norm`, is ours; discovery 2 below shows why six layers of that size need it. **Which of the four would
# you change first, if you could change only one?** Your guess is kept with the runs, and lesson 3 comes back to it.

# %%
lesson.guess("Which of the four helps most?", ["d_model", "nhead", "num_layers", "activation"])

# %% [markdown]
# ## Change 1: `d_model`, from 80 to 512
#
# **What it is:** how many numbers describe each frame inside the model. **Expect:** room to tell more voices apart; and a price: the square
# matrices of `d_model` × `d_model` grow fourfold with each doubling. How much is that in all?

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
# **What to see:** in both panels the bars grow faster than the width: 6.4 times as wide, some 15 times the parameters, some 16 times the
# work. It is less than $6.4^2 = 41$ times, because only the square matrices grow that fast; the small network inside the layer (its
# `dim_feedforward` stays 256) and the last layer (600 answers) grow as the width does. A GFLOP is a billion multiplications or additions; a
# training step here is 32 segments, forward and backward.
#
# ## Change 2: `nhead`, from 2 to 16
#
# **What it is:** into how many heads attention is divided. Each head sees its own `d_model / nhead` numbers of every frame, so more heads
# mean more, but narrower, views. **Expect:** several things can be looked for at once. **What does it cost?** All heads together make their
# queries, keys and values by three matrices from `d_model` to `d_model` numbers. A fourth such matrix, `out_proj`, mixes their results. Each
# has a bias.
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
# No parameters and no multiplications: the same numbers are only grouped in another way. (Time is another matter: each head makes its own
# map of frames × frames. Lesson 3 shows what that takes.) What a head does can be looked at. These are the attention maps of lesson
# 1's baseline on one held-out segment: row = the frame that looks, column = the frame it looks at.

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
# **What to see:** vertical stripes; the spectrogram above shows which sounds they stand under. Nearly every frame looks at the same few; with no sense of order in the model, a frame is looked at for
# what it sounds like, not for where it stands. We look again at the end, at the tuned model.
#
# ## Change 3: layers, from 1 to 6
#
# **What it is:** the same kind of layer six times in a row, each on what the one before made of the frames. **Expect:** features of
# features; and six times the work in the encoder.

# %% tags=["NBVAL_CHECK_OUTPUT"]
many_heads = replace(baseline.model, d_model=512, nhead=16)
depths = {
    f"{n} layer{'s' * (n > 1)}, 512 wide": replace(many_heads, num_layers=n) for n in (1, 2, 4, 6)
}
print(cost_table(depths))

# %%
show(cost_figure(depths))

# %% [markdown]
# **What to see:** each layer adds the same again, 1.3 million parameters and 35 GFLOP. On top of the width this is the largest step, to 213
# GFLOP; as a factor the width's is larger, 16 against 6. Against the baseline's 2.2 GFLOP the six wide layers take 97 times the work for
# every step. Keep that number in mind: **would you expect both models to train at the same speed?**
#
# ## Change 4: Sigmoid to ReLU
#
# **What it is:** one word in the output head, between its two linear layers. Costs nothing. **Expect**, with the report: *a Sigmoid squeezes
# large inputs to nearly 0 or 1, where its slope vanishes, and so does the gradient.* Is that what happens in *this* model? We need not
# believe it.
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
# Here is a fresh baseline with one real batch, and the same weights with ReLU in place of the Sigmoid.

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
# **What to see:** in a fresh model the inputs (left) lie close to 0, where a Sigmoid is *steepest*. Nothing is saturated. And ReLU lets
# *nothing* through for about half of its inputs, yet three times the gradient arrives at the first layers (right). With a slope of 1/4
# at the very best, differences that go forward through it, and gradients that go back, come out at most a quarter as large. **And
# after training?** The same question to the
# fresh head and to the trained one of lesson 1:

# %%
from speaker_lib.models import head_table

heads = {"fresh": signals, "trained": head_signals(trained_baseline.load_model(), mels, labels)}
print(head_table(heads))

# %% [markdown]
# (Each `relu` row is the same weights with the other word, not a model trained with it.) **What to see:** *spread* is how much the head's
# middle layer differs from one utterance to another. In the fresh model the Sigmoid leaves a small ripple around 0.5, from which the last
# layer has to read the speaker. Training makes up for that by blowing up the inputs, and only *then* do slopes come near zero. So the
# saturation that the report describes is real, but it comes late, and even then the gradient has not vanished: at the prenet it is larger
# than before. What the Sigmoid does from the first step on is to dampen.
#
# ## Discovery 1: layers that never run
#
# This is how the report declares its six layers. It shows only `__init__`; the `forward` below is what the sample code's does. **Read it.
# What is missing?**

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
# No error, no warning. PyTorch knows which parameters took part in an answer, though: those that have a gradient afterwards.

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
# Four in five of the declared parameters never learn. (They are 9.8 million, not 8.5, because `encoder` holds six *copies* of
# `encoder_layer`: seven layers are declared.) Did that happen to the report? It does not show its `forward`, so nobody can be sure. But its
# log says how fast each model trained: 44 steps a second, *both*. At that rate the baseline's work is some 100 GFLOP a second, that of one
# wide layer 1,600, that of six 9,400. That the first two run at one speed is plausible, if both wait for something else, such as the data;
# that the third does too is not. The report most likely measured **one** wide layer. So this kit has both: `tuned`, where all six run, and
# `seed_tuned_as_run`, where one does.
#
# ## Discovery 2: six layers that collapse
#
# So let all six run, as the report meant. Each half of a layer (attention; the small network) is a *sublayer*, whose result is added to its
# input. A *LayerNorm* brings a frame's vector to mean 0 and deviation 1; PyTorch's layers put it *after* each sublayer unless told
# otherwise (*post-norm*, as in the first Transformer): `norm(x + sublayer(x))`. The other way is to put it *before* (*pre-norm*): the
# sublayer is given the normalised input, and its result is added to the input as it came.
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
# Two runs, equal in all but that. Full-sized layers (512 wide) collapse at the recipe's own learning rate, 0.001; small ones (128 wide)
# bear it, so in the `laptop` profile this experiment uses 0.003:

# %%
from speaker_lib import train

deep_runs = [lesson.collapse_run(norm) for norm in ("post", "pre")]
for deep in deep_runs:
    train(deep, lesson.ablation_corpus(), lesson.device)

# %%
from speaker_lib.plots import comparison_figure

show(comparison_figure(deep_runs))

# %%
for deep in deep_runs:
    last, chance = deep.metrics()[-1], 1 / deep.preset.model.n_speakers
    rate, accuracy = deep.preset.train.learning_rate, last["valid_accuracy"]
    print(
        f"{deep.name}, learning rate {rate:g}: accuracy {accuracy:.3f} after {last['step']:,} steps; guessing gives {chance:.3f}"
    )

# %% [markdown]
# **What to see:** one curve climbs, the other stays on the ground, at the loss of guessing, $\ln n$. At the start of training post-norm's
# gradients near the output are large, however deep the model; pre-norm's are smaller the deeper it is (Xiong et al. 2020, section 3). With
# pre-norm each sublayer's input also runs past it untouched, so that the gradient finds its way. Other cures: a lower learning rate, a
# longer warmup. If you ever see a loss stand still at $\ln n$, think of this picture.
#
# ## Training the tuned model
#
# All four changes and pre-norm, at this profile's size; same data, same steps, same schedule as the baseline of lesson 1:

# %%
for setting, (before, after) in lesson.profile.baseline.differences(lesson.profile.tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")
run = lesson.run("tuned")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **What to see:** compare with lesson 1: the accuracy leaves the floor much earlier. At the end the training curve lies above the validation
# curve: the model begins to know its utterances by heart.
#
# ## The same two questions
#
# *crop*, one random segment per held-out utterance, and *full*, the whole utterance, for the same held-out utterances as in lesson 1:

# %%
from speaker_lib.evaluation import evaluate, evaluation_text

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))

# %%
from speaker_lib.plots import confusion_figure

show(confusion_figure(logits, labels, corpus.speakers))

# %% [markdown]
# **What to see:** fewer counts off the diagonal than in lesson 1. Are the pairs that are still mistaken the same ones? Compare the lists.
#
# And the attention, now of every head in the last layer, on the same segment as above:

# %%
maps = attention_maps(run.load_model(), mel)  # (layers, heads, frames, frames)
show(attention_figure(maps[-1], mel, f"Attention of {run.name}, layer {len(maps)} of {len(maps)}"))

# %% [markdown]
# **What to see:** heads that differ: one or another spreads its weight widely, most pick a few frames, and not all of them the same ones.
#
# ## What we saw

# %%
reached = trained_baseline.evaluation()
print(f"On {corpus.source}, whole utterances:")
print(
    f"  {trained_baseline.name:<16} {reached['n_parameters']:>10,} parameters   full {reached['full']['accuracy']:.4f}"
)
print(
    f"  {run.name:<16} {evaluation.n_parameters:>10,} parameters   full {evaluation.full.accuracy:.4f}"
)
print("The report, on 600 VoxCeleb2 speakers, segments: 0.4834 and 0.7599.")

# %% [markdown]
# ## Quiz
#
# Five questions. Choose an answer, and read why it is right or wrong.

# %%
quiz(2)

# %% [markdown]
# **Recap.** Width multiplies the work by 16, layers by another 6; attention heads add no parameters and no multiplications, though they take
# time; the word in the output head costs nothing. The Sigmoid dampens from the first step and saturates only later. Layers that are not
# called do not learn, and nobody warns you: count the parameters that have a gradient. Six post-norm layers collapse where the learning
# rate is too high for them; pre-norm trains at the same rate.
#
# **重點回顧。** 加寬讓計算量變成約 16 倍，增加層數再變成約 6 倍；增加注意力頭不增加參數量與乘法次數，但會多花時間；輸出層改的那一個字不花成本。Sigmoid 從第一步就壓低訊號，後來才飽和。
# 沒有被呼叫的層不會學習，也不會有任何警告：請數一數，有梯度的參數到底有多少。六層 post-norm 在學習率對它們來說太高時會崩潰；同樣的學習率，換成 pre-norm 就訓練得起來。
#
# **To try:** `lesson.profile.collapse.override({"train.learning_rate": 3e-4})` makes a preset; with `Run.create` and `train` see whether
# the lower rate saves post-norm.
#
# **Next:** [lesson 3](03_compare.ipynb) asks which of the four changes did it.
