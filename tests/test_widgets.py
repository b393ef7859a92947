"""Widgets on an old kernel; test_browser has them in a page, test_colab where they are missing."""

import base64
import io

import ipykernel
import matplotlib.image
import pytest

from speaker_lib import PRESETS, Run, TrainConfig, train
from speaker_lib.course import widgets
from speaker_lib.plots import schedule_figure
from speaker_lib.utils.errors import RunError


class Handle:
    """Of a display that nobody sees."""

    def update(self, *_: object, **__: object) -> None:
        pass


@pytest.fixture
def displayed(monkeypatch) -> list[object]:
    """What a notebook would have shown."""
    shown: list[object] = []
    monkeypatch.setattr(
        widgets, "display", lambda thing, **options: (shown.extend([thing, options.get("metadata")]), Handle())[1]
    )
    return shown


@pytest.mark.parametrize(("version", "kinds"), [("6.17.1", ["dict"]), ("7.4.0", ["Button", "dict"])])
def test_a_button_is_shown_only_where_clicks_work_while_a_cell_runs(displayed, corpus, tmp_path, monkeypatch, version, kinds):
    monkeypatch.setattr(ipykernel, "__version__", version)
    widgets.LivePlot(Run.create(tmp_path / "run", PRESETS["laptop_baseline"], corpus))
    assert [type(thing).__name__ for thing in displayed[::2]] == kinds and "image/png" in displayed[-2]


def test_a_figure_is_shown_at_half_its_pixels_with_a_description(displayed):
    widgets.show(schedule_figure(TrainConfig()))
    bundle, metadata = displayed
    height, width, _ = matplotlib.image.imread(io.BytesIO(base64.b64decode(bundle["image/png"]))).shape
    about = metadata["image/png"]
    assert (about["width"], about["height"]) == (width // 2, height // 2) == (900, 280)
    assert (
        about["alt"] == bundle["text/plain"] == "The learning rate rises to 0.001 in 1,000 steps and falls to 0 at step 70,000."
    )


def test_a_picture_of_few_colours_looks_the_same(displayed):
    figure, file = schedule_figure(TrainConfig()), io.BytesIO()
    figure.savefig(file, format="png", dpi=200)
    small = widgets.png(figure)
    assert len(small) < len(file.getvalue())
    before, after = (matplotlib.image.imread(io.BytesIO(content))[..., :3] for content in (file.getvalue(), small))
    assert abs(before - after).mean() < 0.002 and (after[0, 0] == 1.0).all()  # white stays white


def test_the_button_has_nothing_to_stop_after_the_end(displayed, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ipykernel, "__version__", "7.4.0")
    steps = {"train.total_steps": 4, "train.valid_steps": 2, "train.batch_size": 4, "train.warmup_steps": 1}
    preset = PRESETS["laptop_baseline"].override(steps)
    run = Run.create(tmp_path / "run", preset, corpus)
    live = widgets.LivePlot(run)
    assert not live.button.disabled
    train(run, corpus, callbacks=[live], stop=live.stop)
    assert live.button.disabled and widgets.LivePlot(run).button.disabled


def test_a_stored_run_is_drawn_as_it_grew(displayed, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Handle, "update", lambda _, bundle, **__: displayed.append(bundle))
    steps = {"train.total_steps": 6, "train.valid_steps": 2, "train.batch_size": 4, "train.warmup_steps": 1}
    run = Run.create(tmp_path / "run", PRESETS["laptop_baseline"].override(steps), corpus)
    with pytest.raises(RunError, match="has no validation to show: train it first"):
        widgets.replay(run)
    train(run, corpus)
    widgets.replay(run, seconds=0)
    said = [shown["text/plain"] for shown in displayed if isinstance(shown, dict) and "text/plain" in shown]
    assert [f"At step {step}:" in text for step, text in zip((2, 4, 6), said, strict=True)] == [True] * 3, said
