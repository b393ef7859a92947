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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/05_strangers.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/05_strangers.ipynb)

# %% [markdown]
# # 5 · Strangers
#
# Every model so far answers with a name from its list. But a door, a phone or a meeting recorder meets people who were not in
# the training data. This lesson asks two other questions: *are these two utterances by the same person?* (verification) and
# *which of the people I know is this, if any?* (after enrolment).
#
# **After this lesson you can** explain why a classifier cannot say "nobody I know"; compare two utterances by their
# embeddings, and compute the equal error rate; enrol a person with a few recordings; and say what was held out when you are
# told an accuracy.
#
# Allow 45 minutes; the computer needs four of them, or 70 seconds with [finished runs](../docs/teaching.md).
# If you have not run lessons 1 and 2, short runs replace them.

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
from speaker_lib.course import preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## A closed list
#
# Here are speakers whom no model of this course was trained on: *strangers*. **What will lesson 2's model say about them?
# Will it at least be less confident?**

# %%
import torch

from speaker_lib import SpeakerDataset
from speaker_lib.evaluation import full_outputs, heldout_indices

tuned, strangers = lesson.trained("tuned"), lesson.unseen_speakers()
model, everyone = tuned.load_model(lesson.device), torch.arange(len(strangers.labelled))
known = ("known", corpus, heldout_indices(tuned, corpus))
for who, data, chosen in (known, ("strangers", strangers, everyone)):
    logits = full_outputs(model, SpeakerDataset(data.labelled), chosen, lesson.device)
    sure = logits.softmax(dim=1).amax(dim=1)  # (utterances,) the probability of its answer
    often = (sure > 0.9).float().mean()
    print(f"{who:<10} mean confidence {sure.mean():.2f}; above 0.9 in {often:.0%} of utterances")

# %% [markdown]
# It may be less sure, but it names every stranger, some of them perhaps with a confidence above 0.9, and no name could be
# right. It cannot say "nobody I know": its probabilities sum to 1 over the names on its list. *Identification* means
# choosing from a closed list.
#
# But the input of the head's *last* layer needs no list. This vector, the **embedding**, describes how an utterance sounds
# ([Snyder et al. 2018](https://www.danielpovey.com/files/2018_icassp_xvectors.pdf)). **Will the utterances of one stranger
# lie close together?** A *t-SNE* map draws them in two dimensions and keeps similar ones close together:

# %%
from speaker_lib.evaluation import embed
from speaker_lib.plots import map_figure

show(map_figure(embed(tuned, strangers, everyone, lesson.device)))

# %% [markdown]
# **What to see:** each colour with its marker is a stranger. Where one stays together, the embeddings describe even a voice
# that is not on the list. If a group falls apart into recordings, they also describe the room or microphone. (On such a map
# the distance between far groups means little.)
#
# ## The same person, or two?
#
# Take two utterances and the cosine between their embeddings. If this score reaches a *threshold*, we say *the same person*.
# There are two errors: rejecting a pair of one speaker, and accepting a pair of two. A higher threshold makes more of the
# first and fewer of the second. The **equal error rate** (EER) is the error rate at the threshold where both are equal.
#
# **Exercise.** Write the EER: try each score as the threshold; where the two rates are closest, return their mean.

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
# Now real pairs. If the data name their recordings, both utterances of one speaker come from different ones, so that the room
# cannot give the answer away.

# %%
from speaker_lib.evaluation import draw_trials, verify
from speaker_lib.plots import verification_figure

trials = draw_trials(strangers, everyone)
result, scores = verify(tuned, strangers, trials, lesson.device)
show(verification_figure(result, scores, trials.same))

# %% [markdown]
# **What to see:** on the left, where the two heaps overlap, no threshold gets everything right. On the right is the *DET*
# curve (detection error trade-off), both errors at every threshold: the nearer to the bottom left corner, the better.
#
# **Is that good? Compared with what?** Guessing has an EER of 0.5. But even random weights pass on some of what the features
# say about a voice. So compare every model with an *untrained* one. **minDCF** (minimum detection cost function) weighs both
# errors for a door where only 1 (or 5) in 100 who knock may enter: 0 is perfect, 1 is no better than keeping it shut.

# %%
from speaker_lib.evaluation import verification_table

runs = {
    "untrained": lesson.untrained("tuned"),
    "baseline": lesson.trained("baseline"),
    "tuned": tuned,
}
results = {name: verify(run, strangers, trials, lesson.device)[0] for name, run in runs.items()}
print(verification_table(results))

# %% [markdown]
# With `minDCF 0.01` near 1 even the best model is hardly better than a shut door: 99 of 100 who knock are strangers.
#
# ## How many people does it take?
#
# These models were trained on a list of names. **Would they compare strangers better if the list were longer?** The same
# model, the same number of steps, several seeds; only the number of speakers (and so of utterances) changes.

# %%
from speaker_lib.experiments import run_generalisation

profile = lesson.profile
data = [lesson.first_speakers(n) for n in profile.training_speakers if n <= corpus.n_speakers]
found = run_generalisation(
    profile.tuned, profile.generalisation, data, strangers, lesson.runs / "generalisation"
)
print(found)

# %%
from speaker_lib.plots import generalisation_figure

show(generalisation_figure(found))

# %% [markdown]
# **What to see:** the dashed line is the untrained model. How far below it do the runs get, and do more people help? If the
# curve rises again at its end, as with 100 simulated voices after 300 small steps, the training was too short for the longer
# list. `tuned`, in the table above, was trained on the same 100 voices in more steps, with more data in each, and its EER is
# far lower. So a longer list needs longer training; what more people bring by themselves, this figure cannot show. Benchmarks
# train on thousands of people, and reach an EER below 1 % on VoxCeleb ([Desplanques et al.
# 2020](https://arxiv.org/abs/2005.07143)). Count the people you test on, too: ten are too few.
#
# ## What does 0.97 mean?
#
# On HW4's validation set the highest accuracy we know of is 0.967 ([docs/accuracy.md](../docs/accuracy.md)). What does such
# a number promise? It depends on what was held out. On 20 simulated voices, where guessing is right in 0.050:
#
# | held out | the question | our answer |
# |---|---|---|
# | a random tenth of the utterances, as in HW4 | Who speaks, in a recording that training has already heard? | accuracy 0.819 ± 0.039 (lesson 3) |
# | whole recordings | Who speaks, in a new room? | 0.240 ± 0.019 with the same settings; 0.788 ± 0.027 with the ladder and CMN (lesson 4) |
# | people | Are these two utterances by one stranger? | the EER in the table above |
#
# How much a new room costs depends on the room, and ours are simulated. But HW4 shows it, too: in its 2022 edition an
# accuracy of 0.946 in validation is reported to have become 0.837 on the test set, which shared no videos with training
# ([docs/hw4.md](../docs/hw4.md)). So a random split says how well a model knows recordings like those of its training, not
# yet how well it knows the people.
#
# ## Enrolment: "who is this?"
#
# To **enrol** a person, take a few recordings, scale their embeddings to length 1, average them, and scale the mean to
# length 1. A new recording is given to the person with the highest cosine, or to *nobody* if even that is below the threshold.
#
# **Exercise.** Write the enrolment of one person.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def enrol(vectors):
    """The embeddings (recordings, d) of one person to one vector (d,) of length 1."""
    # solution: every recording counts alike, so each vector gets length 1 before the mean, and the mean after it.
    mean = torch.nn.functional.normalize(vectors, dim=1).mean(dim=0)  # (d,)
    return mean / mean.norm()
    # end of solution


check.enrol(enrol)

# %% [markdown]
# The threshold is *calibrated*: enrol some of the strangers, score utterances of all of them, and choose the score that
# only 5 % of the utterances of *not* enrolled people exceed. So the 5 % below is what we ask for. **How many of the
# enrolled are then turned away? Does a second recording help?**

# %%
from speaker_lib.evaluation import calibrate, make_reference

reference = make_reference(tuned, strangers, lesson.device)
for recordings in (1, 2, 4):
    t = calibrate(reference, 10, recordings)
    print(
        f"{t.n_people} people enrolled by {recordings}: {t.false_accepts:.0%} of strangers are accepted, "
        f"{t.false_rejects:.0%} of the enrolled are turned away or mistaken"
    )

# %% [markdown]
# ## Your own voice
#
# Now you and a friend. Ask people before you record them: a voice is personal data, and what recognises it can also track its
# owner. The recordings stay on this machine (on Colab, in your session), and *Delete all recordings* deletes them and all
# that was computed from them.
#
# Run the next cell for a panel with the buttons *Record*, *Enrol* and *Who is this?* For each of you, type the name and
# record ten seconds of speech three times. Press *Enrol* once: the panel says how often each error occurs. Then ask who is
# speaking, and let somebody speak who is *not* enrolled: **what will it say?** (A model trained on simulated voices has never
# heard a person, so expect it to fail: `DATA = "LibriSpeech dev-clean"` has 40.)

# %%
from speaker_lib.course import OwnVoice

own = OwnVoice(lesson, tuned, reference)
own.show()

# %% [markdown]
# A stranger should be *nobody in the book* (the list of those enrolled); the threshold was chosen so that 1 in 20 still
# gets a name, and some who *are* enrolled are turned away. It was chosen on the lesson's strangers, not on people at your
# microphone: expect more errors. The same in a shell: [docs/enrolment.md](../docs/enrolment.md).

# %% [markdown]
# ## What we saw

# %%
best = found.eer.mean(axis=1)
print(f"the run of this lesson: {tuned.folder}")
print(f"{strangers.n_speakers} strangers, {strangers.title}:")
print(f"EER untrained {results['untrained'].eer:.3f}, trained {results['tuned'].eer:.3f};")
print(
    f"with {found.speakers[1]} training speakers {best[1]:.3f}, with {found.speakers[-1]} {best[-1]:.3f}."
)

# %% [markdown]
# ## Quiz

# %%
quiz(5)

# %% [markdown]
# **Recap.** A classifier has a list of names, and gives one of them to everybody. Embeddings compare any two utterances. The
# EER is the error rate where both errors are equal; compare it with an untrained model's. Enrolment averages embeddings, and
# a calibrated threshold allows the answer *nobody*. To work for strangers, train on many people, and for long enough.
#
# **End of the course.** What you take away is a way to find out: one change at a time, several seeds, one way of measuring,
# and the question *compared with what?*
