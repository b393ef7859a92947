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
# Somebody says a sentence. Which of 600 people was it? A student's report on homework 4 (HW4) of NTU's Machine Learning
# course tries two Transformers: a small one is right in 48 % of cases, a tuned one in 76 %. Four changes lie between them.
# These five lessons ask which of them helped.
#
# **After this lesson you can** explain mel-spectrograms, frames and segments; write self-attention; take the baseline apart;
# train it, measure it in two ways, and compare it with methods without a network.
#
# You need some Python and 50 minutes; the computer needs two of them, or 40 seconds with [finished
# runs](../docs/teaching.md). Look up terms in the [glossary](../docs/glossary.md).

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
# The next cell finds data. On Colab and Kaggle it fetches recordings of 40 people (LibriSpeech, 338 MB). Elsewhere, without
# data, a program makes *simulated voices*, which are not people. `DATA` chooses other data, `KEEP` where files are stored.

# %%
from speaker_lib.course import LivePlot, explore, preflight, quiz, show
from speaker_lib.plots import lengths_figure, utterance_figure, voices_figure

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## Two voices
#
# Two speakers. **Listen first: what tells you that these are two voices and not one?**

# %%
from IPython.display import Audio, display
from speaker_lib.sound import SAMPLE_RATE

voices = lesson.voices()  # a name and a sound of each
for name, waveform in voices:
    print(name)
    display(Audio(waveform, rate=SAMPLE_RATE))

# %% [markdown]
# Perhaps you noticed **pitch** first: how often per second the vocal folds open and close.
#
# A recording is 16,000 numbers per second, the *waveform*. A **mel-spectrogram** shows the energy in each of 40 frequency
# bands, narrow for low frequencies and wide for high ones, roughly as the ear resolves them. One column is a **frame**: 25 ms
# of sound, and a new one begins every 10 ms. We take the logarithm (*log-mel*), as we hear loudness that way.

# %%
from speaker_lib.sound import log_mel, median_pitch

names, waveforms = zip(*voices, strict=True)
print(*(f"{name}: pitch {median_pitch(waveform):.0f} Hz" for name, waveform in voices), sep="\n")
voice_mels = [log_mel(waveform) for waveform in waveforms]
print("waveform", waveforms[0].shape, "-> log-mel", voice_mels[0].shape, "(frames, mel bands)")
show(voices_figure(waveforms, voice_mels, names))

# %% [markdown]
# **What to see:** the bright bands that move up and down are *formants*, resonances of the vocal tract. They change with
# every sound; their average is typical of the speaker. The fine lines below, clearest in the higher voice, are multiples of
# the pitch.
#
# Next, a white box marks 128 frames, 1.28 seconds. **Move the slider: does its mean ever look like the other
# speaker's?**

# %%
mel, other = voice_mels
last = len(mel) - 128
explore(lambda start: utterance_figure(mel, start, other=other), "first frame", most=last)

# %% [markdown]
# **What to see:** the solid curve (the box) moves around its own speaker's mean (dashed). Is the other speaker's (dotted)
# farther away? A model must find what does *not* move.
#
# ## The data
#
# An **utterance** is one stretch of speech by one person, in HW4's format a file of log-mel frames:

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
# (`session` names its recording; HW4's data lack it.) Utterances differ in length:

# %%
segment_len = lesson.profile.baseline.train.segment_len
show(lengths_figure(corpus.labelled.lengths, segment_len, corpus.source))

# %% [markdown]
# **Most utterances are longer than the line. Why train on short pieces, *segments* of 128 frames?**
#
# - A batch is one tensor: all its parts must be equally long.
# - The model compares every frame with every other one: twice the length means four times the comparisons.
# - A *random* segment is a new example every time: 4.5 seconds hold over 300 of them.
#
# A random tenth of the utterances is held out (the *validation set*). **Always look at one batch before you train:**

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
# That is `(batch, frames, mel bands)`, each segment's length, and the labels.
#
# ## What does a simple method give?
#
# The mean of an utterance over time is 40 numbers, its *mean spectrum*. Average these for each speaker, and give a new
# utterance to the speaker with the nearest average. **How many will that get right? Write down your guess.**

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
# Voices also differ in how much each band varies (its *deviation*), how fast it changes (*deltas*), and which bands rise
# together (*correlations of cepstra*, which describe a spectrum's shape). *Linear discriminant analysis* (LDA,
# [Fisher 1936](https://doi.org/10.1111/j.1469-1809.1936.tb02137.x)) finds the directions in which such statistics differ more
# between speakers than within one ([`classical.py`](../speaker_lib/experiments/classical.py)):

# %%
from speaker_lib.experiments import classical_baselines, classical_conclusion, classical_table

classical = classical_baselines(corpus, config)
print(classical_table(classical))

# %% [markdown]
# *full* is the accuracy on whole utterances, *crop* on random segments (SD: standard deviation over ten cuts). **These are
# the numbers to beat.**
#
# ## Self-attention
#
# The model is a *Transformer* ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)): every frame collects information
# from all frames. Three learned matrices turn each frame into a **query** (what do I look for?), a **key** (what do I have?)
# and a **value** (what do I pass on?). The better a query matches a key, the more of that value is taken:
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right)V$$
#
# $Q$, $K$ and $V$ hold a row of $d$ numbers per frame, and *softmax* turns each row of scores into positive weights that sum
# to one.
#
# **Exercise.** Write the formula; the last line compares your numbers with PyTorch's.

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
# Several **heads** do this side by side, each with its part of a frame's numbers.
#
# ## The model
#
# The report's baseline; on the arrows, the shapes of the tensors:

# %%
from speaker_lib import PRESETS, Classifier
from speaker_lib.plots import architecture_figure

show(architecture_figure(PRESETS["baseline"]))

# %% [markdown]
# The same in code. Read only the lines with `prenet`, `encoder`, `pooling` and `pred_layer`; the baseline skips the rest:

# %% tags=["NBVAL_CHECK_OUTPUT"]
import inspect

print(inspect.getsource(Classifier.forward))
print(inspect.getsource(Classifier.embed))

# %% [markdown]
# `prenet` widens each frame from 40 numbers to `d_model` = 80. `encoder` is one Transformer layer: attention, then a small
# network on each frame. *Pooling*, here the mean over the frames, makes one vector. `pred_layer`, the **output head**
# (unrelated to attention heads), gives each speaker a score, the *logit*; softmax makes them probabilities, and the highest
# wins. Between its two linear layers is a Sigmoid, which squeezes each number between 0 and 1 (lesson 2).
#
# **Where do you expect most of the parameters: in the encoder, or in the output head?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import layer_table

torch.manual_seed(0)
model = Classifier(PRESETS["baseline"].model)  # 600 speakers, the assignment's
print(layer_table(model, torch.zeros(32, 128, 40)))

# %% [markdown]
# The encoder layer has 54 % of the parameters, the last layer 39 %: 600 answers need 80 × 600 weights and 600 biases.
#
# **Exercise.** In a batch of whole utterances, shorter ones are filled up with *padding*, which must not count. Write the
# mean over the real frames.

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
# **What happens to the answer if we shuffle the frames of a segment?**

# %% tags=["NBVAL_CHECK_OUTPUT"]
model.eval()
segment = torch.randn(1, 128, 40)
shuffled = segment[:, torch.randperm(128)]
print("the same answer:", torch.allclose(model(segment), model(shuffled), atol=1e-5))

# %% [markdown]
# Nothing: without *positional encoding* the model does not know which frame is first. So it cannot use the melody of speech.
#
# ## How it learns
#
# Each step computes the **loss** of a batch (*cross-entropy*: how surprising is the right answer?), and an *optimiser*,
# AdamW, changes the weights to lower it. The step size, the *learning rate*, varies:

# %%
from speaker_lib.plots import schedule_figure

show(schedule_figure(config))

# %% [markdown]
# It rises first (*warmup*), because large steps can ruin a fresh Transformer, then falls (*cosine schedule*).
#
# **Exercise.** What is the loss of a model that finds all $n$ speakers equally likely? Cross-entropy is minus the natural
# logarithm of the right one's probability, in *nats*.

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
# A fresh model should start near that. If not, find the mistake *before* you train.

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
# On a laptop the model has 64 numbers per frame instead of 80. To stop early, press *Stop training* or ■; run the cell again
# to resume.

# %%
from speaker_lib import train

run = lesson.run("baseline")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **What to see:** the loss starts near $\ln n$ and falls, and the accuracy leaves the dotted line of guessing. Validation may
# be ahead at first: training values are means over earlier steps, with *dropout* (random zeros) on. When training improves
# and validation does not, the model *overfits*: it memorises.
#
# ## How good is it?
#
# The report measures **crop**; on a test set **full** counts. **Which will be higher? How much will *crop* change if we cut
# elsewhere?**

# %%
from speaker_lib.evaluation import evaluate, evaluation_text
from speaker_lib.plots import confusion_figure

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))
show(confusion_figure(logits, labels, corpus.speakers))

# %% [markdown]
# *top 5*: the speaker is among the five likeliest. **What to see:** right answers lie on the grey diagonal. A bright square
# elsewhere: the row's speaker was taken for the column's.
#
# Here are the wrong answers that the model was most sure of; among many names even these may have a low probability.
# **Listen first (below the figure): would you have confused them?**

# %%
from speaker_lib.course import explore_mistakes

explore_mistakes(run, corpus, logits, labels)

# %% [markdown]
# **What to see:** the green curve is high at frames that others attend to. Pooling gives all outputs the same weight
# (dashed), but each output is already a mix of the frames under the green peaks. How likely was the true speaker (hatched)?
#
# The assignment wants a CSV file:

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
print(
    f"On {corpus.title}: {last['step']:,} steps at {last['step'] / run.training_seconds():.0f} a second."
)
print(f"Loss: knowing nothing {math.log(n_speakers):.2f}, now {last['valid_loss']:.2f}.")
print(f"Right by guessing {1 / n_speakers:.4f}, full {evaluation.full.accuracy:.4f},")
print(f"crop {crop.accuracy:.4f} (SD over cuts {crop.std:.4f}).")
full, count = evaluation.full.accuracy, evaluation.n_utterances
print(classical_conclusion(classical, "baseline", full, count))
print("The report, 600 VoxCeleb2 speakers, best validation in 70,000 steps: 0.4834 (crop).")

# %% [markdown]
# ## Quiz

# %%
quiz(1)

# %% [markdown]
# **Recap.** Speech becomes frames of 40 log-mel values; random segments become batches. Attention lets frames look at each
# other, their mean makes one vector, and an output head names the speaker. An accuracy means little unless you know what a
# simple method reaches.
#
# **To try.** How short may a segment be before the model learns nothing? `from speaker_lib import Run`,
# `preset = lesson.profile.baseline.override({"train.segment_len": 16})`, then
# `Run.create(lesson.runs / "segment-16", preset, corpus)` and `train`.
#
# **Next.** [Lesson 2](02_tuned.ipynb) makes four changes and two discoveries.
