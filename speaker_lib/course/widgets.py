"""Notebook widgets: a slider over figures, a live plot of a run, a button that stops training.

Each is a thin shell around a plain function.  Without ipywidgets (a sentence says so), or in a notebook that is not running, it
is a still picture.
"""

import base64
import io
import struct
import threading
import time
from collections.abc import Callable
from types import ModuleType

from ..plots.runs import curves_figure
from ..plots.style import DPI, Figure, description
from ..training.run import Run
from ..utils.errors import RunError, SpeakerError
from ..utils.language import translate
from ..utils.optional import optional
from ..utils.progress import log

display = optional("IPython.display", "showing figures in a notebook").display

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(figure: Figure) -> None:
    """Shows a figure as a picture in the cell's output."""
    _show(figure)


def explore(figure_of: Callable[[float], Figure], label: str, most: float, start: float = 0, step: float = 1) -> None:
    """Shows ``figure_of(start)``, and a slider for the value, from 0 to ``most``; with a ``step`` of 1 it is an int."""
    first = figure_of(start)
    ipywidgets = find_ipywidgets("a slider")
    if ipywidgets is None:
        _show(first)
        return
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    slider = kind(value=start, min=0, max=most, step=step, description=label, layout={"width": "60%"})
    show_below(slider, first, figure_of)


def show_below(control: object, first: Figure, figure_of: Callable[[float], Figure]) -> None:
    """Shows the figure ``first`` below a widget, and in its place ``figure_of(value)`` when the widget's value changes."""
    import ipywidgets

    content = png(first)
    picture = ipywidgets.Image(value=content, format="png", layout={"width": f"{_size(content)['width']}px"})

    def redraw(change: dict[str, object]) -> None:
        picture.value = png(figure_of(change["new"]))

    control.observe(redraw, names="value")
    _show(first, ipywidgets.VBox([control, picture]))


class LivePlot:
    """A run's curves, redrawn after every validation, below a button that stops training and saves the run.

    In a lesson::

        live = LivePlot(run)
        train(run, corpus, callbacks=[live], stop=live.stop)
    """

    def __init__(self, run: Run) -> None:
        self.run, self.stop = run, threading.Event()
        self.button = None
        ipywidgets = find_ipywidgets("a button that stops training")
        if ipywidgets is not None and _buttons_work():
            self.button = ipywidgets.Button(
                description=translate("Stop training"), icon="stop", tooltip=translate("saves the run"), disabled=run.finished
            )
            self.button.on_click(lambda _: self._stop())
            # ipykernel 7.4 would send a click to the subshell that last used the widget: the one that is busy training.
            vars(self.button.comm).pop("_reply_subshell_id", None)
            display(self.button)
        self._rows = run.metrics()
        self._handle = _show(curves_figure(run, self._rows))

    def __call__(self, row: dict[str, float]) -> None:
        """Called by `train` with each new line of ``metrics.jsonl``."""
        self._rows = [*(before for before in self._rows if before["step"] < row["step"]), row]  # the folder may be gone by now
        bundle, metadata = _bundle(curves_figure(self.run, self._rows))
        self._handle.update(bundle, raw=True, metadata=metadata)

    def close(self) -> None:
        """Called by `train` at its end: there is nothing left to stop."""
        if self.button is not None:
            self.button.disabled = True

    def _stop(self) -> None:
        self.stop.set()
        self.close()


def replay(run: Run, seconds: float = 10.0) -> None:
    """Draws the curves of a trained run as they grew, in about so many seconds: for a class that cannot wait for the training.

    Raises RunError for a run without a validation.
    """
    rows = run.metrics()
    if not rows:
        raise RunError(f"{run.folder} has no validation to show: train it first.")
    handle = _show(curves_figure(run, rows[:1]))
    for count in range(2, len(rows) + 1):
        time.sleep(seconds / len(rows))
        bundle, metadata = _bundle(curves_figure(run, rows[:count]))
        handle.update(bundle, raw=True, metadata=metadata)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file of at most 256 colours: half the size or less, and no difference to see."""
    from PIL import Image  # which Matplotlib needs, too

    file, small = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    picture = Image.open(file).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def widget_view(widget: object) -> dict[str, object]:
    """The part of an output that a running notebook shows as a widget."""
    return {_WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}


def _show(figure: Figure, widget: object | None = None) -> object:
    bundle, metadata = _bundle(figure, widget)
    return display(bundle, raw=True, display_id=True, metadata=metadata)


def _bundle(figure: Figure, widget: object | None = None) -> tuple[dict[str, object], dict[str, object]]:
    """One output in two forms, a widget in a running notebook, else the picture; and the picture's size and description."""
    picture, text = png(figure), description(figure)
    bundle: dict[str, object] = {"image/png": base64.b64encode(picture).decode(), "text/plain": text}
    if widget is not None:
        bundle |= widget_view(widget)
    return bundle, {"image/png": {"alt": text, **_size(picture)}}


def _size(picture: bytes) -> dict[str, int]:
    """Half the pixels of a PNG file: sharp on a screen with two pixels to a point, and on a projector."""
    width, height = struct.unpack(">II", picture[16:24])  # of its first chunk, IHDR
    return {"width": width // 2, "height": height // 2}


def find_ipywidgets(purpose: str) -> ModuleType | None:
    """The package, or None after a sentence on what ``purpose`` needs."""
    try:
        return optional("ipywidgets", purpose)
    except SpeakerError as problem:
        log(translate("Shown without widgets: {problem}", problem=problem))
        return None


def _buttons_work() -> bool:
    """Whether the kernel handles clicks while a cell runs; before ipykernel 7 it handles them after the cell."""
    import ipykernel

    return int(ipykernel.__version__.split(".")[0]) >= 7
