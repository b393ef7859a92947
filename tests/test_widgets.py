"""Widgets on an old kernel; test_browser has them in a page, test_colab where they are missing."""

import ipykernel
import pytest

from speaker_lib import PRESETS, Run
from speaker_lib.course import widgets


@pytest.fixture
def displayed(monkeypatch) -> list[object]:
    """What a notebook would have shown."""
    shown: list[object] = []
    monkeypatch.setattr(widgets, "display", lambda thing, **_: shown.append(thing))
    return shown


@pytest.mark.parametrize(("version", "kinds"), [("6.17.1", ["dict"]), ("7.4.0", ["Button", "dict"])])
def test_a_button_is_shown_only_where_clicks_work_while_a_cell_runs(displayed, corpus, tmp_path, monkeypatch, version, kinds):
    monkeypatch.setattr(ipykernel, "__version__", version)
    widgets.LivePlot(Run.create(tmp_path / "run", PRESETS["laptop_baseline"], corpus))
    assert [type(thing).__name__ for thing in displayed] == kinds and "image/png" in displayed[-1]
