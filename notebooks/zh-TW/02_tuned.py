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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/02_tuned.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/02_tuned.ipynb)

# %% [markdown]
# # 2 · 四項改動與兩個發現
#
# 報告在[第 1 課](01_baseline.ipynb)的基準模型（baseline）上改了四處，準確率（accuracy）從 0.4834 升到 0.7599。這一課在做任何長時間的訓練之前，先逐一看過每項改動；然後找出兩件報告沒有提到的事。
#
# **學習目標** 上完這一課，你能說明寬度、注意力頭（attention head）、層數（layers）與激勵函數（activation）各有什麼代價與作用；測量 Sigmoid 讓多少梯度（gradient）通過；抓出宣告了卻從未被呼叫的層；認出訓練崩潰（collapse）的深層 Transformer。
#
# 準備 40 分鐘；其中電腦要算四分鐘，用[現成的訓練結果](../../docs/zh-TW/teaching.md)則只要 90 秒。

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
# 與第 1 課相同。請選用和那時一樣的資料。

# %%
from speaker_lib.course import LivePlot, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## 四項改動
#
# 把報告的兩個模型以完整尺寸擺在一起，逐項比較設定：

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import PRESETS

baseline, tuned = PRESETS["baseline"], PRESETS["tuned"]
for setting, (before, after) in baseline.differences(tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")

# %% [markdown]
# 畫成第 1 課的那張圖：

# %%
from speaker_lib.plots import architecture_figure

show(architecture_figure(tuned, changed_from=baseline))

# %% [markdown]
# 這五項之中，四項是報告的。第五項 `norm` 是我們加的；發現 2 會說明為什麼。**如果只能改一項，你會選哪一項？** 你的猜測會保存下來，第 3 課會再拿出來看。

# %%
lesson.guess("四項改動中，哪一項最有幫助？", ["d_model", "nhead", "num_layers", "activation"])

# %% [markdown]
# ## 改動 1：`d_model`，從 80 到 512
#
# 這是模型內部用多少個數字來描述一個音框（frame）。數字越多，就越有餘裕分辨更多的聲音。`d_model` 每加倍一次，`d_model` × `d_model` 的矩陣就變成四倍大。**那整個模型呢？**（一個 GFLOP 是十億次乘法或加法；一步（step）處理 32 個片段（segment），包括前向與反向。）

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
# **觀察重點**：寬度變成 6.4 倍，參數（parameter）就變成約 15 倍，計算量變成 16 倍。這比 $6.4^2 = 41$ 倍少，因為只有方陣才長得那麼快。
#
# ## 改動 2：`nhead`，從 2 到 16
#
# 每個注意力頭只處理每個音框裡屬於自己的 `d_model / nhead` 個數字，所以頭越多，視角就越多，但每個視角也越窄。所有的頭合起來，用三個矩陣計算查詢（query）、鍵（key）與值（value），每個矩陣都從 `d_model` 個數字算出 `d_model` 個數字。第四個矩陣 `out_proj` 把各個頭的結果混合起來。每個矩陣都有偏置（bias）。
#
# **練習**：算一算，有 `nhead` 個頭的注意力有多少參數。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def attention_parameters(d_model, nhead):
    """有 nhead 個頭的自注意力，一共有多少參數，包括偏置。"""
    # solution: 四個矩陣，各有一個偏置。頭的數目到哪裡去了？
    return 4 * (d_model * d_model + d_model)
    # end of solution


check.attention_parameters(attention_parameters)

# %% [markdown]
# 頭變多，參數並不會增加：同樣的數字，只是分組不同。（時間倒是會增加，因為每個頭都有自己的一張「音框 × 音框」的圖。）下面拿一個保留的片段（held out，不用於訓練），畫出第 1 課基準模型的注意力圖。每個橫列是一個發問的音框（查詢），每個直行是一個被看的音框（鍵）。

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
# **觀察重點**：看得到直條紋。幾乎每個音框都看著同樣的那幾個音框。模型不知道順序，所以重要的是音框的聲音，而不是它的位置。
#
# ## 改動 3：層數，從 1 到 6
#
# 同一種層連續疊六層（權重各自不同），每一層處理前一層的輸出。

# %% tags=["NBVAL_CHECK_OUTPUT"]
many_heads = replace(baseline.model, d_model=512, nhead=16)
depths = {
    f"{n} layer{'s' * (n > 1)}, 512 wide": replace(many_heads, num_layers=n) for n in (1, 2, 4, 6)
}
print(cost_table(depths))

# %%
show(cost_figure(depths))

# %% [markdown]
# **觀察重點**：每多一層，就再加上同樣的一份：130 萬個參數與 35 GFLOP。六個寬層的計算量，是基準模型（2.2 GFLOP）的 97 倍。**你認為這兩個模型訓練起來會一樣快嗎？**
#
# ## 改動 4：從 Sigmoid 到 ReLU
#
# 輸出層（output head）裡只改一個字，不花任何成本。（ReLU 把負數變成 0，其他數字不變。）報告說 Sigmoid 會飽和（saturate）：絕對值大的輸入會被壓到幾乎是 0 或 1，那裡的斜率（slope）趨近於零，梯度也跟著消失。**在這個模型裡，真的會這樣嗎？**
#
# **練習**：寫出 Sigmoid（$y = 1 / (1 + e^{-x})$）的斜率。它在最陡的地方有多陡？

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import torch

from speaker_lib.course import check


def sigmoid_slope(x):
    """torch.sigmoid 在 x 的每個數字上的導數，形狀與 x 相同。"""
    # solution: 1 / (1 + exp(-x)) 的導數。只用 y 就寫得出來。
    y = torch.sigmoid(x)
    return y * (1 - y)
    # end of solution


check.sigmoid_slope(sigmoid_slope)

# %% [markdown]
# 現在拿一個剛初始化的基準模型與一個真正的批次（batch），再拿同樣的權重（weight），只把 Sigmoid 換成 ReLU：

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
# **觀察重點**：輸入（左圖）都在 0 附近，那正是 Sigmoid 最陡的地方。沒有任何一個飽和。ReLU 擋掉大約一半的輸入，傳到最前面幾層的梯度，卻還是用 Sigmoid 時的三倍左右（右圖）。Sigmoid 的斜率最大只有 1/4，所以往前傳的差異與往回傳的梯度，都會縮到四分之一，甚至更小。**那麼，訓練之後呢？**

# %%
from speaker_lib.models import head_table

heads = {"fresh": signals, "trained": head_signals(trained_baseline.load_model(), mels, labels)}
print(head_table(heads))

# %% [markdown]
# （`relu` 的每個橫列，都是同樣的權重改用 ReLU。）「輸出的標準差」是激勵函數的輸出在不同語句（utterance）之間差多少。（梯度只能在同一組的兩個橫列之間比較：權重變大，所有的梯度都會變大。）在剛初始化的模型裡，Sigmoid 讓這個差異所剩無幾。訓練用更大的輸入來彌補，斜率要到這時才接近零。所以飽和是真的，但是訓練帶來的。Sigmoid 從第一步起，就在壓低訊號。
#
# ## 發現 1：從未執行的層
#
# 報告是這樣宣告六層的（見下面的儲存格）。報告只列出 `__init__`；這裡的 `forward` 來自作業的範例程式。**兩段都讀一讀。少了什麼？**

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
# 沒有錯誤，也沒有警告。不過，執行 `backward()` 之後，只有參與了答案計算的參數才有梯度。

# %% tags=["NBVAL_CHECK_OUTPUT"]
model(torch.randn(2, 128, 40)).sum().backward()
declared = sum(p.numel() for p in model.parameters())
learning = sum(p.numel() for p in model.parameters() if p.grad is not None)
print(f"宣告的參數 {declared:,}，真正在學的 {learning:,}")
print(
    "從未被呼叫",
    sorted({name.split(".")[0] for name, p in model.named_parameters() if p.grad is None}),
)

# %% [markdown]
# 宣告的參數有五分之四從未學習：`forward` 呼叫的是 `encoder_layer`，不是 `encoder`，而 `encoder` 裡裝的是它的六份「複製品」。
#
# 報告的訓練是不是也這樣？它的紀錄（log）裡寫了速度：兩個模型都是每秒 44 步。**這對兩個模型來說，各是多少計算量？Colab 常出借的 GPU 是 T4，它做得到嗎？**

# %%
from speaker_lib.plots import speed_figure

candidates = {
    "baseline": baseline.model,
    "tuned, 1 layer runs": depths["1 layer, 512 wide"],
    "tuned, 6 layers run": depths["6 layers, 512 wide"],
}
show(speed_figure(candidates, 44, peak=8.1e12, peak_name="the most a T4 can do in float32"))

# %% [markdown]
# 六層所需的計算量，超過 T4 在最理想情況下的能力。一層則是做得到的。一個寬層的計算量是基準模型的 16 倍，速度卻相同，表示兩個模型等的都不是計算，而是別的東西，例如資料。所以，如果報告用的 GPU 是以 float32 計算的 T4，或更慢的 GPU，它執行的就只有**一個**寬層。本課程為兩者各備有一個**預設集**（preset，一組有名字的設定）：`tuned` 六層全部執行，`seed_tuned_as_run` 只執行一層。
#
# ## 發現 2：六層崩潰
#
# 那就讓六層全部執行。一層有兩半（注意力與小網路），每一半是一個子層（sublayer），它的結果會加到自己的輸入上，這叫殘差連接（residual connection）。LayerNorm 把一個音框的向量縮放成平均 0、標準差（standard deviation）1。PyTorch 預設把它放在相加之後（post-norm）：`norm(x + sublayer(x))`。換成 pre-norm，子層拿到的是正規化後的輸入，結果則加到原封不動的輸入上。
#
# **練習**：寫出 pre-norm。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def residual(x, sublayer, norm):
    """pre-norm 層的一半：從 x (batch, frames, d_model) 到相同的形狀。"""
    # solution: 子層拿到的是什麼，它的結果又加到什麼上面。
    return x + sublayer(norm(x))
    # end of solution


check.residual(residual)

# %% [markdown]
# 這兩次訓練只差在 norm 的位置。以完整尺寸（寬 512）來說，其中一次會崩潰：用原本設定的學習率（learning rate）0.001，它什麼都學不到。較小的層（寬 128）承受得住這個學習率，所以縮小版的訓練改用 0.003。**哪一次訓練學得起來？**

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
        f"{deep.name}，學習率 {rate:g}：{last['step']:,} 步之後準確率 {accuracy:.3f}；亂猜是 {chance:.3f}"
    )

# %% [markdown]
# **觀察重點**：一次訓練學得起來，另一次的損失（loss）停在亂猜（guessing）的水準 $\ln n$。剛初始化的 post-norm 模型，最後幾層的梯度很大，所以最初的幾步太大。用 pre-norm 時，梯度比較小，而且層數越多就越小；殘差連接則帶著梯度越過每一個子層（[Xiong et al. 2020](https://arxiv.org/abs/2002.04745)）。以後看到損失停在 $\ln n$ 不動，就想想這張圖。
#
# ## 訓練調校後的模型
#
# 四項改動全用上，再加上 pre-norm，訓練方式與第 1 課的基準模型相同：

# %%
for setting, (before, after) in lesson.profile.baseline.differences(lesson.profile.tuned).items():
    print(f"{setting:<18} {before!s:>8} -> {after}")
run = lesson.run("tuned")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **觀察重點**：準確率是不是比第 1 課更早離開亂猜的水準？（第 3 課會把兩者畫在一起。）現在看 *crop* 與 *full*，用的是與第 1 課相同的保留語句：

# %%
from speaker_lib.evaluation import evaluate, evaluation_text

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))

# %% [markdown]
# 再看最後一層每個頭的注意力，用的是上面那個片段：

# %%
maps = attention_maps(run.load_model(), mel)  # (layers, heads, frames, frames)
show(attention_figure(maps[-1], mel, f"Attention of {run.name}, layer {len(maps)} of {len(maps)}"))

# %% [markdown]
# **觀察重點**：標題寫出了哪些頭最相像。注意力圖相同的頭，合起來就像一個較寬的頭，只是花更多時間。
#
# ## 這一課看到了什麼

# %%
reached = trained_baseline.evaluation()
print(f"資料：{corpus.title}；完整語句：")
print(
    f"  {trained_baseline.name:<16} {reached['n_parameters']:>10,} 個參數   full {reached['full']['accuracy']:.4f}"
)
print(
    f"  {run.name:<16} {evaluation.n_parameters:>10,} 個參數   full {evaluation.full.accuracy:.4f}"
)
print("報告（VoxCeleb2 的 600 位語者，隨機片段）：0.4834 與 0.7599。")

# %% [markdown]
# ## 小測驗

# %%
quiz(2)

# %% [markdown]
# **重點回顧**：加寬讓計算量變成 16 倍，增加層數再乘以 6；注意力頭不增加參數；輸出層換一個激勵函數，不花成本。Sigmoid 從第一步就壓低訊號，後來才飽和。沒有被呼叫的層不會學習，也沒有人會警告你：請數一數，有梯度的參數有多少。會讓六層 post-norm 崩潰的學習率，換成 pre-norm 就訓練得起來。
#
# **動手試試**：降低學習率，能救回 post-norm 嗎？用 `preset = lesson.profile.collapse.override({"train.learning_rate": 3e-4})`，再像第 1 課那樣用 `Run.create` 與 `train`，資料用 `lesson.ablation_corpus()`。
#
# **下一課**：[第 3 課](03_compare.ipynb)要問：四項改動，是哪一項的功勞？
