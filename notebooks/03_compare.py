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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/03_compare.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/03_compare.ipynb)

# %% [markdown]
# # 3 · Which of the four did it?
#
# The report changes four things, and the accuracy goes up. So *something* among the four helps. This lesson compares the two
# models, and then trains every step on the way from one to the other, several times.
#
# **After this lesson you can** plan an ablation: one change at a time, in order and in reverse, over several seeds; tell a
# difference from chance with a paired t-test, even among several comparisons; and say how much of a difference comes only
# from the way of measuring.
#
# Allow 40 minutes; the computer needs four of them, or 40 seconds with [finished runs](../docs/teaching.md).
# If you have not run lessons 1 and 2 on this machine, short runs replace them.

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
from speaker_lib.course import ablation_time, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## Side by side
#
# A run is a folder: settings, a line per validation, the best weights. The runs of lessons 1 and 2 are opened again.

# %%
from speaker_lib.experiments import classical_baselines, comparison_table

baseline, tuned = lesson.trained("baseline"), lesson.trained("tuned")
classical = classical_baselines(lesson.corpus, baseline.preset.train)  # without a network: lesson 1
print(comparison_table([baseline, tuned], classical))

# %%
from speaker_lib.plots import comparison_figure, save_figure

figure = comparison_figure([baseline, tuned])
save_figure(figure, lesson.runs / "comparison.png")
show(figure)

# %% [markdown]
# **What to see:** how early each curve leaves the level of guessing, how far apart they end, and whether the lower one is
# still rising. (Both flatten as the learning rate goes to 0: longer training may still help. The report's 0.4834 and 0.7599
# are for 600 people and 70,000 steps, usually another task.)
#
# ## One change at a time
#
# Between the two models lie four changes. **Which one did it? And is that even a good question?** If a wide model helps only
# once the Sigmoid is gone, then neither did it alone. So we go from the baseline to the tuned model in more than one way.
# Such a study is an **ablation**:
#
# - each change **alone**, from the baseline;
# - all four added up **in the report's order**;
# - all four added up **in the reverse order**.
#
# That is ten models, because some lie on more than one path:

# %%
from speaker_lib.experiments import changes_between, variants_of

changes = changes_between(lesson.profile.baseline, lesson.profile.tuned)
for variant in variants_of(changes, sessions=False):
    print(" + ".join(change.label for change in variant.changes) or "the baseline")

# %% [markdown]
# (The layers come with pre-norm, without which six layers do not train at full size.) Every model is trained several times
# from different **seeds**: other initial weights, another order of the utterances, other segments, but the same utterances
# held out. If the data name their recordings, the first and the last model are also trained with whole recordings held out.
# With so many runs each is short, and a laptop uses only part of the data:

# %%
print(ablation_time(lesson))

# %%
from speaker_lib.experiments import run_ablation

profile = lesson.profile
corpus = lesson.ablation_corpus()
ablation = run_ablation(
    profile.baseline, profile.tuned, profile.ablation, corpus, lesson.runs / "ablation"
)

# %% [markdown]
# ## What came out
#
# ± SD is over the seeds; the split *session* holds out whole recordings.

# %%
from speaker_lib.experiments import ablation_table

print(ablation_table(ablation, classical_baselines(corpus, profile.ablation.train)))

# %%
from speaker_lib.plots import ablation_figure

figure = ablation_figure(ablation)
save_figure(figure, lesson.runs / "ablation.png")
show(figure)

# %% [markdown]
# **What to see:** a bar goes from the mean before a change to the mean after it: at the top from the baseline, in the other
# two panels from the row *above*. A change has the same colour in all three. If it gains more late in a path than alone, the
# others help it; if it gains less, another one already does part of the same. Each dot is a seed, and a thin line joins the
# runs of one seed.
#
# ## Is it more than chance?
#
# Runs with the same seed get the same utterances in the same order, so we compare two models *seed by seed*. The mean of
# these differences has a standard error (SE): the standard deviation of the differences, divided by the square root of
# their number. A **paired t-test** divides the mean by it; the result is *t*. The *p-value* is how often chance alone,
# without any difference, would give a *t* at least that far from 0. Below 5 % we call the difference *significant*; with
# three seeds that takes $|t| > 4.3$.
#
# **Exercise.** Write *t* for two models.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def paired_t(before, after):
    """t of the gain from accuracies `before` (seeds,) to `after` (seeds,), NumPy arrays; same place, same seed."""
    # solution: the differences seed by seed, their mean, and the standard error of that mean.
    differences = after - before  # (seeds,)
    return differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5)
    # end of solution


check.paired_t(paired_t)

# %% [markdown]
# **If you make five comparisons, how often does chance alone make at least one of them significant?** In up to a quarter of
# all cases. So comparisons stated together are corrected together (*Holm's correction*): the smallest of five p-values must
# be below 5 % / 5, the next below 5 % / 4, and so on. Here there are five: the four changes alone, and whether they add up.
# With three seeds the first then needs $|t| > 9.9$: a gain with *t* = 5 would be significant alone, but not among five. *Not
# significant* does not mean that a change does nothing, only that this many seeds cannot show it.
#
# **Do the changes simply add up?** If each worked independently of the others, all four together would gain the sum of the
# four gains of one change alone.
#
# **Exercise.** Write how much more all together gain than that sum.

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def surplus(baseline, alone, together):
    """From accuracies (seeds,), (changes, seeds) and (seeds,): the gain beyond the sum of single gains, (seeds,)."""
    # solution: the gain of all together, and the gain of each alone; both are gains over the baseline.
    single_gains = alone - baseline  # (changes, seeds)
    return (together - baseline) - single_gains.sum(axis=0)  # (seeds,)
    # end of solution


check.surplus(surplus)

# %%
from speaker_lib.experiments import ablation_conclusions, guess_and_outcome

print(guess_and_outcome(ablation, lesson.guessed("Which of the four helps most?")))
ablation_conclusions(ablation)

# %% [markdown]
# These sentences come from the runs above. With three seeds, much may stay open. On 60 recorded people (600 steps, 3 seeds;
# [docs/accuracy.md](../docs/accuracy.md)) it is clearer: all four changes gain +0.516 (SE 0.025), ReLU alone +0.363 (SE
# 0.016), the width alone +0.213 (SE 0.011). On HW4 itself two editions of the assignment's sample code differ only in the
# activation: Sigmoid reaches 0.4834, ReLU 0.6859. So ReLU seems to do most of it, and the width comes next. Six layers may
# have had no part in the report's 0.7599, because it most likely ran one (lesson 2).
#
# ## How much is only the way of measuring?
#
# The report counts random segments (*crop*). The same weights usually do better on whole utterances (*full*). And in both, a
# held-out utterance may come from a recording that is in the training data too, with the same room and microphone. **What
# will happen when whole recordings are held out?**

# %%
from speaker_lib.plots import measuring_figure

show(measuring_figure(ablation))

# %% [markdown]
# **What to see:** the first two pairs are the same weights, the third is the same settings trained without the held-out
# recordings. (HW4's data do not name recordings: there is no third.) All are right, but they answer different questions.
# Compare only numbers measured in the same way.

# %%
from speaker_lib.experiments import measuring

measuring(ablation)

# %% [markdown]
# ## Where does a network begin to pay?
#
# In the tables above LDA needs only seconds, and may be ahead. Is the Transformer the wrong tool, or did it lack time or
# data? The next figures were measured before, on 120 people reading aloud. `laptop_…` are this course's models for a laptop
# (`laptop_best` and `laptop_strong` have improvements of lesson 4), `baseline_relu` is the baseline with ReLU. **When do
# you expect the networks to pass LDA?**

# %%
from speaker_lib.experiments import people_results
from speaker_lib.plots import amount_figure, time_figure

show(time_figure(*people_results("time")))

# %%
show(amount_figure(*people_results("amount")))

# %% [markdown]
# **What to see:** each thin line is a seed. In the first figure the grey points are LDA; at first every network is behind.
# `laptop_best` passes it within a minute and a half, `laptop_strong` between one minute and four (the lines only join
# separate trainings), `baseline_relu` comes level after four, and `baseline` with its Sigmoid is still behind.
# `laptop_tuned`, with all four changes, is behind `baseline_relu` even with more time: one of its steps takes five times as
# long. So here a network pays off, but only after a minute or more, and with lesson 4's improvements.
#
# In the second figure the number of steps is fixed and the data grow. From ten utterances per speaker on, LDA with all
# statistics and `laptop_best` stay close. With five, `laptop_best` is ahead, but only 60 utterances were held out there. More
# speakers are more names to choose from, so on the right all fall. Each of these people reads in a single session. On HW4,
# with 600 speakers and many recordings of each, LDA was not measured.

# %% [markdown]
# ## What we saw

# %%
from IPython.display import display

plan, said = profile.ablation, ablation_conclusions(ablation)
print(f"{len(ablation.results)} models, seeds {plan.seeds}, {plan.train.total_steps:,} steps each.")
display(said[:1], said[1:][-2:])

# %% [markdown]
# ## Quiz

# %%
quiz(3)

# %% [markdown]
# **Recap.** Two accuracies say that something helped; only an ablation says what. How much each change seems to be worth can
# depend on the order, so go both ways. Compare seed by seed, and correct for the number of comparisons. Say with each number
# how it was measured. And these are conclusions about *these* data: what holds for simulated voices and small models need not
# hold for people and large ones.
#
# **To try.** Add a fifth change, the width of the small network inside each layer:
# `steps = (*STEPS, ("model.dim_feedforward",))` with `STEPS` from `speaker_lib.experiments`,
# `tuned = profile.tuned.override({"model.dim_feedforward": 512})`, and then
# `run_ablation(profile.baseline, tuned, profile.ablation, corpus, lesson.runs / "ablation", steps=steps)`, which trains only
# what is missing. Does the conclusion stay the same?
#
# **Next.** [Lesson 4](04_beyond.ipynb) looks for further improvements.
