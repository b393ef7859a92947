"""Names in any script in figures: with a font that has them, and with none."""

import logging

import matplotlib.image
import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from speaker_lib.evaluation.embeddings import Embeddings
from speaker_lib.plots import confusion_figure, lengths_figure, map_figure, save_figure, voices_figure
from speaker_lib.plots.style import Figure

NAMES = ("王小明", "陳美玲", "林志豪", "José")


@pytest.fixture
def fonts(monkeypatch, tmp_path):
    """Only Matplotlib's own fonts, and those whose paths are put into the list."""
    installed = []
    own = [entry for entry in font_manager.fontManager.ttflist if entry.name.startswith("DejaVu")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    return installed


def make_font(path, family: str, characters: str) -> str:
    """A font in which every character is a full square."""
    pen = TTGlyphPen(None)
    for to, corner in zip((pen.moveTo, *[pen.lineTo] * 3), ((0, 0), (0, 900), (900, 900), (900, 0)), strict=True):
        to(corner)
    pen.closePath()
    names = [".notdef", *(f"u{ord(c):X}" for c in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return str(path)


def confusion(names=NAMES):
    labels = torch.arange(40) % len(names)
    logits = torch.randn(40, len(names), generator=torch.Generator().manual_seed(0))
    return confusion_figure(logits, labels, names)


def shown(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def one_sentence(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_names_are_drawn_with_a_font_that_has_them(fonts, tmp_path, capsys, caplog, suffix):
    caplog.set_level(logging.WARNING)
    fonts.append(make_font(tmp_path / "small.ttf", "Small Test Sans", "王小明陳美玲林志豪"))
    save_figure(figure := confusion(), tmp_path / f"figure.{suffix}")  # a missing glyph is a warning, an error here
    assert set(shown(figure)) == set(NAMES)
    for label in figure.axes[0].get_yticklabels():
        assert ("Small Test Sans" in label.get_fontfamily()) == (label.get_text() != "José")
    assert capsys.readouterr().err == "" and not caplog.records


def test_the_glyphs_are_in_the_picture(fonts, tmp_path):
    """Full squares of the test's font, whose ink no letter and no empty box has."""
    fonts.append(make_font(tmp_path / "squares.ttf", "Squares Test Sans", "王"))
    ink = {}
    for name in ("王王王", "lll"):
        figure = Figure(figsize=(4, 2))
        figure.text(0.1, 0.3, name, fontsize=40)
        save_figure(figure, tmp_path / "figure.png")
        ink[name] = int((matplotlib.image.imread(tmp_path / "figure.png")[..., 0] < 0.5).sum())
    assert ink["王王王"] > 2 * ink["lll"]


@pytest.mark.parametrize("names", [NAMES, ("김민수", "さくら", "José", "$a$"), ("𓀀", "José")])
def test_without_a_font_the_speakers_are_numbered_and_a_sentence_says_why(fonts, tmp_path, capsys, names):
    save_figure(figure := confusion(names), tmp_path / "figure.png")
    foreign = [name for name in names if name not in ("José", "$a$")]
    numbers = {f"#{i}" for i in range(1, len(foreign) + 1)}
    assert set(shown(figure)) == numbers | {name.replace("$", r"\$") for name in names} - set(foreign)
    sentence = one_sentence(capsys)
    assert "so the figure shows numbers" in sentence and "install a Noto font" in sentence
    assert all(f"= {name}" in sentence for name in foreign)


def test_several_fonts_share_the_characters(fonts, tmp_path, capsys):
    fonts.append(make_font(tmp_path / "one.ttf", "One Test Sans", "王小"))
    fonts.append(make_font(tmp_path / "two.ttf", "Two Test Sans", "明"))
    fonts.append(tmp_path / "broken.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    save_figure(figure := confusion(("王小明", "b")), tmp_path / "figure.png")
    assert set(shown(figure)) == {"王小明", "b"} and capsys.readouterr().err == ""


def test_a_font_of_empty_boxes_is_not_taken(fonts, tmp_path, capsys):
    fonts.append(make_font(tmp_path / "boxes.ttf", "Last Resort", "王小明陳美玲林志豪"))
    save_figure(figure := confusion(), tmp_path / "figure.png")
    assert "#1" in shown(figure) and "numbers" in one_sentence(capsys)


def test_titles_show_what_they_can(fonts, tmp_path, capsys):
    """A source may hold a folder's name."""
    fonts.append(make_font(tmp_path / "title.ttf", "Title Test Sans", "錄"))
    figure = lengths_figure(np.arange(50, 90), 60, "recordings in $錄音$")
    save_figure(figure, tmp_path / "figure.png")
    assert figure.get_supxlabel().endswith(r"recordings in \$錄?\$")
    assert "the characters 音, so the figure shows ?" in one_sentence(capsys)


def test_maps_and_voices_number_speakers_too(fonts, tmp_path, capsys):
    vectors = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    names = tuple(NAMES[i % 4] for i in range(8))
    figure = map_figure(Embeddings(vectors, np.full(8, 90), tuple("abcdefgh"), ("",) * 8, names, "recordings", "recordings"))
    save_figure(figure, tmp_path / "map.png")
    assert sorted(text.get_text() for text in figure.axes[0].get_legend().texts) == ["#1", "#2", "#3", "José"]
    assert "numbers" in one_sentence(capsys)
    wave, mel = np.zeros(1600, np.float32), np.zeros((10, 40), np.float32)
    figure = voices_figure([wave, wave], [mel, mel], NAMES[:2])
    save_figure(figure, tmp_path / "voices.png")
    assert figure.axes[0].get_title() == "#1: waveform" and "#2 = 陳美玲" in one_sentence(capsys)


def test_the_fonts_of_this_machine_are_found(tmp_path, capsys):
    if not any("cjk" in path.lower() or "wqy" in path.lower() for path in font_manager.findSystemFonts()):
        pytest.skip("no Chinese font is installed here (Noto Sans CJK, WenQuanYi)")
    save_figure(figure := confusion(), tmp_path / "figure.png")
    assert set(shown(figure)) == set(NAMES) and capsys.readouterr().err == ""
