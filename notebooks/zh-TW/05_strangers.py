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
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/05_strangers.ipynb)
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/OWNER/speaker-course/blob/v0.1.0/notebooks/zh-TW/05_strangers.ipynb)

# %% [markdown]
# # 5 · 陌生人
#
# 到目前為止，每個模型都用自己名單上的名字回答。但門禁、手機或會議錄音機，會遇到訓練資料（training data）裡沒有的人。這一課問另外兩個問題：「這兩段語句（utterance）是同一個人說的嗎？」（語者驗證，verification）；以及登錄（enrolment）之後，「這是我見過的哪一位？還是都不是？」
#
# **學習目標** 上完這一課，你能說明為什麼分類器說不出「我不認識這個人」；用嵌入向量（embedding）比較兩段語句，並計算等錯誤率（equal error rate，EER）；用幾段錄音登錄一個人；聽到一個準確率時，問得出當初保留的是什麼。
#
# 準備 45 分鐘；其中電腦要算四分鐘，用[現成的訓練結果（finished runs）](../../docs/zh-TW/teaching.md)則只要 70 秒。如果第 1、2 課還沒有執行過，會用簡短的訓練代替。

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
from speaker_lib.course import preflight, quiz, show

DATA = (
    "automatic"  # @param ["automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"]
)
KEEP = "here"  # @param ["here", "Google Drive"]
lesson = preflight(DATA, KEEP)
corpus = lesson.corpus

# %% [markdown]
# ## 封閉的名單
#
# 這裡有一些語者，課程裡的模型都沒有用他們訓練過：他們是「陌生人」（stranger）。**第 2 課的模型會說他們是誰？至少會比較沒把握嗎？**

# %%
import torch

from speaker_lib import SpeakerDataset
from speaker_lib.evaluation import full_outputs, heldout_indices

tuned, strangers = lesson.trained("tuned"), lesson.unseen_speakers()
model, everyone = tuned.load_model(lesson.device), torch.arange(len(strangers.labelled))
known = ("名單上", corpus, heldout_indices(tuned, corpus))
for who, data, chosen in (known, ("陌生人", strangers, everyone)):
    logits = full_outputs(model, SpeakerDataset(data.labelled), chosen, lesson.device)
    sure = logits.softmax(dim=1).amax(dim=1)  # (utterances,) 模型給自己的答案多少機率
    often = (sure > 0.9).float().mean()
    print(f"{who:<10} 平均信心 {sure.mean():.2f}；超過 0.9 的語句占 {often:.0%}")

# %% [markdown]
# 也許比較沒把握，但它替每個陌生人都給了名字，有些信心可能還超過 0.9，而哪個名字都不可能對。模型說不出「我不認識這個人」：它給名單上各個名字的機率，加起來是 1。「語者辨識」（identification）用的是封閉的名單。
#
# 但是輸出層（output head）最後一層的輸入，不需要名單。這個向量就是**嵌入向量**，描述一段語句聽起來如何（[Snyder et al. 2018](https://www.danielpovey.com/files/2018_icassp_xvectors.pdf)）。**同一位陌生人的語句會靠在一起嗎？** t-SNE 圖把它們畫在平面上，讓相似的靠在一起：

# %%
from speaker_lib.evaluation import embed
from speaker_lib.plots import map_figure

show(map_figure(embed(tuned, strangers, everyone, lesson.device)))

# %% [markdown]
# **觀察重點**：每一種顏色與記號的組合，代表一位陌生人。同一位語者的點，填色深淺相同的，出自同一次錄音。同一人的點聚在一起，就表示嵌入向量也能描述名單以外的聲音。如果一群點又按錄音散成幾堆，就表示它也描述了房間或麥克風。（在這種圖上，離得遠的兩群相距多少，沒有什麼意義。）
#
# ## 同一個人，還是兩個人？
#
# 取兩段語句，算出它們嵌入向量之間的餘弦（cosine）。如果這個分數（score）達到「門檻」（threshold），我們就說「是同一個人」。錯誤有兩種：拒絕同一位語者的兩段語句，以及接受兩位不同語者的兩段語句。門檻越高，第一種越多，第二種越少。把門檻設在兩種錯誤率相等的地方，那裡的錯誤率就是**等錯誤率**（EER）。
#
# **練習**：寫出 EER：把每個分數都當成門檻試一次；在兩種錯誤率最接近的地方，回傳它們的平均。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def equal_error_rate(same, different):
    """由同一位語者的配對分數 same (n,)，與兩位不同語者的配對分數 different (m,)，算出 EER。"""
    # solution: 把每個分數都當成門檻試一次，取兩種錯誤率最接近的那一個。
    thresholds = torch.cat([same, different])[:, None]  # (n + m, 1)
    rejected = (same < thresholds).float().mean(dim=1)  # (n + m,)
    accepted = (different >= thresholds).float().mean(dim=1)  # (n + m,)
    best = (accepted - rejected).abs().argmin()
    return (accepted[best] + rejected[best]) / 2
    # end of solution


check.equal_error_rate(equal_error_rate)

# %% [markdown]
# 現在用真正的配對。如果資料註明了每段語句出自哪次錄音，同一位語者的兩段語句就取自不同的錄音，這樣房間才不會洩漏答案。

# %%
from speaker_lib.evaluation import draw_trials, verify
from speaker_lib.plots import verification_figure

trials = draw_trials(strangers, everyone)
result, scores = verify(tuned, strangers, trials, lesson.device)
show(verification_figure(result, scores, trials.same))

# %% [markdown]
# **觀察重點**：左圖裡，兩堆重疊的地方，沒有哪個門檻能全部答對。右圖是 DET 曲線（detection error trade-off），畫出每個門檻上的兩種錯誤率：越靠近左下角越好。
#
# **這樣算好嗎？跟什麼比？** 亂猜（guessing）的 EER 是 0.5。但即使權重（weight）是隨機的，特徵裡關於聲音的資訊，也會有一部分傳下去。所以每個模型都要與未經訓練的模型比較。**最小偵測代價**（minimum detection cost function，minDCF）是這樣算的：想像一道門，敲門的人每 100 個只有 1 個（或 5 個）可以進去，再據此衡量兩種錯誤的輕重：0 是完美，1 則不比一直關著門好。

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
# 也看看那兩道門：`minDCF 0.01` 接近 1，表示就連這些模型裡最好的一個，也不比一直關著門好多少，因為每 100 個敲門的人裡，有 99 個是陌生人。
#
# ## 需要多少人？
#
# 這些模型是用一份名單訓練的。**名單長一點，比較陌生人時會更準嗎？** 同一個模型，同樣的步數，好幾個種子（seed）；只有語者的人數（以及因此而來的語句數）不同。

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
# **觀察重點**：虛線是未經訓練的模型。各次訓練降到它下面多少？人多有幫助嗎？如果曲線在最後又升高，例如用 100 個模擬的聲音訓練 300 步、每步資料又少的時候，就表示訓練太短，還學不會比較長的名單。上面表裡的 `tuned` 用同樣的 100 個聲音訓練，步數更多，每一步的資料也更多，EER 就低得多。所以名單越長，訓練也要越久；人多本身有什麼好處，這張圖看不出來。公開評測（benchmark）用幾千人的語音訓練，在 VoxCeleb 上的 EER 低於 1%（[Desplanques et al. 2020](https://arxiv.org/abs/2005.07143)）。用來測試的人數也要數一數：十個太少了。
#
# ## 0.97 代表什麼？
#
# 在 HW4 的驗證集上，我們所知的最高準確率是 0.967（[docs/accuracy.md](../../docs/accuracy.md)，英文）。這樣的數字保證了什麼？要看當初保留的是什麼。用 20 個模擬的聲音來問（亂猜的準確率是 0.050）：
#
# | 保留什麼 | 問的是什麼 | 我們的答案 |
# |---|---|---|
# | 隨機十分之一的語句，HW4 就是這樣 | 在訓練時已經聽過的錄音裡，是誰在說話？ | 準確率 0.819 ± 0.039（第 3 課） |
# | 整次的錄音 | 換了一個房間，是誰在說話？ | 同樣的設定是 0.240 ± 0.019；用階梯再加上倒頻譜平均正規化（CMN），是 0.788 ± 0.027（第 4 課） |
# | 整個人 | 這兩段語句是不是出自同一位陌生人？ | 上面表裡的 EER |
#
# 換了房間會損失多少，要看是什麼樣的房間，而我們的房間是模擬出來的。但 HW4 也有損失：據報告，在 2022 年的版本裡，驗證的準確率 0.946 到了測試集上變成 0.837，而那個測試集和訓練沒有共用影片（[docs/zh-TW/hw4.md](../../docs/zh-TW/hw4.md)）。所以隨機切分說的是模型對「和訓練時同類的錄音」有多熟，還不是對這些人有多熟。
#
# ## 登錄：「這是誰？」
#
# 要**登錄**一個人，就取幾段錄音，把它們的嵌入向量縮放到長度 1，取平均，再把平均縮放到長度 1。遇到新的錄音，就判給餘弦最高的那個人；如果連最高的都低於門檻，就判為「不認識」（nobody）。
#
# **練習**：寫一個函式，登錄一個人。

# %% tags=["NBVAL_CHECK_OUTPUT", "exercise"]
from speaker_lib.course import check


def enrol(vectors):
    """把一個人的嵌入向量 (recordings, d)，變成一個長度為 1 的向量 (d,)。"""
    # solution: 每段錄音分量相同，所以平均之前，每個向量先縮放到長度 1；得到的平均再縮放一次。
    mean = torch.nn.functional.normalize(vectors, dim=1).mean(dim=0)  # (d,)
    return mean / mean.norm()
    # end of solution


check.enrol(enrol)

# %% [markdown]
# 門檻要「校準」（calibrate）：先登錄一部分陌生人，替所有陌生人的語句打分數，再選出一個分數，讓沒有登錄的人的語句，只有 5% 會超過它；所以下面的 5% 是我們要求的。**這樣一來，登錄過的人有多少會被擋在門外？多一段錄音有幫助嗎？**

# %%
from speaker_lib.evaluation import calibrate, make_reference

reference = make_reference(tuned, strangers, lesson.device)
for recordings in (1, 2, 4):
    t = calibrate(reference, 10, recordings)
    print(
        f"{t.n_people} 人，各以 {recordings} 段錄音登錄：{t.false_accepts:.0%} 的陌生人被接受，"
        f"{t.false_rejects:.0%} 的登錄者被拒絕或認錯"
    )

# %% [markdown]
# ## 你自己的聲音
#
# 現在換你和一位朋友。錄音之前，先徵求對方同意：聲音是個人資料，能認出聲音的技術，也能用來追蹤聲音的主人。錄音只留在這台電腦上（在 Colab 上，就是留在你的工作階段裡）；按「刪除所有錄音」，會刪除錄音，以及由錄音算出的一切。
#
# 執行下一個儲存格（cell），會出現一個面板，上面主要的按鈕是「錄音 10 秒」、「登錄」與「這是誰？」。你們兩人各自輸入名字，錄三次，每次說十秒鐘的話。登錄按一次就好；它會說兩種錯誤各有多常發生。然後問它是誰在說話，再請一位沒有登錄的人說話：**它會怎麼回答？**（用模擬的聲音訓練的模型從來沒聽過真人，所以要有失敗的心理準備：`DATA = "LibriSpeech dev-clean"` 則有 40 位真人。）

# %%
from speaker_lib.course import OwnVoice

own = OwnVoice(lesson, tuned, reference)
own.show()

# %% [markdown]
# 遇到陌生人，應該回答「名冊裡沒有這個人」（名冊就是登錄者的名單）；但門檻就是這樣選的：每 20 位陌生人仍有 1 位會得到名字，有些已經登錄的人也會被擋在門外。門檻是用這一課的陌生人選出來的，不是用你房間裡、對著你的麥克風說話的人：請預期錯誤會更多。在命令列（shell）裡做同樣的事：[docs/enrolment.md](../../docs/enrolment.md)（英文）。

# %% [markdown]
# ## 這一課看到了什麼

# %%
best = found.eer.mean(axis=1)
print(f"這一課的訓練結果：{tuned.folder}")
print(f"{strangers.n_speakers} 位陌生人，{strangers.title}：")
print(f"等錯誤率（EER）：未經訓練 {results['untrained'].eer:.3f}，訓練後 {results['tuned'].eer:.3f}；")
print(
    f"用 {found.speakers[1]} 位語者訓練是 {best[1]:.3f}，用 {found.speakers[-1]} 位是 {best[-1]:.3f}。"
)

# %% [markdown]
# ## 小測驗

# %%
quiz(5)

# %% [markdown]
# **重點回顧**：分類器有一份名單，而且對任何人都會給出其中一個名字。嵌入向量可以比較任意兩段語句。等錯誤率是兩種錯誤率相等時的錯誤率；要拿它與未經訓練的模型比較。登錄一個人，就是取幾個嵌入向量的平均；校準過的門檻，讓系統可以回答「不認識」。要適用於陌生人，就要用夠長的訓練、很多人的語音來訓練。
#
# **課程結束。** 你帶走的是一套找出答案的方法：一次只改一項、用多個種子、用同一種衡量方式，還有一個問題：「跟什麼比？」
