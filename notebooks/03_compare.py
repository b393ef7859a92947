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
# The report changes four things at once, and the accuracy goes up. That tells us that *something* among the four helps. This lesson
# compares the two models, and then takes the question apart by running every step on the way from one to the other, several times.
#
# **After this lesson you can**
# - compare two models by their runs, not by the one number that you remember;
# - plan an ablation: one change at a time, in order and in reverse, over several seeds;
# - tell a difference from chance, with a paired t-test over seeds, also where several comparisons are made at once;
# - say how much of a difference is only the way of measuring.
#
# **學習目標**
# - 用訓練紀錄比較兩個模型，而不是只憑記憶中的一個數字；
# - 設計消融實驗（ablation）：一次只改一項、依序累加、再反向累加，並使用多個隨機種子；
# - 分辨哪些差異是真的，哪些只是碰巧；
# - 說明差異有多少只是來自衡量方式。
#
# You need: lessons 1 and 2. Where you have not run them on this machine, short runs take their place.

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

DATA = "what is here, else simulated voices"  # @param ["what is here, else simulated voices", "download HW4"]
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## Side by side
#
# A run is a folder: settings, a line per validation, the best weights. So what lessons 1 and 2 trained is still there.

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
# **What to see:** how early each curve leaves the floor, how far apart they end, and whether the lower one is still rising. The report published
# 0.4834 and 0.7599, for 600 real speakers and 70,000 steps: another task unless you run the `full` profile on HW4 (then its curves are
# drawn, too, in grey), so only the *order* of the two can be compared.
#
# ## One change at a time
#
# Between the two lie four changes. **Which one did it? And is that even a good question?** If a wide model helps only once the Sigmoid is
# gone, then neither did it alone. So we walk from the baseline to the tuned model in more than one way; such a study is an **ablation**:
#
# - each change **alone**, from the baseline;
# - all four added up **in the report's order**;
# - all four added up **in the reverse order**.
#
# Together that is ten models, because some stand on several of the ways:

# %%
from speaker_lib.experiments import changes_between, variants_of

changes = changes_between(lesson.profile.baseline, lesson.profile.tuned)
for variant in variants_of(changes, sessions=False):
    print(" + ".join(change.label for change in variant.changes) or "the baseline")

# %% [markdown]
# The layers come with pre-norm, because at full size six layers do not train without it; pre-norm by itself is not tested here. Every model
# is trained several times from other **seeds**: other first weights, another order, other segments, but the same utterances held out. How far apart they end is the
# yardstick: a difference between two models that is no larger than that may be chance.
#
# Both ends are also trained with whole recordings held out (`session` in the table below; the last section needs them). That makes many
# runs, so each is short and, unless this is the `full` profile, on a part of the data:

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
# ± SD is the standard deviation over the seeds. (With fewer speakers the last layer is smaller, so the baseline has fewer
# parameters here than in lesson 1.)

# %%
from speaker_lib.experiments import ablation_table

print(ablation_table(ablation, classical_baselines(corpus, profile.ablation.train)))

# %%
from speaker_lib.plots import ablation_figure

figure = ablation_figure(ablation)
save_figure(figure, lesson.runs / "ablation.png")
show(figure)

# %% [markdown]
# **What to see:** a bar reaches from the mean before a change to the mean after it: at the top from the baseline, in the other two panels from
# the row *above*. A colour is the same change in all three. Where the same colour makes a large step in one panel and a small one in another,
# the change needs company, or is done by another one too. Each dot is a seed; a thin line joins the runs of one seed, because runs of one seed
# get the same utterances in the same order, and are compared with each other. On the right: the seconds that each model trained.
#
# ## What the runs say
#
# The next sentences are computed from the runs above; with other data or another profile they say something else. SE is the
# standard error of a mean difference. Two models are compared seed by seed, with a **paired t-test**: with three seeds a single
# difference is *significant at 5 %* if its mean is more than 4.3 times its standard error, and chance alone does that in one of twenty cases.
# That multiple is called *t*; the standard error is the standard deviation of the differences, divided by the square root of their number.
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
# **But how often does chance do it at least once, if you make five comparisons?** In up to a quarter of all cases. So the comparisons that are
# stated together are corrected together (*Holm's correction*): the smallest of five p-values must be below 5 % / 5, the next below
# 5 % / 4, and so on. *Not significant* does not mean that a change does nothing, only that this many seeds cannot show it. Three seeds
# show what stands out; they do not rank what lies close together.
#
# One more thing is computed below: do the changes simply add up? If each does something of its own, all four together gain as much as the
# four gains of one change alone.
#
# **Exercise.** Write what all together gain beyond that sum.

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
# On simulated voices three seeds may leave it open. On 60 recorded people (600 steps, 3
# seeds; [docs/accuracy.md](../docs/accuracy.md)) it is clearer: all four changes gain +0.516 (SE 0.025), and the word in the head alone +0.363 (SE 0.016).
#
# ## How much is only the way of measuring?
#
# The report counts random segments (*crop*). The same weights do better on whole utterances (*full*). And both count utterances from the
# recordings that are in the training data, too, with the same room and microphone. **What will happen when whole recordings are held out?** For that
# the models are trained anew, without those recordings, so they also have somewhat less to learn from.

# %%
from speaker_lib.plots import measuring_figure

show(measuring_figure(ablation))

# %% [markdown]
# **What to see:** the first two pairs are the same weights; whole utterances score higher than segments. The third pair is the same
# settings, trained without the recordings that they are evaluated on. All three are right, but they answer different questions: compare
# numbers only if they were measured in the same way.

# %%
from speaker_lib.experiments import measuring

measuring(ablation)

# %% [markdown]
# ## Where does a network begin to pay?
#
# In the tables above a baseline without a network needs seconds, and may well be ahead. Is the Transformer the wrong tool, or did it have too
# little time or too little data? To find out takes more people and more time than this page has, so the next two figures show results that
# were measured before, on 120 people reading aloud. **Where do you expect the lines to cross?**

# %%
from speaker_lib.experiments import people_results
from speaker_lib.plots import amount_figure, time_figure

show(time_figure(*people_results("time")))

# %%
show(amount_figure(*people_results("amount")))

# %% [markdown]
# **What to see:** each thick line is the mean over seeds, each thin line one seed. In the first figure the grey points are LDA, trained in
# seconds. At first every network is behind it. `laptop_best` passes it within a minute and a half, `laptop_strong` within four minutes,
# `baseline_relu` comes level after four, and the Sigmoid of `baseline` is still behind. `laptop_tuned` has all four changes of the report, and
# even in somewhat more time it is behind the small baseline with ReLU: a step of it takes five times as long. So *compared with what?* also
# means: in how much time?
#
# In the second figure the steps are fixed and the data grow. LDA with all statistics and `laptop_best` stay close together; only with five
# utterances of each speaker is the network far ahead, and there only 60 utterances are held out. These people read aloud in one session each, and
# a statistic of the whole utterance says much about them. On HW4, with 600 speakers and many sessions of each, LDA was not measured.

# %% [markdown]
# ## What we saw

# %%
from IPython.display import display

plan, said = profile.ablation, ablation_conclusions(ablation)
print(f"{len(ablation.results)} models, seeds {plan.seeds}, {plan.train.total_steps:,} steps each.")
display(said[:1], said[1:][-2:])

# %% [markdown]
# ## Quiz
#
# Five questions. Choose an answer, and read why it is right or wrong.

# %%
quiz(3)

# %% [markdown]
# **Recap.** Two numbers say that something helped; only an ablation says what. The order in which changes are added decides how much each
# seems to be worth, so walk both ways. Seeds are the yardstick. The way of measuring belongs to the number. And these are conclusions
# about *these* data: simulated voices are not people, and what holds for small models need not hold for large ones.
#
# **重點回顧。** 兩個數字只能說明「有東西起了作用」；要知道是哪一項，得靠消融實驗。加入改動的順序不同，每一項看起來的功勞也不同，所以正反兩個方向都要走一遍。
# 不同種子之間的落差，就是判斷差異的尺。看數字時，要連同衡量方式一起看。最後，這些結論只適用於這份資料：模擬的聲音不是真人，小模型的結論也未必適用於大模型。
#
# **To try:** run this lesson on your own recordings (`python -m speaker_lib prepare`, then `SPEAKER_DATA`). Or add a fifth change,
# the width of the small network inside each layer. A step is a tuple of settings that change together, so `steps = (*STEPS, ("model.dim_feedforward",))`
# with `STEPS` from `speaker_lib.experiments`, and `tuned = profile.tuned.override({"model.dim_feedforward": 512})`. Then
# `run_ablation(profile.baseline, tuned, profile.ablation, corpus, lesson.runs / "ablation", steps=steps)` trains only the runs that are not
# there yet. Does the answer stay the same?
#
# **Next:** the report ends with the wish to find other ways to improve the model. [Lesson 4](04_beyond.ipynb) goes some of them.
