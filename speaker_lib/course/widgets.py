"""Notebook widgets: a slider over figures, a live plot of a run, a button that stops training.

Each is a thin shell around a plain function.  Without ipywidgets, or in a notebook that is not running, it is a still picture.
"""

import base64
import importlib.util
import io
import threading
from collections.abc import Callable

from IPython.display import DisplayHandle, display
from matplotlib.figure import Figure

from ..plots.runs import curves_figure
from ..training.run import Run

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(figure: Figure) -> None:
    """Shows a figure as a picture in the cell's output."""
    _show(png(figure))


def explore(figure_of: Callable[[int], Figure], label: str, most: int, start: int = 0) -> None:
    """Shows ``figure_of(start)``, and a slider for the value, from 0 to ``most``."""
    first = png(figure_of(start))
    if importlib.util.find_spec("ipywidgets") is None:
        _show(first)
        return
    import ipywidgets

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
        if importlib.util.find_spec("ipywidgets") is not None and _buttons_work():
            import ipywidgets

            button = ipywidgets.Button(description="Stop training", icon="stop", tooltip="saves the run")
            button.on_click(lambda _: self.stop.set())
            # ipykernel 7.4 would send a click to the subshell that last used the widget: the one that is busy training.
            vars(button.comm).pop("_reply_subshell_id", None)
            display(button)
        self._handle = _show(png(curves_figure(run)))

    def __call__(self, row: dict[str, float]) -> None:
        """Called by `train` with each new line of ``metrics.jsonl``."""
        self._handle.update(_bundle(png(curves_figure(self.run))), raw=True)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def widget_view(widget: object) -> dict[str, object]:
    """The part of an output that a running notebook shows as a widget."""
    return {_WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}


def _show(picture: bytes, widget: object | None = None) -> DisplayHandle:
    return display(_bundle(picture, widget), raw=True, display_id=True)


def _bundle(picture: bytes, widget: object | None = None) -> dict[str, object]:
    """One output in two forms: a widget in a running notebook, else the picture."""
    bundle: dict[str, object] = {"image/png": base64.b64encode(picture).decode(), "text/plain": "a figure"}
    return bundle if widget is None else bundle | widget_view(widget)


def _buttons_work() -> bool:
    """Whether the kernel handles clicks while a cell runs; before ipykernel 7 it handles them after the cell."""
    import ipykernel

    return int(ipykernel.__version__.split(".")[0]) >= 7
