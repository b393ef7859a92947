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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/03_compare.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/03_compare.ipynb)

# %% [markdown]
# # 3 · 四項改動，是哪一項的功勞？
#
# 報告改了四個地方，準確率（accuracy）提高了。可見四項之中，至少有一項起了作用。這一課先比較兩個模型，再把從一個走到另一個的每一步都訓練出來，而且各訓練好幾次。
#
# **學習目標** 上完這一課，你能設計消融實驗（ablation）：一次只改一項，正反兩個順序都走，並使用多個種子（seed）；用配對 t 檢定（paired t-test）分辨差異與巧合，同時做好幾個比較時也行；說出差異有多少只是衡量方式造成的。
#
# 準備 40 分鐘；其中電腦要算四分鐘，用[現成的訓練結果（finished runs）](../../docs/zh-TW/teaching.md)則只要 40 秒。如果第 1、2 課沒有在這台電腦上執行過，會用簡短的訓練代替。

# %% tags=["bootstrap"]
# 在 Colab 與 Kaggle 上，這裡會下載課程。已經安裝 speaker_lib 的地方，什麼都不做。
import importlib.util, os, subprocess, sys

os.environ.setdefault("SPEAKER_LANGUAGE", "zh-TW")

ADDRESS = "https://github.com/OWNER/speaker-course"
COURSE, RELEASE = "speaker-course", "v0.1.0"
if importlib.util.find_spec("speaker_lib") is None:
    assert not os.path.exists("../../speaker_lib"), "請在課程的資料夾裡用 `make lab` 開啟這個筆記本"
    if not os.path.exists(COURSE):
        source = os.environ.get("SPEAKER_REPOSITORY", ADDRESS)
        clone = f"git -c advice.detachedHead=false clone --quiet --depth=1 --branch={RELEASE}"
        failed = subprocess.run([*clone.split(), source, COURSE]).returncode
        assert not failed, f"無法從 {source} 下載 {RELEASE}；在 Kaggle 上，請打開 Internet"
    subprocess.run([sys.executable, f"{COURSE}/tools/install_missing.py"], check=True)
    sys.path.insert(0, os.path.abspath(COURSE))

# %% [markdown]
# ## 開始之前
#
# 與第 1 課相同。

# %%
from speaker_lib.course import ablation_time, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## 兩個模型並排看
#
# 一次訓練就是一個資料夾：裡面有設定、每次驗證（validation）的一行紀錄，以及最好的權重（weight）。這裡再次打開第 1、2 課的訓練結果。

# %%
from speaker_lib.experiments import classical_baselines, comparison_table

baseline, tuned = lesson.trained("baseline"), lesson.trained("tuned")
classical = classical_baselines(lesson.corpus, baseline.preset.train)  # 不用神經網路：第 1 課
print(comparison_table([baseline, tuned], classical))

# %%
from speaker_lib.plots import comparison_figure, save_figure

figure = comparison_figure([baseline, tuned])
save_figure(figure, lesson.runs / "comparison.png")
show(figure)

# %% [markdown]
# **觀察重點**：每條曲線多早離開亂猜（guessing）的水準、最後相差多少，以及低的那條是不是還在上升。兩條曲線都會隨著學習率（learning rate）降到 0 而變平：訓練久一點，也許還會更好。報告的 0.4834 與 0.7599 是 600 人、70,000 步的結果：通常是另一個任務。
#
# ## 一次只改一項
#
# 兩個模型之間有四項改動。**是哪一項的功勞？這個問題本身問得好嗎？** 如果要先拿掉 Sigmoid，加寬才有用，那就不是其中任何一項單獨的功勞。所以從基準模型（baseline）到調校後的模型，我們不只走一條路。這樣的研究叫做**消融實驗**：
#
# - 從基準模型出發，每項改動**單獨**做；
# - 四項改動**照報告的順序**一項一項加上去；
# - 四項改動**照相反的順序**一項一項加上去。
#
# 這樣一共是十個模型，因為有幾個不只在一條路上：

# %%
from speaker_lib.experiments import changes_between, variants_of

changes = changes_between(lesson.profile.baseline, lesson.profile.tuned)
for variant in variants_of(changes, sessions=False):
    print(" + ".join(change.label for change in variant.changes) or "基準模型")

# %% [markdown]
# （增加層數時一併改用 pre-norm，否則以完整尺寸來說，六層訓練不起來。）每個模型都用不同的**種子**訓練好幾次：初始權重不同、語句（utterance）的順序不同、切出的片段（segment）也不同，但保留（held out）起來不用於訓練的語句相同。如果資料註明了每段語句出自哪次錄音，第一個與最後一個模型還會另外訓練，改成保留整次的錄音。訓練的次數很多，所以每次都很短；在筆電上，也只用一部分資料：

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
# ## 結果如何
#
# ± SD 是各個種子之間的標準差（standard deviation，SD）；切分是 *session* 的，保留的是整次的錄音。

# %%
from speaker_lib.experiments import ablation_table

print(ablation_table(ablation, classical_baselines(corpus, profile.ablation.train)))

# %%
from speaker_lib.plots import ablation_figure

figure = ablation_figure(ablation)
save_figure(figure, lesson.runs / "ablation.png")
show(figure)

# %% [markdown]
# **觀察重點**：每根長條從改動前的平均畫到改動後的平均：最上面那一格從基準模型畫起，另外兩格從上一個橫列畫起。同一項改動在三格裡顏色相同。如果一項改動排在後面才加上時，進步得比單獨做時多，就是其他改動幫了它；如果進步得少，就是別的改動已經做了一部分相同的事。每個點是一個種子，細線把同一個種子的訓練結果連起來。
#
# ## 會不會只是巧合？
#
# 種子相同的訓練，拿到的語句相同，順序也相同，所以比較兩個模型時，我們「一個種子對一個種子」地比。這些差異的平均有一個標準誤（standard error，SE）：差異的標準差，除以差異個數的平方根。**配對 t 檢定**把平均除以標準誤，結果就是 *t*。「p 值」（p-value）說的是：如果兩個模型其實沒有差異，光靠巧合，*t* 離 0 至少這麼遠的機率有多大。低於 5%，也就是二十次裡不到一次，我們就說差異「顯著」（significant）；有三個種子時，要 $|t| > 4.3$ 才算。
#
# **練習**：寫一個函式，計算兩個模型之間的 *t*。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def paired_t(before, after):
    """準確率從 `before` (seeds,) 進步到 `after` (seeds,) 的 t；都是 NumPy 陣列，同一位置是同一個種子。"""
    # solution: 一個種子對一個種子的差異、差異的平均，以及這個平均的標準誤。
    differences = after - before  # (seeds,)
    return differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5)
    # end of solution


check.paired_t(paired_t)

# %% [markdown]
# **如果做五個比較，光靠巧合，至少有一個顯著的機會有多大？** 最多四分之一。所以一起報告的比較，要一起校正（Holm 校正，Holm's correction）：五個 p 值裡最小的要低於 5% / 5，下一個要低於 5% / 4，依此類推。這裡有五個：四項改動各自單獨做，再加上「進步能不能直接相加」。有三個種子時，第一個就需要 $|t| > 9.9$：*t* = 5 的進步，單獨看是顯著的，放在五個比較裡就不顯著了。「不顯著」不代表改動沒有作用，只代表用這麼幾個種子看不出來。
#
# **各項改動的進步，可以直接相加嗎？** 如果每一項都不靠其他項、各自起作用，那麼四項一起做的進步，就等於四項單獨做的進步加起來。
#
# **練習**：寫一個函式，計算全部一起做的進步，比這個總和多出多少。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def surplus(baseline, alone, together):
    """由準確率 (seeds,)、(changes, seeds) 與 (seeds,)，算出比單獨進步的總和多出多少 (seeds,)。"""
    # solution: 全部一起做的進步，與每一項單獨做的進步；兩者都是與基準模型相比。
    single_gains = alone - baseline  # (changes, seeds)
    return (together - baseline) - single_gains.sum(axis=0)  # (seeds,)
    # end of solution


check.surplus(surplus)

# %%
from speaker_lib.experiments import ablation_conclusions, guess_and_outcome

print(guess_and_outcome(ablation, lesson.guessed("四項改動中，哪一項最有幫助？")))
ablation_conclusions(ablation)

# %% [markdown]
# 這些句子是從上面的訓練結果算出來的。只有三個種子，可能還有許多問題沒有答案。用 60 位真人的錄音（600 步，3 個種子；[docs/accuracy.md](../../docs/accuracy.md)，英文），答案就更清楚：四項改動全用上，進步 +0.516（SE 0.025）；單獨改用 ReLU，+0.363（SE 0.016）；單獨加寬，+0.213（SE 0.011）。至於 HW4 本身，作業的兩個版本的範例程式只差激勵函數：用 Sigmoid 達到 0.4834，用 ReLU 達到 0.6859。所以大部分看來是 ReLU 的功勞，其次是加寬。六層和報告的 0.7599 可能根本無關，因為當時很可能只執行了一層（第 2 課）。
#
# ## 有多少只是衡量方式造成的？
#
# 報告算的是隨機片段（*crop*）。同樣的權重，用完整語句（*full*）來量，通常比較好。而且不論哪一種，保留的語句都可能出自訓練資料（training data）裡也有的錄音，房間與麥克風都相同。**如果保留的是整次的錄音，會怎麼樣？** 

# %%
from speaker_lib.plots import measuring_figure

show(measuring_figure(ablation))

# %% [markdown]
# **觀察重點**：前兩組是同樣的權重，第三組是同樣的設定，但訓練時沒有用到保留的錄音。（HW4 的資料沒有註明錄音，所以沒有第三組。）這些數字都對，只是回答的問題不同。衡量方式相同的數字，才能拿來比較。

# %%
from speaker_lib.experiments import measuring

measuring(ablation)

# %% [markdown]
# ## 神經網路從哪裡開始划算？
#
# 在上面的表裡，線性判別分析（linear discriminant analysis，LDA）只要幾秒，而且可能領先。是不該用 Transformer，還是給它的時間或資料太少？接下來兩張圖是先前測量的結果，用的是 120 個人的朗讀。`laptop_…` 是本課程給筆電用的模型（`laptop_best` 與 `laptop_strong` 含有第 4 課的改進），`baseline_relu` 是改用 ReLU 的基準模型。**你認為神經網路什麼時候會超過 LDA？**

# %%
from speaker_lib.experiments import people_results
from speaker_lib.plots import amount_figure, time_figure

show(time_figure(*people_results("time")))

# %%
show(amount_figure(*people_results("amount")))

# %% [markdown]
# **觀察重點**：每條細線是一個種子。第一張圖裡，灰點是 LDA；一開始，每個神經網路都落後。`laptop_best` 在一分半鐘之內超過它，`laptop_strong` 在一到四分鐘之間超過（每一點都是一次單獨的訓練，線只是把點連起來）；`baseline_relu` 四分鐘後追平，用 Sigmoid 的 `baseline` 則仍然落後。`laptop_tuned` 有報告的四項改動。它就算用了更多時間，還是落後 `baseline_relu`，因為它每訓練一步要花五倍的時間。所以在這裡，神經網路划得來，但要訓練一分鐘以上，還要有第 4 課的改進。
#
# 第二張圖裡，步數固定，資料越來越多。每人有十段語句以上時，用了全部統計量的 LDA 與 `laptop_best` 一直很接近。每人五段時，`laptop_best` 領先，但那裡只保留了 60 段語句。語者（speaker）越多，可選的名字就越多，所以右圖的線全都下降。這些人每一位都只有一次錄音（session）。HW4 有 600 位語者，每位都有許多錄音，但 LDA 沒有在上面測過。

# %% [markdown]
# ## 這一課看到了什麼

# %%
from IPython.display import display

plan, said = profile.ablation, ablation_conclusions(ablation)
print(f"{len(ablation.results)} 組模型與切分，種子 {plan.seeds}，各訓練 {plan.train.total_steps:,} 步。")
display(said[:1], said[1:][-2:])

# %% [markdown]
# ## 小測驗

# %%
quiz(3)

# %% [markdown]
# **重點回顧**：兩個準確率只能說明有改動起了作用；要知道是哪一項，得靠消融實驗。加入改動的順序不同，每一項看起來的功勞可能就不同，所以正反兩個方向都要走一遍。比較時一個種子對一個種子，並且依比較的次數校正。每個數字都要連同衡量方式一起說。最後，這些結論只適用於這份資料：模擬的聲音與小模型的結論，未必適用於真人與大模型。
#
# **動手試試**：加入第五項改動，也就是每一層裡那個小網路的寬度：`steps = (*STEPS, ("model.dim_feedforward",))`，其中 `STEPS` 來自 `speaker_lib.experiments`；`tuned = profile.tuned.override({"model.dim_feedforward": 512})`；然後執行 `run_ablation(profile.baseline, tuned, profile.ablation, corpus, lesson.runs / "ablation", steps=steps)`，它只訓練還缺的部分。結論還是一樣嗎？
#
# **下一課**：[第 4 課](04_beyond.ipynb)尋找更多改進。
