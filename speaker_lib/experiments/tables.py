"""Text tables of runs, of an ablation, and of a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from ..models.cost import parameters_of
from ..training.run import Run
from ..utils.language import translate
from ..utils.text import text_table
from .ablation import Ablation
from .classical import ClassicalResult, saved_results
from .ladder import Ladder
from .seeds import SeedResults, spread

CROP = "crop (SD over cuts)"
SEEDS = ("crop ± SD", "full ± SD")  # over the seeds


def comparison_table(runs: Sequence[Run], classical: Sequence[ClassicalResult] = ()) -> str:
    """A line per run: parameters, steps per second of training, accuracy by both protocols (``-`` where not evaluated).

    In brackets: the standard deviation over the cuts of the same utterances.
    Below them a line per baseline without a network: those of ``classical``, and what ``evaluate --classical`` saved with a run.
    """
    evaluations = [run.evaluation() for run in runs]
    rows = [_row(run, evaluation) for run, evaluation in zip(runs, evaluations, strict=True)]
    saved = [result for run, evaluation in zip(runs, evaluations, strict=True) for result in saved_results(run, evaluation)]
    found = dict.fromkeys([*classical, *saved])
    baselines = [(r.title, "-", "-", f"{r.crop:.4f} ({r.crop_std:.4f})", f"{r.full:.4f}") for r in found]
    return text_table([("run", "parameters", "step/s", CROP, "full"), *rows, *baselines])


def classical_table(results: Sequence[ClassicalResult]) -> str:
    """A line per set of statistics: accuracy by both protocols, and the seconds that a processor core trained."""
    rows = [(r.title, f"{r.crop:.4f} ({r.crop_std:.4f})", f"{r.full:.4f}", f"{r.cpu_seconds:.1f}") for r in results]
    return text_table([("without a network", CROP, "full", "CPU seconds"), *rows])


def seeds_summary(runs: Sequence[Run]) -> str:
    """What runs that differ in their seed alone reached on average, with the standard deviation over the seeds."""
    evaluations = [run.evaluation() for run in runs]
    values = {kind: np.array([found[kind]["accuracy"] for found in evaluations]) for kind in ("crop", "full")}
    means = ", ".join(f"{kind} {reached.mean():.4f} ± {spread(reached):.4f}" for kind, reached in values.items())
    return f"Mean over {len(runs)} seed{'s' * (len(runs) > 1)} ± the standard deviation between them: {means}."


def ablation_table(ablation: Ablation, classical: Sequence[ClassicalResult] = ()) -> str:
    """A line per variant: what it costs, and what it reached, mean and standard deviation over the seeds.

    Below them a line per baseline without a network, which is the same for every seed.
    """
    header = ("changes", "split", "parameters", "GFLOP/step", "seconds", *SEEDS)
    rows = [
        (
            " + ".join(change.name for change in variant.changes) or translate("none: the baseline"),
            variant.split,
            f"{results.cost.parameters:,}",
            f"{results.cost.flops / 1e9:.1f}",
            f"{results.seconds.mean():.0f}",
            *_mean_and_spread(results),
        )
        for variant, results in ablation.results.items()
    ]
    baselines = [(r.title, "random", "-", "-", f"{r.cpu_seconds:.0f}", *_accuracies(r)) for r in classical]
    return text_table([header, *rows, *baselines])


def ladder_table(ladder: Ladder, classical: Sequence[ClassicalResult] = ()) -> str:
    """A line per step: what it changes, what it costs, and what it reached, mean and standard deviation over the seeds.

    Below them a line per baseline without a network, which is the same for every seed.
    """
    header = ("rung", "parameters", "step/s", *SEEDS)
    rows = [
        (
            translate(step.label),
            f"{results.cost.parameters:,}",
            f"{results.steps / results.seconds.mean():.1f}",
            *_mean_and_spread(results),
        )
        for step, results in ladder.results.items()
    ]
    baselines = [(r.title, "-", "-", *_accuracies(r)) for r in classical]
    return text_table([header, *rows, *baselines])


def _mean_and_spread(results: SeedResults) -> list[str]:
    return [f"{values.mean():.3f} ± {spread(values):.3f}" for values in (results.crop, results.full)]


def _accuracies(result: ClassicalResult) -> list[str]:
    return [f"{result.crop:.3f}", f"{result.full:.3f}"]


def _row(run: Run, evaluation: dict[str, object] | None) -> tuple[str, ...]:
    speeds = [row["steps_per_second"] for row in run.metrics()]
    return (
        run.name,
        f"{parameters_of(run.preset.model):,}",
        f"{median(speeds):.1f}" if speeds else "-",
        f"{evaluation['crop']['accuracy']:.4f} ({evaluation['crop']['std']:.4f})" if evaluation else "-",
        f"{evaluation['full']['accuracy']:.4f}" if evaluation else "-",
    )
