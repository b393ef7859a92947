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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/01_baseline.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/01_baseline.ipynb)

# %% [markdown]
# # 1 · Who is speaking? The baseline
#
# Somebody says a sentence. Which of 600 people was it? That is *speaker identification*, and this is the first of four lessons on
# it. They retell a student's report on homework 4 of NTU's Machine Learning course: a small Transformer that is right in 48% of cases,
# a tuned one that reaches 76%, and the question the report leaves open.
#
# **After this lesson you can**
# - say what a mel-spectrogram, a frame and a segment are, and why the model is fed segments of 128 frames;
# - compute self-attention by hand and get PyTorch's own numbers;
# - take the baseline model apart, layer by layer, with shapes and parameter counts;
# - train it, measure it in two ways that do not agree, and say why they do not;
# - hold it against a baseline without a network, which needs a second.
#
# **學習目標**
# - 說明什麼是梅爾頻譜圖、音框（frame）與片段（segment），以及為什麼輸入模型的是 128 個音框的片段；
# - 親手算出 self-attention，得到與 PyTorch 相同的數字；
# - 逐層拆解基準模型，看懂每一層的形狀與參數量；
# - 訓練模型，用兩種方式衡量它，得到兩個不同的數字，並說明為什麼不同；
# - 拿它與只需要一秒鐘、不用神經網路的基準方法比較。
#
# You need: some Python, and to have seen a neural network trained once.

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
# The next cell looks at the machine, finds the data or makes some, and says how long training will take here. On Colab you can change
# its two settings: whether the assignment's data are downloaded (7.1 GB), and whether your runs are kept on this machine, which Colab
# takes away after a while, or in your Google Drive. Without any data at hand everything below works on *simulated voices*: sounds
# with a pitch and a vocal tract of their own, made by a program. They are not people, and no result about them is one about people.

# %%
from speaker_lib.course import LivePlot, explore, preflight, quiz, show
from speaker_lib.plots import lengths_figure, utterance_figure, voices_figure

DATA = "what is here, else simulated voices"  # @param ["what is here, else simulated voices", "download HW4"]
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## Two voices
#
# Here are two simulated speakers, three seconds each. **Listen first (in Colab or Jupyter), and ask yourself: what tells you that these
# are two, not one?** It cannot be the words: they speak none. The recordings get what the assignment's got: the loudest sample at -3 dB,
# and pauses cut out.

# %%
from IPython.display import Audio, display
from speaker_lib.data import SAMPLE_RATE, log_mel, normalise_peak, remove_silence
from speaker_lib.simulation import Simulation, simulated_recording, speaker_name

speakers = (3, 10)
recordings = [simulated_recording(Simulation(), speaker, utterance=0) for speaker in speakers]
waveforms = [remove_silence(normalise_peak(recording)) for recording in recordings]
waveforms = [waveform[: 3 * SAMPLE_RATE] for waveform in waveforms]
for speaker, waveform in zip(speakers, waveforms, strict=True):
    print(speaker_name(speaker))
    display(Audio(waveform, rate=SAMPLE_RATE))

# %% [markdown]
# A recording is 16,000 numbers per second, the *waveform*. What distinguishes voices is hard to see in it. So speech is usually shown
# as the ear takes it apart: every 10 milliseconds, how much energy is there in each of 40 frequency bands, narrow ones for low
# frequencies and wide ones for high? That is a *mel-spectrogram*. What it holds for one such moment is a **frame**, 40 numbers, of
# which we take the logarithm, as the ear does with loudness. (Three seconds are 300 steps of 10 ms, and one frame more at the start.)

# %%
from speaker_lib.data import median_pitch

voice_mels = [log_mel(waveform) for waveform in waveforms]
print("waveform", waveforms[0].shape, "-> log-mel", voice_mels[0].shape, "(frames, mel bands)")
for speaker, waveform in zip(speakers, waveforms, strict=True):
    print(f"{speaker_name(speaker)}: pitch {median_pitch(waveform):.0f} Hz")
show(voices_figure(waveforms, voice_mels, [speaker_name(speaker) for speaker in speakers]))

# %% [markdown]
# **What to see:** most people hear first that the second voice is higher. That is its **pitch**, how often per second the vocal folds open and
# close; the horizontal lines at the bottom of the second spectrogram are its multiples. In the waveforms you see loud and soft, little else. In the spectrograms each column is a frame. The bright bands that move up
# and down, between bands 5 and 30, are *formants*, resonances of the vocal tract (throat and mouth); a longer one puts them lower. They change with
# every sound, yet their average belongs to the speaker. Not every difference is the voice, though: the dark strip at the top right is a
# microphone that hears little above 5 kHz. Remember it for lesson 3.
#
# Move the slider (or, where this page is only read, look at the picture): the white box marks 128 frames, 1.28 seconds, of the first
# speaker. **How much does the mean over those 1.28 seconds, on the right, change as you move? Enough to take it for the other speaker's?**

# %%
mel, other = voice_mels
last = len(mel) - 128
explore(lambda start: utterance_figure(mel, start, other=other), "first frame", most=last)

# %% [markdown]
# **What to see:** the solid curve stays near the dashed one, its own speaker's, and away from the dotted one. Nobody is the same in every
# second, but 1.28 seconds already tell a lot. A model that is to name the speaker has to find in them what does *not* move.
#
# ## The data as they lie on disk
#
# From here on it is the whole data set. An **utterance** is one stretch of speech by one person. The assignment's format is plain:
# `metadata.json` lists each speaker's utterances, and each utterance is a file of its own, already turned into log-mel frames.

# %%
import json

import torch

corpus = lesson.corpus
metadata = json.loads((corpus.folder / "metadata.json").read_text(encoding="utf-8"))
name, entries = next(iter(metadata["speakers"].items()))
print(f"{len(metadata['speakers'])} speakers; {name} has {len(entries)} utterances. The first one:")
print(entries[0])
path = corpus.folder / entries[0]["feature_path"]
if path.exists():  # data that come packed need no such file
    feature = torch.load(path, weights_only=True)
    print(
        f"its feature: {tuple(feature.shape)} {feature.dtype}, from {feature.min():.1f} to {feature.max():.1f}"
    )

# %% [markdown]
# (`session` says which recording an utterance is from; the assignment's data do not have it.) Opening 32 small files for every training
# step takes some 8 ms on two CPU cores; a GPU may need less than that for the step itself. So the library packs them once into a single
# array on disk; after that an utterance is a slice.
#
# Utterances are of all lengths:

# %%
segment_len = lesson.profile.baseline.train.segment_len
show(lengths_figure(corpus.labelled.lengths, segment_len, corpus.source))

# %% [markdown]
# **What to see:** nearly every utterance is longer than the orange line. **Then why throw most of it away and train on segments of 128
# frames?** Think about it before you read on.
#
# - A batch is one tensor, so all its utterances must be equally long: cut, or pad with silence and compute on it.
# - The model compares each frame with each other one: twice as long is four times as many comparisons.
# - A segment cut at a *random* place is a new example every time: an utterance of 4.5 seconds holds over 300 different ones.
#
# ## What is held out
#
# A model is evaluated on utterances that it was not trained on: a random tenth, the *validation set*. A *seed*, a number that
# starts the random generator, decides which (`train.split_seed`). With the assignment's 56,666 utterances and its seed, this is how that tenth begins; your
# classmates' must begin the same way, or your numbers cannot be compared:

# %% tags=["NBVAL_CHECK_OUTPUT"]
order = torch.randperm(56_666, generator=torch.Generator().manual_seed(87))
training, held_out = order[:50_999], order[50_999:]
print(f"HW4, seed 87: {len(training)} to train on; held out: {held_out[:5].tolist()} …")

# %%
from speaker_lib.data import get_dataloader, split_utterances

config = lesson.profile.baseline.train
training, validation = split_utterances(corpus.labelled, config)
train_loader, valid_loader, n_speakers = get_dataloader(corpus, config)
mels, lengths, labels = next(iter(train_loader))
print(f"here: {len(training):,} utterances to train on, {len(validation):,} held out")
print(
    "a batch:", *(tuple(part.shape) for part in (mels, lengths, labels)), labels[:5].tolist(), "…"
)

# %% [markdown]
# Always look at one batch before you train: the segments, `(batch, frames, mel bands)`; for each how many of its frames are real, not
# padding; and its label, a number from 0 up for the speaker.
#
# ## What does one second give?
#
# Before any network, try the simplest method that could work. The mean of an utterance over time is 40 numbers, its *mean spectrum*. Average
# those of each speaker. A new utterance belongs to the speaker with the nearest one. **In how many of the held-out utterances will that be
# right? Write your guess down.**

# %%
utterances = corpus.labelled
means = [torch.from_numpy(utterances.mel(i)).mean(dim=0) for i in range(len(utterances))]
means, speaker = torch.stack(means), torch.from_numpy(utterances.labels)  # (utterances, 40)
centres = [means[training][speaker[training] == s].mean(dim=0) for s in range(n_speakers)]
centres = torch.stack(centres).nan_to_num(1e9)  # (speakers, 40); one without utterances is far away
nearest = torch.cdist(means[validation], centres).argmin(dim=1)  # (held out,)
right = (nearest == speaker[validation]).float().mean()
print(f"nearest mean spectrum: {right:.3f} right; guessing: {1 / n_speakers:.3f}")

# %% [markdown]
# Voices differ in more than their mean: in how much each band varies, how fast it changes, and which parts of the spectrum rise together.
# *Linear discriminant analysis* (LDA, Fisher 1936) takes such statistics and looks for the directions in which speakers lie far apart
# compared with the spread within one speaker. It is a few lines of scikit-learn ([`classical.py`](../speaker_lib/experiments/classical.py)):

# %%
from speaker_lib.experiments import classical_baselines, classical_conclusion, classical_table

classical = classical_baselines(corpus, config)
print(classical_table(classical))

# %% [markdown]
# Each row uses the statistics of the rows above it, too. *full* counts whole utterances, *crop* random segments of the length that the
# network is trained on. **These are the numbers to beat.** Whatever a network reaches below, ask: compared with what?
#
# ## Self-attention in two lines
#
# The model is a *Transformer*, and its heart is *self-attention*: each frame asks all frames, itself included, for what it needs. From
# each frame $x$ come three vectors, a **query** $q$ (what am I looking for?), a **key** $k$ (what have I got?) and a **value** $v$ (what
# do I hand over?). How well a query fits a key decides how much of that value is taken:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right)V \qquad\text{(Vaswani et al. 2017, equation 1)}$$
#
# $Q$, $K$ and $V$ hold the frames' vectors as rows, each made from $x$ by a matrix that is learned; $d$ is their length, and $\sqrt{d}$
# keeps the scores from growing with it; *softmax* makes each row positive, with sum 1. PyTorch multiplies the result by one more learned
# matrix, `out_proj`.
#
# **Exercise.** Write the formula for one head. The last line holds your numbers against PyTorch's, for a few frames of a few numbers each.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def attention(q, k, v):
    """Queries, keys and values (batch, frames, d) to the output of one head (batch, frames, d)."""
    # solution: the scores of each query with each key, their softmax, and the weighted sum of the values.
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (batch, frames, frames)
    return scores.softmax(dim=-1) @ v  # (batch, frames, d)
    # end of solution


check.attention(attention)

# %% [markdown]
# Row by row the softmax says from which frames a frame takes. Several **heads** do this side by side, each with a part of the width:
# with two heads and 80 numbers per frame, 40 each.
#
# ## The model
#
# The assignment's `Classifier`, here with the sizes of the report's baseline, from the waveform to the names. On each arrow stands the shape of what
# is handed on, for one segment:

# %%
from speaker_lib import PRESETS, Classifier
from speaker_lib.plots import architecture_figure

show(architecture_figure(PRESETS["baseline"]))

# %% [markdown]
# Here is the forward pass, from frames to answer, as the library has it:

# %% tags=["NBVAL_CHECK_OUTPUT"]
import inspect

print(inspect.getsource(Classifier.forward))
print(inspect.getsource(Classifier.embed))

# %% [markdown]
# - `prenet` widens each frame from 40 numbers to `d_model` = 80;
# - `encoder` is one Transformer layer: attention among the frames, then a small network on each frame;
# - the mean over all frames makes one vector of the whole segment, however long it is;
# - `pred_layer`, the **output head** (no kin of the attention heads), turns it into one number per speaker, the *logits*; the largest is
#   the answer. Between its two linear layers sits a Sigmoid, which squeezes every number into 0 … 1. Keep it in mind for lesson 2.
#
# **Where do you expect most of the parameters: in the encoder, or in the output head?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import layer_table

torch.manual_seed(0)
model = Classifier(PRESETS["baseline"].model)  # 600 speakers, the assignment's
print(layer_table(model, torch.zeros(32, 128, 40)))

# %% [markdown]
# **What to see:** more than half of the 125,896 numbers to learn (54%) are in the encoder layer, and 39% in the very last one, because
# 600 answers need 80 × 600 weights and 600 biases: $48{,}600 = 81 \times 600$. (PyTorch's encoder wants the frames first, so there the shape is
# turned around; the mean over frames takes that dimension away.)
#
# **Exercise.** Whole utterances differ in length, so a batch of them is padded, and the padding must not be averaged in. Write the mean
# over each utterance's real frames.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def mean_over_frames(frames, lengths):
    """Of frames (batch, frames, width) the first lengths (batch,) are real: their means (batch, width)."""
    # solution: sum only the real frames of each utterance, and divide by their number.
    real = torch.arange(frames.shape[1]) < lengths[:, None]  # (batch, frames)
    return (frames * real[:, :, None]).sum(dim=1) / lengths[:, None]  # (batch, width)
    # end of solution


check.mean_over_frames(mean_over_frames)

# %% [markdown]
# One more question before we train. The model has no idea of order: nothing tells it which frame is first. **What happens to the answer
# if we shuffle the frames of a segment?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
model.eval()
segment = torch.randn(1, 128, 40)
shuffled = segment[:, torch.randperm(128)]
print("the same answer:", torch.allclose(model(segment), model(shuffled), atol=1e-5))

# %% [markdown]
# It stays the same. The model hears *how* somebody sounds, not in which order they say things. So
# it cannot use the rhythm or melody of speech, which people do use; what that loses is not measured here.
#
# ## How it learns
#
# Each step: a batch of 32 segments, the **loss** (cross-entropy: how surprised was the model by the right answer?), a step of AdamW
# downhill. How large a step, the *learning rate*, is not the same throughout:

# %%
from speaker_lib.plots import schedule_figure

show(schedule_figure(config))

# %% [markdown]
# **What to see:** it begins at zero and rises (*warmup*): at first AdamW has seen too few gradients to judge how long a step should be,
# and a step too large can ruin a fresh Transformer. Then it falls slowly, so that the last steps only polish.
#
# **What is the loss of a model that knows nothing?** To it all $n$ speakers are equally likely. Cross-entropy is minus the logarithm of
# the probability that the right one gets.
#
# **Exercise.** Write that loss.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import math

from speaker_lib.course import check


def loss_of_guessing(n_speakers):
    """The cross-entropy, in nats, of a model to which n_speakers speakers are equally likely."""
    # solution: the probability of the right speaker, and minus its logarithm.
    return -math.log(1 / n_speakers)
    # end of solution


check.loss_of_guessing(loss_of_guessing)

# %% [markdown]
# A fresh model should have about that loss. If yours does not, look for the mistake *before* you train.

# %%
from speaker_lib import model_fn, set_seed
from speaker_lib.training import fit_to_data

set_seed(config.seed)
fresh = Classifier(fit_to_data(lesson.profile.baseline, corpus).model)  # an answer per speaker here
batch, criterion = next(iter(train_loader)), torch.nn.CrossEntropyLoss()
loss, accuracy = model_fn(batch, fresh, criterion, torch.device("cpu"))
print(f"loss {loss:.2f}; knowing nothing would be ln({n_speakers}) = {math.log(n_speakers):.2f}")

# %% [markdown]
# ## Training
#
# On a laptop the model that is trained is a scaled-down version: 64 numbers per frame instead of 80, and as many answers as there are speakers
# here. `lesson.run("baseline")` opens a folder that keeps everything: the settings, a line per validation, the best weights, and the state to
# go on from. If this machine vanishes, run the notebook again: it goes on where it was. To end training early, press *Stop training* (or
# the notebook's ■): the run is saved first.

# %%
from speaker_lib import train

run = lesson.run("baseline")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **What to see:** the loss starts near $\ln n$ and falls; the accuracy leaves the dotted line of guessing. Both flatten at the end, where
# the learning rate is nearly zero: that does not show that the model could learn no more. Validation first lies above training, because
# the training value is a mean over all steps since the last validation, and with *dropout* (random zeros) on. Where training keeps rising
# and validation does not, a model is learning by heart.
#
# ## How good is it? Two ways to ask
#
# The report's way, **crop**: one random segment of each held-out utterance. What a test asks for, **full**: the whole utterance. The
# weights are the same. **Which number will be higher?** And since *crop* is random: by how much will it differ if we only cut elsewhere?

# %%
from speaker_lib.evaluation import evaluate, evaluation_text

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))

# %% [markdown]
# *SD over cuts* is the standard deviation over ten ways to cut the same utterances: two models closer to each other than that cannot be
# told apart by a single validation. (It says nothing of other utterances, or of another seed: see lesson 3.) *top 5* counts an answer as
# right if the speaker is among the five likeliest. Utterances are longer than segments, so *full* hears more of the speaker than *crop*.
#
# ## What does it mix up?

# %%
from speaker_lib.plots import confusion_figure

show(confusion_figure(logits, labels, corpus.speakers))

# %% [markdown]
# **What to see:** the diagonal, in grey, holds the right answers. A bright square off it: the speaker of that row was taken for that of the column. A
# column with several of them is a speaker whom the model names when it does not know.
#
# ## Handing in
#
# The assignment wants a CSV with one line per test utterance: `Id,Category`.

# %%
from speaker_lib.evaluation import predict

submission = run.folder / "submission.csv"
if corpus.test is None:
    print("These data have no test set, so there is nothing to hand in.")
else:
    rows = predict(run, corpus, submission, lesson.device)
    print(f"{rows:,} predictions; the file begins:")
    print(*submission.read_text().splitlines()[:3], sep="\n")

# %% [markdown]
# ## What we saw

# %%
last, crop = run.metrics()[-1], evaluation.crop
print(f"On {corpus.source}: {last['step']:,} steps at {last['steps_per_second']:.0f} a second.")
print(f"Loss: knowing nothing {math.log(n_speakers):.2f}, now {last['valid_loss']:.2f}.")
print(f"Right by guessing {1 / n_speakers:.4f}, crop {crop.accuracy:.4f}", end=" ")
print(f"(SD over cuts {crop.std:.4f}), full {evaluation.full.accuracy:.4f}.")
full, count = evaluation.full.accuracy, evaluation.n_utterances
print(classical_conclusion(classical, "baseline", full, count))
print("The report, 600 VoxCeleb2 speakers, best validation in 70,000 steps: 0.4834 (crop).")

# %% [markdown]
# ## Quiz
#
# Five questions. Choose an answer, and read why it is right or wrong.

# %%
quiz(1)

# %% [markdown]
# **Recap.** Speech becomes frames of 40 log-mel values; random segments of 128 frames become batches; attention lets frames look at each
# other; the mean over time makes one vector; an output head with a Sigmoid names the speaker. The same weights give two accuracies, because two
# questions were asked. And an accuracy means little until a simple method has had its turn: simulated voices differ in their statistics,
# and in a thousand steps this small network learns less of them than LDA reads off in seconds. Lesson 3 asks where a network begins to pay.
#
# **重點回顧。** 語音先變成一個個 40 維的對數梅爾音框；隨機切出的 128 音框片段組成批次；self-attention 讓音框彼此參照；
# 對時間取平均得到一個向量；帶有 Sigmoid 的輸出層判斷語者是誰。同一組權重得到兩種準確率，因為問的是兩個不同的問題。
# 單看一個準確率意義不大，要先看簡單的方法能做到多少：不用神經網路的 LDA 只要幾秒鐘，就是最好的對照。
#
# **To try:** how short may a segment become before nothing is learned? `preset = lesson.profile.baseline.override({"train.segment_len": 16})`
# makes a preset, `Run.create(lesson.runs / "segment-16", preset, corpus)` a run of it for `train`.
#
# **Next:** [lesson 2](02_tuned.ipynb) changes four things, and makes two discoveries.
