"""Figures in another language: every text is translated, if a font here has its characters; else all stay English."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from speaker_lib import PRESETS, Classifier, TrainConfig
from speaker_lib.config.schema import ModelConfig
from speaker_lib.evaluation.embeddings import Embeddings
from speaker_lib.evaluation.mistakes import find_mistakes
from speaker_lib.evaluation.verification import Verification
from speaker_lib.experiments.generalisation import Generalisation
from speaker_lib.experiments.published import people_results
from speaker_lib.models.inspect import attention_maps, head_signals, pooling_weights
from speaker_lib.plots import (
    ablation_figure,
    activation_figure,
    amount_figure,
    architecture_figure,
    attention_figure,
    comparison_figure,
    confusion_figure,
    cost_figure,
    curves_figure,
    generalisation_figure,
    ladder_figure,
    lengths_figure,
    map_figure,
    margin_figure,
    measuring_figure,
    mistake_figure,
    pooling_figure,
    save_figure,
    schedule_figure,
    speed_figure,
    time_figure,
    utterance_figure,
    verification_figure,
    voices_figure,
)  # fmt: skip
from speaker_lib.plots.fonts import find_families
from speaker_lib.plots.style import Figure, _say_no_font, description, finish, new_figure
from speaker_lib.utils.language import VARIABLE, translate_finished

from .test_ablation import additive, invented
from .test_fonts import fonts, make_font  # noqa: F401, a fixture
from .test_inspection import DEEP
from .test_ladder import ladder_of
from .test_mistakes import LABELS, LOGITS
from .test_run_figures import a_run

ENGLISH_LEFT = re.compile(r"[A-Za-z]{2,} [a-z]{2,}\b(?! →)")  # two words; one alone is a name, of a setting or a model
VOICES = "100 simulated voices (not people), 60 utterances each, seed 0"


def every_figure() -> dict[str, Figure]:
    torch.manual_seed(0)
    model, mel = Classifier(replace(DEEP, n_speakers=6)), torch.randn(203, 40)
    maps, weights = attention_maps(model, mel[:40]), pooling_weights(model, mel)
    signals = head_signals(Classifier(replace(DEEP, activation="sigmoid")), torch.randn(8, 12, 40), torch.arange(8) % 5)
    runs, ladder = [a_run("baseline", [0.1], [2.0]), a_run("tuned", [0.5], [1.0])], ladder_of((0.5, 0.5), (0.8, 0.9), (0.7, 0.9))
    ablation = invented(additive(0.1, -0.1, 0.1, 0.2), session=additive(0.1, 0.1, 0.1, 0.1))
    wide = {f"{n} layer{'s' * (n > 1)}, 512 wide": ModelConfig(num_layers=n) for n in (1, 2)}
    fast = {"tuned, 1 layer runs": PRESETS["tuned"].model, "tuned, 6 layers run": PRESETS["tuned"].model}
    vectors, names = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32), tuple("aabbccdd")
    embeddings = Embeddings(vectors, np.full(8, 90), tuple("abcdefgh"), ("",) * 8, names, VOICES, VOICES, tuple("12345678"))
    result = Verification(0.25, 0.4, {"0.01": 0.9}, 4, 4, 8, 0, 4, "all pairs", VOICES, VOICES)
    scores, same = np.linspace(0, 1, 8), np.arange(8) % 2 == 0
    title = "Attention of lesson 1's baseline, its only layer"
    one = find_mistakes(LOGITS, LABELS, torch.arange(4))[0]
    return {
        "voices": voices_figure([mel[:, 0].numpy()] * 2, [mel.numpy()] * 2, ["sim0001", "sim0002"]),
        "utterance": utterance_figure(mel.numpy(), 50, other=mel.numpy()),
        "lengths": lengths_figure(np.arange(50, 90), 60, f"the first 20 of {VOICES}"),
        "architecture": architecture_figure(PRESETS["tuned"], changed_from=PRESETS["baseline"]),
        "schedule": schedule_figure(TrainConfig()),
        "curves": curves_figure(runs[0]),
        "before": curves_figure(a_run("baseline", [], [])),
        "comparison": comparison_figure(runs, report=True),
        "confusion": confusion_figure(torch.randn(40, 5), torch.arange(40) % 5, tuple("abcde")),
        "mistake": mistake_figure(
            one, list("abcdef"), mel.numpy(), maps[-1], weights, f"the first 4 s of an utterance; {VOICES}"
        ),
        "attention": attention_figure(maps[0], mel[:40], title),
        "alike": attention_figure(maps[0][[0, 0, 1, 1]], mel[:40], "Attention of tuned, layer 2 of 2"),
        "cost": cost_figure(wide),
        "speed": speed_figure(fast, 44, 8.1e12, "the most a T4 can do in float32"),
        "activation": activation_figure(signals, "The head of a fresh baseline: one batch, the same weights, one word changed"),
        "ablation": ablation_figure(ablation),
        "measuring": measuring_figure(ablation),
        "time": time_figure(*people_results("time")),
        "amount": amount_figure(*people_results("amount")),
        "margin": margin_figure(0.2),
        "ladder": ladder_figure(replace(ladder, source=VOICES, split="session")),
        "pooling": pooling_figure(mel, weights, "One held-out utterance"),
        "verification": verification_figure(result, scores, same),
        "map": map_figure(embeddings, most=3),
        "generalisation": generalisation_figure(Generalisation((0, 10), np.array([[0.4, 0.4], [0.2, 0.3]]), 50, VOICES, 300)),
    }


@pytest.fixture(scope="module")
def figures():
    return every_figure()


def test_no_figure_keeps_english(figures, monkeypatch, tmp_path):
    if find_families("繁體中文", ["DejaVu Sans"])[1]:
        pytest.skip("no Chinese font is installed here (fonts-noto-cjk), so figures stay English")
    monkeypatch.setenv(VARIABLE, "zh-TW")
    left = {}
    for name, figure in figures.items():
        save_figure(figure, tmp_path / f"{name}.png")
        texts = {text.get_text() for text in figure.findobj(Text)} | {description(figure)}
        left[name] = {text for text in texts if ENGLISH_LEFT.search(text)} - {"invented numbers", "invented"}
    assert {name: texts for name, texts in left.items() if texts} == {}
    assert "第 4 個頭" in [axes.get_title() for axes in figures["attention"].axes]
    assert "不顯著" in description(figures["ladder"])


def test_without_a_font_figures_stay_english_and_one_sentence_says_so(fonts, monkeypatch, tmp_path, capsys):  # noqa: F811
    monkeypatch.setenv(VARIABLE, "zh-TW")
    _say_no_font.cache_clear()
    for _ in range(2):
        save_figure(figure := margin_figure(0.2), tmp_path / "margin.png")
    assert "angle to the right speaker, degrees" in [axes.get_xlabel() for axes in figure.axes]
    (said,) = capsys.readouterr().err.splitlines()
    assert "圖中的文字維持英文" in said and "apt-get install fonts-noto-cjk" in said


def test_labels_of_ticks_are_translated_and_numbers_stay(fonts, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv(VARIABLE, "zh-TW")
    fonts.append(make_font(tmp_path / "small.ttf", "Small Test Sans", "秒隨機片段"))
    figure = new_figure(2)
    axes = figure.subplots()
    axes.set_xticks([0, 1], ["random segments", "tuned"])
    axes.set_ylim(0, 3)
    finish(axes, "", "seconds", "", legend=False)
    for _ in range(2):  # an axis sets its labels anew whenever it is drawn
        save_figure(figure, tmp_path / "figure.png")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["隨機片段", "tuned"]
    assert axes.get_xlabel() == "秒" and "1" in [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (VOICES, "100 個模擬的聲音（不是真人），每個 60 段語句，種子 0"),
        (f"the first 20 of {VOICES}", "100 個模擬的聲音（不是真人），每個 60 段語句，種子 0（只用前 20 位）"),
        ("  starts at 0.236", "  起點 0.236"),
        ("1 layer, 512 wide: 1,907,032 parameters, 35.9 GFLOP", "1 層，寬 512：1,907,032 個參數，35.9 GFLOP"),
        ("heads of state", "heads of state"),
        ("head of", "head of"),
        ("", ""),
    ],
)
def test_a_finished_text_is_found_by_its_pattern(english, chinese, monkeypatch):
    assert translate_finished(english) == english
    monkeypatch.setenv(VARIABLE, "zh-TW")
    assert translate_finished(english) == chinese
