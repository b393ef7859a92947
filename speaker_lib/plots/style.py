"""The style of every figure: colours that keep their meaning, one width, a line on the data, and a description.

The colours are those of Okabe & Ito, which colour-blind readers can tell apart; markers, hatches and dashes do the same in print.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..utils.errors import RunError
from ..utils.files import replacing

WIDTH = 9.0  # inches, of every figure: a column of one width
DPI = 200  # of what is saved or shown; a page shows it at half its pixels
GREY = "#777777"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = COLOURS
MARKERS = "osD^vPX"
# A model and a change keep their colours throughout the course.
MODELS = {"baseline": BLUE, "tuned": ORANGE}
CHANGES = {"d_model": GREEN, "nhead": PINK, "num_layers": YELLOW, "activation": SKY}


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
    return figure.get_label() or "a figure"


def model_colour(name: str, position: int) -> str:
    """The colour of a run by its name, ``tuned`` or ``tuned-short``; any other gets one that neither of the two models has."""
    others = [colour for colour in COLOURS if colour not in MODELS.values()]
    return MODELS.get(name.removesuffix("-short").removesuffix("-untrained"), others[position % len(others)])


def change_colours(names: Sequence[str]) -> list[str]:
    """The colour of each change; one that is not of the report gets a colour that none of those has."""
    rest = iter([BLACK, ORANGE, BLUE, GREY] * len(names))
    return [CHANGES[name] if name in CHANGES else next(rest) for name in names]


def plain(name: str) -> str:
    """A name for Matplotlib to show as it is: text between two dollar signs would become a formula."""
    return name.replace("$", r"\$")


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
    with replacing(out) as file:
        figure.savefig(file, format=suffix, dpi=DPI)


def figure_format(out: str | os.PathLike[str]) -> str:
    """The format of a file name's ending, such as ``png``. Raises RunError if figures have no such format."""
    formats = Figure().canvas.get_supported_filetypes()
    suffix = Path(out).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise RunError(f"{out} does not end in a format for figures: choose one of {', '.join(sorted(formats))}.")
    return suffix
