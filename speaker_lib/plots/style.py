"""What all figures share: colours that keep their meaning, one width, labels in any script, a description, and the file.

The colours are those of Okabe & Ito, which colour-blind readers can tell apart; markers, hatches and dashes do the same in print.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..utils.errors import RunError
from ..utils.files import make_folder, replacing
from ..utils.language import ENGLISH, language, translate, translate_finished
from ..utils.optional import optional
from ..utils.progress import log
from .fonts import INSTALL, find_families

matplotlib = optional("matplotlib", "drawing figures")
Axes = optional("matplotlib.axes", "drawing figures").Axes
Axis = optional("matplotlib.axis", "drawing figures").Axis
Text = optional("matplotlib.text", "drawing figures").Text
_Figure = optional("matplotlib.figure", "drawing figures").Figure

WIDTH = 9.0  # inches, of every figure: a column of one width
DPI = 200  # of what is saved or shown; a page shows it at half its pixels
GREY = "#777777"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = COLOURS
MARKERS = "osD^vPX"
# A model and a change keep their colours throughout the course.
MODELS = {"baseline": BLUE, "tuned": ORANGE}
CHANGES = {"d_model": GREEN, "nhead": PINK, "num_layers": YELLOW, "activation": SKY}


class Figure(_Figure):
    """A figure in the reader's language, whose texts may be in any script that a font here has. Others are drawn as ``?``."""

    def draw(self, renderer: object) -> None:
        """Translates all texts and finds fonts for them, then draws. Matplotlib calls it."""
        if language() != ENGLISH:
            self._translate()
        unknown = set()
        for text in self.findobj(Text):
            content, families = text.get_text(), text.get_fontfamily()
            if content.isascii():
                continue
            found, lacking = find_families(content, families)
            if found:
                text.set_fontfamily([*families, *found])
            if lacking:
                text.set_text("".join("?" if c in lacking else c for c in content))
                unknown |= lacking
        if unknown:
            log(f"No font here has the characters {''.join(sorted(unknown))}, so the figure shows ? for each: {INSTALL}.")
        super().draw(renderer)

    def _translate(self) -> None:
        """Without a font for the language all texts stay English, which is better than ``?``."""
        texts = self.findobj(Text)
        if find_families("".join(translate_finished(text.get_text()) for text in texts), matplotlib.rcParams["font.family"])[1]:
            _say_no_font(language())
            return
        for axis in self.findobj(Axis):  # labels of ticks are set anew whenever an axis is drawn
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if (other := list(map(translate_finished, labels))) != labels:
                axis.set_ticklabels(other)
        for text in texts:
            text.set_text(translate_finished(text.get_text()))


@cache
def _say_no_font(chosen: str) -> None:
    said = "No font here has the characters of {language}, so figures keep their English labels: {install}."
    log(translate(said, language=chosen, install=translate(INSTALL)))


def new_figure(height: float, source: str = "") -> Figure:
    """A figure of the course's width and ``height`` inches, with a small line on its data at the bottom right."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    if source:
        figure.supxlabel(plain(source), x=0.995, ha="right", fontsize=7, color=GREY)
    return figure


def describe(figure: Figure, text: str) -> Figure:
    """The figure with a description for readers who do not see it; `description` returns it, notebooks carry it."""
    figure.set_label(text)
    return figure


def description(figure: Figure) -> str:
    """What `describe` said of a figure."""
    return translate_finished(figure.get_label()) or translate("a figure")


def model_colour(name: str, position: int) -> str:
    """The colour of a run by its name, ``tuned`` or ``tuned-short``; any other gets one that neither of the two models has."""
    others = [colour for colour in COLOURS if colour not in MODELS.values()]
    return MODELS.get(name.removesuffix("-short").removesuffix("-untrained"), others[position % len(others)])


def change_colours(names: Sequence[str]) -> list[str]:
    """The colour of each change; one that is not of the report gets a colour that none of those has."""
    rest = iter([BLACK, ORANGE, BLUE, GREY] * len(names))
    return [CHANGES[name] if name in CHANGES else next(rest) for name in names]


def label_names(names: Sequence[str]) -> list[str]:
    """The names as a figure can show them. One with a character that no font has becomes a number; a sentence says which."""
    lacking = find_families("".join(names), matplotlib.rcParams["font.family"])[1]
    numbers = {name: f"#{i}" for i, name in enumerate((n for n in names if lacking & set(n)), 1)}
    if numbers:
        listed = ", ".join(f"{number} = {name}" for name, number in numbers.items())
        log(f"No font here has all characters of these names, so the figure shows numbers ({listed}): {INSTALL}.")
    return [numbers.get(name) or plain(name) for name in names]


def plain(name: str) -> str:
    """A name for Matplotlib to show as it is.

    Text between two dollar signs would become a formula, and a legend leaves out a label that begins with an underscore.
    """
    return " " * name.startswith("_") + name.replace("$", r"\$")


def finish(axes: Axes, title: str, x: str, y: str, legend: bool = True) -> None:
    """Adds the title, the labels of both axes with their units, a faint grid and the legend."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if legend:
        axes.legend(fontsize=8)


def save_figure(figure: Figure, out: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of its file name. Raises RunError as `figure_format` does, and WriteError."""
    suffix = figure_format(out)
    make_folder(Path(out).parent)
    with replacing(out) as file:
        figure.savefig(file, format=suffix, dpi=DPI)


def figure_format(out: str | os.PathLike[str]) -> str:
    """The format of a file name's ending, such as ``png``. Raises RunError if figures have no such format."""
    formats = Figure().canvas.get_supported_filetypes()
    suffix = Path(out).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise RunError(f"{out} does not end in a format for figures: choose one of {', '.join(sorted(formats))}.")
    return suffix
