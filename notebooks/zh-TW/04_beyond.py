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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/04_beyond.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/04_beyond.ipynb)

# %% [markdown]
# # 4 · 報告之後
#
# 報告在結尾問：還有什麼可能有幫助？這一課先從最常毀掉改進的東西講起：不會報錯的程式錯誤（bug）。接著爬上一道「階梯」（ladder），一項改動接一項，從報告的第二個模型走向今天的方法。
#
# **學習目標** 上完這一課，你能抓出四個不會報錯的程式錯誤，每個只用幾行的檢查；說明池化（pooling）如何處理音框（frame），並看出模型最看重哪些音框；說出間隔（margin）要求的是什麼；讀懂一階一階的改進，而不自欺。
#
# 準備 50 分鐘；其中電腦要算六分鐘，用[現成的訓練結果（finished runs）](../../docs/zh-TW/teaching.md)則只要 30 秒。如果第 2 課沒有在這台電腦上執行過，會用簡短的訓練代替。

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
from speaker_lib.course import explore, preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## 錯誤 1：同一批次的人混在一起
#
# Conformer 層（[Gulati et al. 2020](https://arxiv.org/abs/2005.08100)）是 Transformer 層加上對相鄰音框的卷積（convolution）。作業要求做出一個。在好幾份公開的解答裡，這一層要的是 `(frames, batch, d_model)`（PyTorch 自己的 Transformer 層預設也是如此），拿到的卻是 `(batch, frames, d_model)`，而且不報錯。**批次（batch）裡有三個人時，這樣的一層會怎麼做？** 從梯度（gradient）可以看出，誰的輸入能改變第一個人的輸出。
#
# **練習**：寫出這個檢查。（`torch.autograd.grad(y, x)` 是單一個數字 `y` 對 `x` 的梯度。每個音框只取一個特徵，`[0, :, 0].sum()`：經過 LayerNorm 之後，所有特徵的和是常數。）

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
import torch

from speaker_lib.course import check


def people_reached(layer, hidden):
    """批次 hidden (batch, frames, width) 裡，有幾個人能改變第一個人的 layer(hidden)[0]。"""
    # solution: 第一個人的輸出對所有輸入的梯度，以及有幾個人的梯度不是 0。
    hidden = hidden.clone().requires_grad_()
    (reach,) = torch.autograd.grad(layer(hidden)[0, :, 0].sum(), hidden)  # (batch, frames, width)
    return (reach.abs().amax(dim=(1, 2)) > 0).sum()
    # end of solution


check.people_reached(people_reached)

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import utterances_reached

torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(32, nhead=2).eval()
hidden = torch.randn(3, 20, 32)  # 三個人
feeds = {
    "先轉置再輸入": lambda hidden: layer(hidden.transpose(0, 1)).transpose(0, 1),
    "直接原樣輸入": layer,
}
for name, feed in feeds.items():
    seen = utterances_reached(feed, hidden)
    print(f"{name:<14} 第一個人的輸出取決於 3 個人中的 {seen} 個")

# %% [markdown]
# 直接原樣輸入時，這一層把批次當成時間，注意力（attention）就橫跨整個批次在算。模型還是學得到一點東西，因為殘差連接（residual connection）讓每個音框直接通過。但它的答案會因批次裡還有誰而不同。**檢查方法**：一段語句（utterance）的輸出對其他語句輸入的梯度，必須剛好是零。
#
# ## 錯誤 2：靜音也算進去
#
# 要把完整的語句組成批次，就得補齊（padding）；這裡補的是 −20，也就是「幾乎沒有聲音」的對數。**語句後面接上 40 個補齊的音框，答案會變嗎？**

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib import Classifier, ModelConfig

model = Classifier(ModelConfig(encoder="conformer", d_model=32)).eval()
mel = torch.randn(1, 60, 40)
padded = torch.nn.functional.pad(mel, (0, 0, 0, 40), value=-20.0)  # 60 個音框，再加 40 個什麼都沒有的音框
with torch.inference_mode():
    alone, ignored, told = model(mel), model(padded), model(padded, torch.tensor([60]))
print("沒有告知長度，答案是否相同", torch.allclose(alone, ignored, atol=1e-4))
print("告知了長度，答案是否相同  ", torch.allclose(alone, told, atol=1e-4))

# %% [markdown]
# 除非模型的每個部分都知道語句到哪裡結束，否則補齊的音框會被注意力看見，也會算進卷積與平均裡。**檢查方法**：一段語句不論單獨輸入，還是放在補齊過的批次裡，答案都必須相同。
#
# ## 錯誤 3：「最好」的權重，其實是最後的
#
# 作業的範例程式這樣保存最好的模型：`best_state_dict = model.state_dict()`。**再訓練一步之後，裡面是什麼？**

# %% tags=["NBVAL_CHECK_OUTPUT"]
import copy

model = torch.nn.Linear(4, 2)
best, copied = model.state_dict(), copy.deepcopy(model.state_dict())
before = model.weight.detach().clone()
model(torch.randn(8, 4)).sum().backward()
torch.optim.AdamW(model.parameters()).step()
print("state_dict() 是否與當時相同          ", torch.equal(best["weight"], before))
print("它的深層複本是否與當時相同           ", torch.equal(copied["weight"], before))
print("state_dict() 是否就是模型自己的記憶體", best["weight"].data_ptr() == model.weight.data_ptr())

# %% [markdown]
# `state_dict` 不是複本，而是模型自己的記憶體；所以範例程式印出的是最好的準確率（accuracy），存下的卻是後來的權重（weight）。**檢查方法**：再訓練一步，然後比較。
#
# ## 錯誤 4：驗證結果忽高忽低
#
# 同一個模型，同樣的保留（held out）語句，只換隨機切出的片段（segment）。**十次驗證（validation）會相差多少？**

# %%
from speaker_lib import SpeakerDataset
from speaker_lib.evaluation import crop_draws, heldout_indices

tuned = lesson.trained("tuned")
dataset = SpeakerDataset(corpus.labelled, tuned.preset.train.segment_len, device=lesson.device)
utterances = heldout_indices(tuned, corpus)
draws = crop_draws(tuned.load_model(lesson.device), dataset, utterances, lesson.device)  # (10, 2)
draws = draws[:, 0]  # (10,) 只要準確率，不要損失
print("準確率", *(f"{accuracy:.3f}" for accuracy in draws))
print(
    f"從 {draws.min():.3f} 到 {draws.max():.3f}：相差 {100 * (draws.max() - draws.min()):.1f} 個百分點"
)

# %% [markdown]
# 如果從許多這樣的數字裡留下最好的一個，就偏袒了運氣好的切法。所以本課程驗證時用固定的切法，比較模型時則看 *full*，其中沒有任何隨機。**檢查方法**：相信一個差異之前，先用兩組不同的切法評估同一個模型。
#
# ## 池化：從音框到一個向量
#
# 編碼器（encoder）為每個音框給出一個向量，輸出層（output head）卻要每段語句一個。報告的模型取**平均**，所以一聲呼吸與一個母音分量相同。**自注意力池化**（self-attention pooling）為每個音框算出一個分數（score），再由 softmax 把分數變成權重。
#
# **練習**：權重已經有了，寫出池化。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def pool(frames, weights):
    """用總和為 1 的 weights (batch, frames)，把 frames (batch, frames, width) 變成各一個向量 (batch, width)。"""
    # solution: 每個音框乘上自己的權重，再對音框加總。
    return (frames * weights[:, :, None]).sum(dim=1)  # (batch, width)
    # end of solution


check.pool(pool)

# %% [markdown]
# **注意力統計池化**（attentive statistics pooling，[Okabe et al. 2018](https://arxiv.org/abs/1803.10963)）還保留標準差（standard deviation，SD）：聲音變化有多大。下面有四個音框，每個兩個數字，第三個音框的分數最高：

# %% tags=["NBVAL_CHECK_OUTPUT"]
from speaker_lib.models import frame_weights, mean_pooling, weighted_sum

frames = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 8.0], [0.0, 0.0]]])  # (1, frames, 2)
weights = frame_weights(torch.tensor([[[0.0], [0.0], [2.0], [0.0]]]), None)  # (1, frames)
mean = weighted_sum(frames, weights, None)  # (1, 2)
deviation = weighted_sum((frames - mean) ** 2, weights, None).sqrt()  # (1, 2)
print("權重                  ", [round(w, 3) for w in weights[0].tolist()])
print("平均                  ", [round(x, 3) for x in mean_pooling(frames, None)[0].tolist()])
print("加權平均              ", [round(x, 3) for x in mean[0].tolist()])
print("加權標準差            ", [round(x, 3) for x in deviation[0].tolist()])

# %% [markdown]
# **代價有多大？** 報告的第二個模型，配上每一種池化：

# %% tags=["NBVAL_CHECK_OUTPUT"]
from dataclasses import replace

from speaker_lib import PRESETS
from speaker_lib.models import cost_table

poolings = ("mean", "self_attention", "attentive_statistics")
print(cost_table({name: replace(PRESETS["tuned"].model, pooling=name) for name in poolings}))

# %% [markdown]
# 自注意力池化要 512 個參數（parameter）。注意力統計池化光是算分數就要 66,000 個，輸出層還要再多這個數的四倍，因為它拿到並排的兩個向量。
#
# ## 間隔
#
# 對準確率來說，正確的語者（speaker）只要領先就夠了。交叉熵（cross-entropy）要求得更多，但模型只要把向量變長，就能降低它。**間隔**要求的是方向上的距離：每位語者各有一個由訓練學得的方向；logit 改成語句的向量與這個方向之間的餘弦（cosine），再乘上一個倍率；訓練時，把正確語者的餘弦調低。這就是 AM-softmax（[Wang et al. 2018](https://arxiv.org/abs/1801.05599)）。
#
# **練習**：把正確語者的 logit 調低。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def lower_logit(logits, labels, margin, scale):
    """logits (batch, n_speakers) = scale * 餘弦；正確語者 labels (batch,) 的餘弦要扣掉 margin。"""
    # solution: 複製一份 logits，每個橫列只調低一個位置。
    lowered = logits.clone()  # (batch, n_speakers)
    lowered[torch.arange(len(labels)), labels] -= scale * margin
    return lowered
    # end of solution


check.lower_logit(lower_logit)

# %% [markdown]
# ArcFace（[Deng et al. 2019](https://arxiv.org/abs/1801.07698)）則把間隔加在角度上。下面畫出兩位語者的方向 A 與 B，以及一段語句可能有的所有方向。**A 的語句要落在哪裡，扣掉間隔之後 A 仍然領先？** 移動滑桿看看。

# %%
from speaker_lib.plots import margin_figure

explore(margin_figure, "間隔", most=1.0, start=0.2, step=0.01)

# %% [markdown]
# **觀察重點**：沒有間隔（0）時，界線在正中間。有了間隔，兩位語者的區域都縮小，中間出現一條無人地帶（no-man's-land）：語句落在裡面，名字雖然答對，但領先得不夠多。訓練會把每位語者的語句聚在一起，把方向彼此推開，直到這條地帶淨空。對剛初始化的模型來說，這太難，所以間隔從 0 開始，慢慢加大。
#
# ## 階梯
#
# 現在一項改動接著一項。每一階都保留前面所有的改動：
#
# - **線性輸出層，前面加 BatchNorm**：通往名字的線性層只有一個，不是兩個；[BatchNorm](https://arxiv.org/abs/1502.03167) 把池化後向量的每個數字，在批次上縮放成平均 0、標準差 1；
# - **注意力統計池化**，如上所述；
# - **降採樣（subsampling）為一半**：用跨步卷積（strided convolution）把兩個音框變成一個向量，減少計算量；
# - **Conformer 加 MFA**（[Zhang et al. 2022](https://arxiv.org/abs/2203.15249)）：換成 Conformer 層，而且所有層的輸出都拿來池化（多尺度特徵聚合，multi-scale feature aggregation）；
# - **EMA**：評估的是權重的指數移動平均（exponential moving average），而不是最後的權重。
#
# 最後三項只是「試用」，各自單獨加在這些改動之上：**CMN**（倒頻譜平均正規化，cepstral mean normalisation），減去每個頻帶在整段語句上的平均；[**SpecAugment**](https://arxiv.org/abs/1904.08779)，隨機遮住一些頻帶與音框；以及間隔。**哪一階進步最多？有沒有哪一階反而有害？寫下你的猜測。**

# %%
from speaker_lib.experiments import run_ladder

profile = lesson.profile
ladder = run_ladder(profile.tuned, profile.ladder, lesson.ablation_corpus(), lesson.runs / "ladder")

# %% [markdown]
# 除非「開始之前」的儲存格寫著「設定檔 full」，否則這些都是用一部分資料做的簡短訓練；第一個橫列是第 3 課四項改動全用上的模型。如果資料註明了每段語句出自哪次錄音，就像第 3 課那樣，保留整次的錄音。**這道階梯超過線性判別分析（linear discriminant analysis，LDA）了嗎？**

# %%
from speaker_lib.experiments import classical_baselines, ladder_table

few, held_out = lesson.ablation_corpus(), replace(profile.ladder.train, split=ladder.split)
print(ladder_table(ladder, classical_baselines(few, held_out)))

# %%
from speaker_lib.plots import ladder_figure, save_figure

figure = ladder_figure(ladder)
save_figure(figure, lesson.runs / "ladder.png")
show(figure)

# %% [markdown]
# **觀察重點**：每個點是一個種子（seed），與前一階的同一個種子相比；只是「試用」的，則與最後保留的那一階相比。CMN 去掉麥克風的大部分影響。對新的錄音，這可能有幫助；對訓練資料（training data）裡也有的錄音，則可能有害；所以預設集 `best`，也就是這道階梯的頂端、用於 HW4 的完整尺寸版本，不用 CMN。在模擬的聲音上，只有用了 CMN 的那一階超過 LDA。保留哪幾階，是依較長的訓練決定的。
#
# 寫成句子如下；每一階做一次配對 t 檢定（paired t-test），全部再做 Holm 校正（Holm's correction）。如果不校正，就算每一階都沒用，這樣的階梯裡最多會有三分之一，出現「顯著」（significant）的一階。校正之後，八次比較裡的第一個，在三個種子之下要 $|t| > 12.6$ 才算：

# %%
from speaker_lib.experiments import ladder_conclusions

ladder_conclusions(ladder)

# %% [markdown]
# ## 哪些音框比較重要？
#
# 階梯頂端的模型用的是注意力統計池化。**大聲的音框權重較大，還是小聲的？** 下面是一段保留語句裡，每個音框的權重。

# %%
from speaker_lib import Run
from speaker_lib.models import pooling_weights
from speaker_lib.plots import pooling_figure

top = Run.open(lesson.runs / "ladder" / ladder.kept[-1].name / f"seed{profile.ladder.seeds[0]}")
mel = SpeakerDataset(few.labelled).whole(heldout_indices(top, few)[:1]).mels[0]  # (frames, n_mels)
weights = pooling_weights(top.load_model(), mel)  # (frames,)
show(pooling_figure(mel, weights, "One held-out utterance"))

# %% [markdown]
# **觀察重點**：高過虛線的音框，分量比取平均時重。那麼，是大聲的還是小聲的？看「等級相關」（rank correlation）：如果越大聲的音框權重一定越大，就是 +1；一定越小，就是 −1：

# %%
from speaker_lib.models import loudness_correlation

model = top.load_model()
mels = [torch.from_numpy(few.labelled.mel(int(i))) for i in heldout_indices(top, few)[:50]]
ranks = torch.tensor([loudness_correlation(mel, pooling_weights(model, mel)) for mel in mels])
print(
    f"權重與音量的等級相關，{len(ranks)} 段語句的平均：{ranks.mean():+.2f}（標準差 {ranks.std():.2f}）"
)

# %% [markdown]
# ## 這一課看到了什麼

# %%
print(f"同一個模型，十種切法：{draws.min():.3f} 到 {draws.max():.3f}。")
ladder_conclusions(ladder)[:2]

# %% [markdown]
# ## 小測驗

# %%
quiz(4)

# %% [markdown]
# **重點回顧**：要找出不會報錯的錯誤，就問什麼不該變：換了同批次的其他人，或加了補齊，答案都不該變；繼續訓練時，存下的權重不該變。還要驗證兩次：隨機切片段，準確率會忽高忽低。池化決定每個音框占多少分量。間隔要求方向上的距離，只在訓練時使用。一道階梯說明的是，每一階在前面各階之上多了什麼，而且只限於這份資料、這樣的訓練長度。
#
# **動手試試**：把兩次訓練的答案取平均（集成，ensemble）：`python -m speaker_lib predict --data DIR RUN RUN`。或者下載 HW4 的資料，用它訓練 `strong` 或 `best`（[docs/zh-TW/hw4.md](../../docs/zh-TW/hw4.md)）。
#
# **下一課**：這些模型都只從一份固定的名單裡選。[第 5 課](05_strangers.ipynb)要走出這份名單。
