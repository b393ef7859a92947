"""Notebook widgets: a slider over figures, a live plot of a run, a button that stops training.

Each is a thin shell around a plain function.  Without ipywidgets (a sentence says so), or in a notebook that is not running, it
is a still picture.
"""

import base64
import io
import threading
from collections.abc import Callable
from types import ModuleType

from ..plots.runs import curves_figure
from ..plots.style import Figure
from ..training.run import Run
from ..utils.errors import SpeakerError
from ..utils.optional import optional
from ..utils.progress import log

display = optional("IPython.display", "showing figures in a notebook").display

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(figure: Figure) -> None:
    """Shows a figure as a picture in the cell's output."""
    _show(png(figure))


def explore(figure_of: Callable[[int], Figure], label: str, most: int, start: int = 0) -> None:
    """Shows ``figure_of(start)``, and a slider for the value, from 0 to ``most``."""
    first = png(figure_of(start))
    ipywidgets = _ipywidgets("a slider")
    if ipywidgets is None:
        _show(first)
        return
    slider = ipywidgets.IntSlider(start, 0, most, description=label, layout={"width": "60%"})
    picture = ipywidgets.Image(value=first, format="png")

    def redraw(change: dict[str, object]) -> None:
        picture.value = png(figure_of(change["new"]))

    slider.observe(redraw, names="value")
    _show(first, ipywidgets.VBox([slider, picture]))


class LivePlot:
    """A run's curves, redrawn after every validation, below a button that stops training and saves the run.

    In a lesson::

        live = LivePlot(run)
        train(run, corpus, callbacks=[live], stop=live.stop)
    """

    def __init__(self, run: Run) -> None:
        self.run, self.stop = run, threading.Event()
        ipywidgets = _ipywidgets("a button that stops training")
        if ipywidgets is not None and _buttons_work():
            button = ipywidgets.Button(description="Stop training", icon="stop", tooltip="saves the run")
            button.on_click(lambda _: self.stop.set())
            # ipykernel 7.4 would send a click to the subshell that last used the widget: the one that is busy training.
            vars(button.comm).pop("_reply_subshell_id", None)
            display(button)
        self._rows = run.metrics()
        self._handle = _show(png(curves_figure(run, self._rows)))

    def __call__(self, row: dict[str, float]) -> None:
        """Called by `train` with each new line of ``metrics.jsonl``."""
        self._rows = [*(before for before in self._rows if before["step"] < row["step"]), row]  # the folder may be gone by now
        self._handle.update(_bundle(png(curves_figure(self.run, self._rows))), raw=True)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def widget_view(widget: object) -> dict[str, object]:
    """The part of an output that a running notebook shows as a widget."""
    return {_WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}


def _show(picture: bytes, widget: object | None = None) -> object:
    return display(_bundle(picture, widget), raw=True, display_id=True)


def _bundle(picture: bytes, widget: object | None = None) -> dict[str, object]:
    """One output in two forms: a widget in a running notebook, else the picture."""
    bundle: dict[str, object] = {"image/png": base64.b64encode(picture).decode(), "text/plain": "a figure"}
    return bundle if widget is None else bundle | widget_view(widget)


def _ipywidgets(purpose: str) -> ModuleType | None:
    try:
        return optional("ipywidgets", purpose)
    except SpeakerError as problem:
        log(f"The figure stands still: {problem}")
        return None


def _buttons_work() -> bool:
    """Whether the kernel handles clicks while a cell runs; before ipykernel 7 it handles them after the cell."""
    import ipykernel

    return int(ipykernel.__version__.split(".")[0]) >= 7
