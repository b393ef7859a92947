"""Figures of runs: every point inside the axes, a colour that stays, and the report's curves only where they belong."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from speaker_lib.plots.experiments import measuring_figure
from speaker_lib.plots.runs import comparison_figure, curves_figure
from speaker_lib.plots.style import BLUE, CHANGES, MODELS, ORANGE, change_colours, description, model_colour

from .test_ablation import additive, invented


def a_run(name: str, accuracies: list[float], losses: list[float], n_speakers: int = 10) -> SimpleNamespace:
    """What the figures ask of a run."""
    rows = [
        {"step": 100 * (i + 1), "valid_accuracy": a, "valid_loss": b, "train_accuracy": a, "train_loss": b}
        for i, (a, b) in enumerate(zip(accuracies, losses, strict=True))
    ]
    preset = SimpleNamespace(model=SimpleNamespace(n_speakers=n_speakers), train=SimpleNamespace(total_steps=1_000))
    return SimpleNamespace(name=name, preset=preset, data=SimpleNamespace(source="invented"), metrics=lambda: rows)


def assert_nothing_is_cut(figure) -> None:
    for axes in figure.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            values = np.asarray(line.get_ydata(), dtype=float)
            assert (values > low).all() and (values < high).all(), (axes.get_title(), line.get_label())


@pytest.mark.parametrize(("accuracies", "losses"), [([0.0, 1.0], [2.3, 0.01]), ([0.1], [9.9]), ([0.5] * 9, [2.0] * 9)])
def test_no_point_is_cut(accuracies, losses):
    run = a_run("baseline", accuracies, losses)
    for figure in (curves_figure(run), comparison_figure([run]), comparison_figure([run], report=True)):
        assert_nothing_is_cut(figure)


def test_before_the_first_validation_the_axes_are_those_of_the_end():
    accuracy, loss = curves_figure(a_run("baseline", [], [])).axes
    assert accuracy.get_ylim()[1] > 1 and loss.get_ylim()[1] == pytest.approx(1.1 * math.log(10))
    assert accuracy.get_xlim()[1] >= 1_000 and "No validation yet" in description(curves_figure(a_run("baseline", [], [])))


def colours(figure) -> dict[str, str]:
    return {line.get_label(): line.get_color() for line in figure.axes[0].lines if line.get_label() != "guessing"}


def test_a_model_keeps_its_colour():
    baseline, tuned = a_run("baseline", [0.3], [1.0]), a_run("tuned-short", [0.6], [0.5])
    assert colours(comparison_figure([tuned, baseline])) == {"baseline": BLUE, "tuned-short": ORANGE}
    assert colours(curves_figure(tuned))["validation"] == colours(curves_figure(tuned))["training"] == ORANGE
    measured = measuring_figure(invented(additive(0.1, 0.1, 0.1, 0.1))).axes[0].containers
    assert len(measured) == 2 and {model_colour("mine", i) for i in range(9)}.isdisjoint(MODELS.values())


def test_a_change_keeps_its_colour_and_a_fifth_gets_its_own():
    named = change_colours(["d_model", "dim_feedforward", "activation"])
    assert (named[0], named[2]) == (CHANGES["d_model"], CHANGES["activation"]) and named[1] not in CHANGES.values()
    assert set(CHANGES.values()).isdisjoint(MODELS.values())


def test_the_report_s_curves_stand_beside_models_of_its_task_alone():
    few, all_of_hw4 = (a_run("baseline", [0.3], [1.0], n_speakers) for n_speakers in (100, 600))
    assert len(colours(comparison_figure([few]))) == 1 and len(colours(comparison_figure([all_of_hw4]))) == 3
    figure = comparison_figure([few, a_run("tuned", [0.2, 0.87], [1.0, 0.4])])
    assert figure.get_suptitle() == "Best validation accuracy on segments: baseline 0.30, tuned 0.87"
    assert figure.get_supxlabel() == "invented"
    labels = [[line.get_label() for line in one.axes[0].lines] for one in (comparison_figure([few]), figure)]
    assert ["guessing" in names for names in labels] == [True, False]  # with as many speakers in all runs
