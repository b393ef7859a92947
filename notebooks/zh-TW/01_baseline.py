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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/01_baseline.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/01_baseline.ipynb)

# %% [markdown]
# # 1 · 誰在說話？基準模型
#
# 有人說了一句話。這是 600 人中的哪一位？一份學生報告（臺大「機器學習」課程的作業四，HW4）試了兩個 Transformer：小的那個答對 48%，調校後的那個答對 76%。這五堂課要問的，是報告沒有回答的問題：兩者之間有四項改動，是哪一項的功勞？
#
# **學習目標** 上完這一課，你能說明梅爾頻譜圖（mel-spectrogram）、音框（frame）與片段（segment）；自己寫出自注意力（self-attention）；逐層拆解基準模型（baseline）；訓練它，用兩種方式衡量它，並拿它與不用神經網路的方法比較。
#
# 你需要會一點 Python，並準備 50 分鐘；其中電腦要算兩分鐘，用[現成的訓練結果](../../docs/zh-TW/teaching.md)則只要 40 秒。

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
# 下一個儲存格會找資料。在 Colab 與 Kaggle 上，它會下載 40 個人的錄音（LibriSpeech，338 MB）。在其他地方，如果沒有資料，就由一個程式產生模擬的聲音（simulated voices），它們不是真人。`DATA` 可以改選其他資料，`KEEP` 決定檔案存在哪裡。

# %%
from speaker_lib.course import LivePlot, explore, preflight, quiz, show
from speaker_lib.plots import lengths_figure, utterance_figure, voices_figure

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)

# %% [markdown]
# ## 兩個聲音
#
# 這裡有兩位語者（speaker）。**先聽：你從哪裡聽得出，這是兩個聲音而不是一個？**

# %%
from IPython.display import Audio, display
from speaker_lib.sound import SAMPLE_RATE

voices = lesson.voices()  # 每位語者的名字與聲音
for name, waveform in voices:
    print(name)
    display(Audio(waveform, rate=SAMPLE_RATE))

# %% [markdown]
# 你也許注意到了**音高**（pitch）：聲帶每秒開合幾次。
#
# 一段錄音就是每秒 16,000 個數字，稱為波形（waveform）。**梅爾頻譜圖**顯示 40 個梅爾頻帶（mel band）各有多少能量：低頻的頻帶窄，高頻的頻帶寬，大致就像耳朵分辨頻率的方式。圖上每個直行是一個**音框**：25 毫秒的聲音，而且每 10 毫秒就開始一個新的音框。我們再取對數，得到對數梅爾（log-mel），因為人耳就是這樣感覺音量的。（圖裡的中文需要中文字型；沒有字型時，圖裡是英文，對照見[詞彙表](../../docs/glossary.md)。程式碼裡的英文標題，畫出來會換成中文。）

# %%
from speaker_lib.sound import log_mel, median_pitch

names, waveforms = zip(*voices, strict=True)
print(*(f"{name}：音高 {median_pitch(waveform):.0f} Hz" for name, waveform in voices), sep="\n")
voice_mels = [log_mel(waveform) for waveform in waveforms]
print("波形", waveforms[0].shape, "-> 對數梅爾", voice_mels[0].shape, "（音框數、梅爾頻帶數）")
show(voices_figure(waveforms, voice_mels, names))

# %% [markdown]
# **觀察重點**：上下移動的亮帶是共振峰（formant），也就是聲道（vocal tract）的共振。每發一個不同的音，共振峰就跟著改變；但平均起來，就是這位語者的特色。底部的細線（比較高的那個聲音最清楚）是音高的整數倍。
#
# 接下來，白框標出 128 個音框，也就是 1.28 秒。**移動滑桿：框內的平均，會不會有時看起來像另一位語者？**

# %%
mel, other = voice_mels
last = len(mel) - 128
explore(lambda start: utterance_figure(mel, start, other=other), "起始音框", most=last)

# %% [markdown]
# **觀察重點**：實線（白框）在自己這位語者的平均（虛線）附近移動。另一位的平均（點線）是不是比較遠？模型必須找出的，正是不會動的東西。
#
# ## 資料
#
# 一段**語句**（utterance）是一個人連續說的一段話；在 HW4 的格式裡，它是一個存放對數梅爾音框的檔案：

# %%
import json

import torch

corpus = lesson.corpus
metadata = json.loads((corpus.folder / "metadata.json").read_text(encoding="utf-8"))
name, entries = next(iter(metadata["speakers"].items()))
print(f"{len(metadata['speakers'])} 位語者；{name} 有 {len(entries)} 段語句，第一段是：")
print(entries[0])
path = corpus.folder / entries[0]["feature_path"]
if path.exists():  # 打包好的資料不需要這個檔案
    feature = torch.load(path, weights_only=True)
    print(
        f"它的特徵：{tuple(feature.shape)} {feature.dtype}，數值從 {feature.min():.1f} 到 {feature.max():.1f}"
    )

# %% [markdown]
# （`session` 是它出自哪一次錄音；HW4 的資料沒有這一項。）每段語句的長度不同：

# %%
segment_len = lesson.profile.baseline.train.segment_len
show(lengths_figure(corpus.labelled.lengths, segment_len, corpus.source))

# %% [markdown]
# **大多數語句都比圖上的直線長。為什麼要用短短的片段來訓練，每段只有 128 個音框？**
#
# - 一個批次（batch）就是一個張量：裡面每一份都必須一樣長。
# - 模型會拿每個音框與其他每個音框比較：長度變兩倍，比較的次數就變四倍。
# - 隨機切出的片段，每次都是新的例子：4.5 秒裡有三百多種切法。
#
# 我們隨機抽出十分之一的語句，保留起來不用於訓練（held out），這就是驗證集（validation set）。**訓練之前，一定要先看一個批次：**

# %%
from speaker_lib.data import get_dataloader, split_utterances

config = lesson.profile.baseline.train
training, validation = split_utterances(corpus.labelled, config)
train_loader, valid_loader, n_speakers = get_dataloader(corpus, config)
mels, lengths, labels = next(iter(train_loader))
print(f"這裡用 {len(training):,} 段語句訓練，保留 {len(validation):,} 段")
print(
    "一個批次", *(tuple(part.shape) for part in (mels, lengths, labels)), labels[:5].tolist(), "…"
)

# %% [markdown]
# 依序是 `(batch, frames, mel bands)`（批次、音框、梅爾頻帶）、每個片段的長度，以及標籤。
#
# ## 簡單的方法能做到多少？
#
# 一段語句對時間取平均，得到 40 個數字，就是它的平均頻譜（mean spectrum）。把每位語者的平均頻譜再取平均；新的語句離誰的平均最近，就判給誰。**這樣能答對多少？寫下你的猜測。**

# %%
utterances = corpus.labelled
means = [torch.from_numpy(utterances.mel(i)).mean(dim=0) for i in range(len(utterances))]
means, speaker = torch.stack(means), torch.from_numpy(utterances.labels)  # (utterances, 40)
centres = [means[training][speaker[training] == s].mean(dim=0) for s in range(n_speakers)]
centres = torch.stack(centres).nan_to_num(1e9)  # (speakers, 40)；沒有語句的語者，就放到很遠的地方
nearest = torch.cdist(means[validation], centres).argmin(dim=1)  # (held out,)
right = (nearest == speaker[validation]).float().mean()
print(f"最接近的平均頻譜：答對 {right:.3f}；亂猜：{1 / n_speakers:.3f}")

# %% [markdown]
# 聲音的不同還在於：每個頻帶起伏多大，也就是標準差（standard deviation，SD）；變化多快，也就是差量（deltas）；哪些頻帶會一起升高，也就是倒頻譜（cepstrum）的相關，倒頻譜描述的是頻譜的形狀。線性判別分析（linear discriminant analysis，LDA，[Fisher 1936](https://doi.org/10.1111/j.1469-1809.1936.tb02137.x)）會找出一些方向：在這些方向上，上述統計量在不同語者之間的差異，大於同一位語者自身的差異（[`classical.py`](../../speaker_lib/experiments/classical.py)）：

# %%
from speaker_lib.experiments import classical_baselines, classical_conclusion, classical_table

classical = classical_baselines(corpus, config)
print(classical_table(classical))

# %% [markdown]
# *full* 是完整語句的準確率（accuracy），*crop* 是隨機片段的準確率（用十種切法切，並列出標準差）。**要超越的就是這些數字。**
#
# ## 自注意力
#
# 這個模型是 Transformer（[Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)）：每個音框都向所有音框收集資訊。三個學習得到的矩陣，把每個音框變成一個**查詢**（query，我要找什麼？）、一個**鍵**（key，我有什麼？）與一個**值**（value，我要傳出什麼？）。查詢與鍵越相配，對應的那個值就取用得越多：
#
# $$\mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right)V$$
#
# 在 $Q$、$K$ 與 $V$ 裡，每個音框是一個橫列，有 $d$ 個數字；softmax 把每個橫列的分數（score）變成總和為 1 的正權重（weight）。
#
# **練習**：寫出這個公式；最後一行會拿你的數字與 PyTorch 的比較。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def attention(q, k, v):
    """從查詢、鍵與值 (batch, frames, d)，算出一個注意力頭的輸出 (batch, frames, d)。"""
    # solution: 每個查詢與每個鍵的分數，取 softmax，再用它把值加權相加。
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (batch, frames, frames)
    return scores.softmax(dim=-1) @ v  # (batch, frames, d)
    # end of solution


check.attention(attention)

# %% [markdown]
# 好幾個**注意力頭**（attention head）同時並排做這件事，各自負責每個音框裡的一部分數字。
#
# ## 模型
#
# 這是報告的基準模型，圖上標出各層之間傳遞的資料是什麼形狀：

# %%
from speaker_lib import PRESETS, Classifier
from speaker_lib.plots import architecture_figure

show(architecture_figure(PRESETS["baseline"]))

# %% [markdown]
# 同一個模型寫成程式。只要讀有 `prenet`、`encoder`、`pooling` 與 `pred_layer` 的那幾行；其餘的，基準模型都會跳過：

# %% tags=["NBVAL_CHECK_OUTPUT"]
import inspect

print(inspect.getsource(Classifier.forward))
print(inspect.getsource(Classifier.embed))

# %% [markdown]
# `prenet` 把每個音框從 40 個數字加寬到 `d_model` = 80 個。`encoder` 是編碼器（encoder），也就是一層（layer）Transformer：先是注意力，再對每個音框用一個小網路。`pooling` 是池化（pooling），這裡就是取所有音框的平均，得到一個向量。`pred_layer` 是**輸出層**（output head，其實是兩個線性層；這個 head 與注意力頭無關），它給每位語者一個分數，稱為 logit；softmax 把它們變成機率，最高的就是答案。它的兩個線性層之間有一個 Sigmoid，把每個數字壓到 0 與 1 之間（見第 2 課）。
#
# **你認為大部分的參數（parameter）在哪裡：在編碼器，還是在輸出層？**

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import layer_table

torch.manual_seed(0)
model = Classifier(PRESETS["baseline"].model)  # 作業的 600 位語者
print(layer_table(model, torch.zeros(32, 128, 40)))

# %% [markdown]
# 編碼器那一層有 54% 的參數，最後一層有 39%：600 個答案需要 80 × 600 個權重與 600 個偏置（bias）。
#
# **練習**：把完整語句組成批次時，較短的語句要補齊（padding），補上去的部分不能算進去。請寫出只計真正音框的平均。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def mean_over_frames(frames, lengths):
    """frames (batch, frames, width) 裡，各段前 lengths (batch,) 個音框是真的：求它們的平均 (batch, width)。"""
    # solution: 每段語句只加真正的音框，再除以它們的個數。
    real = torch.arange(frames.shape[1]) < lengths[:, None]  # (batch, frames)
    return (frames * real[:, :, None]).sum(dim=1) / lengths[:, None]  # (batch, width)
    # end of solution


check.mean_over_frames(mean_over_frames)

# %% [markdown]
# **如果把一個片段的音框打亂順序，答案會怎樣？**

# %% tags=["NBVAL_CHECK_OUTPUT"]
model.eval()
segment = torch.randn(1, 128, 40)
shuffled = segment[:, torch.randperm(128)]
print("答案是否相同", torch.allclose(model(segment), model(shuffled), atol=1e-5))

# %% [markdown]
# 完全不變：沒有位置編碼（positional encoding），模型就不知道哪個音框在前。所以它無法利用說話的語調。
#
# ## 它怎麼學習
#
# 每一步（step）都計算一個批次的**損失**（loss），這裡用的是交叉熵（cross-entropy）：正確答案讓模型多意外？接著由最佳化器（optimiser）AdamW 調整權重，讓損失變小。每一步的大小，也就是學習率（learning rate），會一路改變：

# %%
from speaker_lib.plots import schedule_figure

show(schedule_figure(config))

# %% [markdown]
# 它先上升，稱為預熱（warmup），因為一步跨得太大，可能毀掉一個剛初始化的 Transformer；然後下降，稱為餘弦排程（cosine schedule）。
#
# **練習**：如果一個模型認為 $n$ 位語者的可能性都一樣，它的損失是多少？交叉熵是正確語者的機率取自然對數，再加上負號，單位是 nat。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import math

from speaker_lib.course import check


def loss_of_guessing(n_speakers):
    """如果模型認為 n_speakers 位語者的可能性都一樣，它的交叉熵是多少，以 nat 為單位。"""
    # solution: 正確語者的機率，取對數，再加上負號。
    return -math.log(1 / n_speakers)
    # end of solution


check.loss_of_guessing(loss_of_guessing)

# %% [markdown]
# 剛初始化的模型，損失應該就在這個值附近。如果不是，先找出錯誤再訓練。

# %%
from speaker_lib import model_fn, set_seed
from speaker_lib.training import fit_to_data

set_seed(config.seed)
fresh = Classifier(fit_to_data(lesson.profile.baseline, corpus).model)  # 這裡的每位語者各有一個答案
batch, criterion = next(iter(train_loader)), torch.nn.CrossEntropyLoss()
loss, accuracy = model_fn(batch, fresh, criterion, torch.device("cpu"))
print(f"損失 {loss:.2f}；一無所知時是 ln({n_speakers}) = {math.log(n_speakers):.2f}")

# %% [markdown]
# ## 訓練
#
# 在筆電上，這個模型的每個音框是 64 個數字，而不是 80 個。想提早停下來，就按「停止訓練」或 ■；再執行一次這個儲存格，就會接著訓練。

# %%
from speaker_lib import train

run = lesson.run("baseline")
live = LivePlot(run)
state = train(run, corpus, lesson.device, callbacks=[live], stop=live.stop)

# %% [markdown]
# **觀察重點**：損失從 $\ln n$ 附近開始往下降，準確率離開代表亂猜（guessing）的點線。一開始，驗證的成績可能反而領先：訓練的數值是前面許多步的平均，而且當時開著 dropout（隨機把一些數字變成零）。如果訓練越來越好，驗證卻沒有跟上，模型就是過擬合（overfitting）：它在死背。
#
# ## 它有多好？
#
# 報告量的是 **crop**，測試集上算的是 **full**。**哪一個會比較高？如果換個地方切，*crop* 會變多少？**

# %%
from speaker_lib.evaluation import evaluate, evaluation_text
from speaker_lib.plots import confusion_figure

evaluation, logits, labels = evaluate(run, corpus, lesson.device)
run.save_evaluation(evaluation.to_dict())
print(evaluation_text(evaluation, logits, labels, corpus.speakers))
show(confusion_figure(logits, labels, corpus.speakers))

# %% [markdown]
# 「前五名」：正確的語者在最可能的五位之中。**觀察重點**：灰色的對角線是答對的。對角線以外的亮格表示：那個橫列的語者，被認成了那個直行的語者。
#
# 以下是答錯的語句中，模型給出的機率最高的幾段；名字這麼多，連這些機率也可能不高。**先聽（聲音在圖的下方）：換成是你，也會認錯嗎？**

# %%
from speaker_lib.course import explore_mistakes

explore_mistakes(run, corpus, logits, labels)

# %% [markdown]
# **觀察重點**：綠色曲線越高，表示那個音框越受其他音框注意。池化只是把所有輸出平均起來（虛線），但每個輸出都已經吸收了綠色高峰下的那些音框。真正的語者（有斜線的長條）得到多高的機率？
#
# 作業要交一個 CSV 檔：

# %%
from speaker_lib.evaluation import predict

submission = run.folder / "submission.csv"
if corpus.test is None:
    print("這份資料沒有測試集，所以沒有可以繳交的東西。")
else:
    rows = predict(run, corpus, submission, lesson.device)
    print(f"共 {rows:,} 個預測；檔案開頭是：")
    print(*submission.read_text().splitlines()[:3], sep="\n")

# %% [markdown]
# ## 這一課看到了什麼

# %%
last, crop = run.metrics()[-1], evaluation.crop
print(
    f"資料：{corpus.title}。訓練 {last['step']:,} 步，每秒 {last['step'] / run.training_seconds():.0f} 步。"
)
print(f"損失：一無所知時 {math.log(n_speakers):.2f}，現在 {last['valid_loss']:.2f}。")
print(f"答對的比例：亂猜 {1 / n_speakers:.4f}，full {evaluation.full.accuracy:.4f}，")
print(f"crop {crop.accuracy:.4f}（不同切法之間的標準差 {crop.std:.4f}）。")
full, count = evaluation.full.accuracy, evaluation.n_utterances
print(classical_conclusion(classical, "baseline", full, count))
print("報告（VoxCeleb2 的 600 位語者，訓練 70,000 步，最好的一次驗證）：0.4834（crop）。")

# %% [markdown]
# ## 小測驗

# %%
quiz(1)

# %% [markdown]
# **重點回顧**：語音變成一個個音框，每個音框是 40 個對數梅爾值；隨機切出的片段組成批次。注意力讓音框彼此參照，所有音框的平均成為一個向量，輸出層再說出語者是誰。單看一個準確率意義不大，要先知道簡單的方法能做到多少。
#
# **動手試試**：片段短到什麼程度，模型就什麼都學不到？先寫 `from speaker_lib import Run`、`preset = lesson.profile.baseline.override({"train.segment_len": 16})`，再用 `Run.create(lesson.runs / "segment-16", preset, corpus)` 與 `train`。
#
# **下一課**：[第 2 課](02_tuned.ipynb)做四項改動，得到兩個發現。
