"""What the command line and the lessons print about models and runs, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
import torch

from ..evaluation.ensemble import EnsembleEvaluation
from ..evaluation.identification import Evaluation, FullResult, most_confused, speaker_accuracy
from ..evaluation.verification import Verification
from ..models.cost import parameters_of
from ..training.run import Run
from ..utils.text import text_table
from .ablation import Ablation
from .ladder import Ladder
from .seeds import SeedResults, spread

COLUMNS = ("run", "parameters", "step/s", "crop", "full")


def comparison_table(runs: Sequence[Run]) -> str:
    """A line per run: parameters, steps per second of training, accuracy by both protocols (``-`` where not evaluated)."""
    return text_table([COLUMNS, *(_row(run) for run in runs)])


def seeds_summary(runs: Sequence[Run]) -> str:
    """What runs that differ in their seed alone reached on average, with the standard deviation over the seeds."""
    evaluations = [run.evaluation() for run in runs]
    values = {kind: np.array([found[kind]["accuracy"] for found in evaluations]) for kind in ("crop", "full")}
    means = ", ".join(f"{kind} {reached.mean():.4f} ± {spread(reached):.4f}" for kind, reached in values.items())
    return f"Mean over {len(runs)} seed{'s' * (len(runs) > 1)}, with the standard deviation between them: {means}."


def ablation_table(ablation: Ablation) -> str:
    """A line per variant: what it costs, and what it reached, mean and standard deviation over the seeds."""
    header = ("changes", "split", "parameters", "GFLOP/step", "seconds", "crop", "full")
    rows = [
        (
            " + ".join(change.name for change in variant.changes) or "none: the baseline",
            variant.split,
            f"{results.cost.parameters:,}",
            f"{results.cost.flops / 1e9:.1f}",
            f"{results.seconds.mean():.0f}",
            *_mean_and_spread(results),
        )
        for variant, results in ablation.results.items()
    ]
    return text_table([header, *rows])


def ladder_table(ladder: Ladder) -> str:
    """A line per step: what it changes, what it costs, and what it reached, mean and standard deviation over the seeds."""
    header = ("rung", "parameters", "step/s", "crop", "full")
    rows = [
        (
            step.label,
            f"{results.cost.parameters:,}",
            f"{results.steps / results.seconds.mean():.1f}",
            *_mean_and_spread(results),
        )
        for step, results in ladder.results.items()
    ]
    return text_table([header, *rows])


def evaluation_text(result: Evaluation, logits: torch.Tensor, labels: torch.Tensor, speakers: tuple[str, ...]) -> str:
    """An evaluation in words, with the speakers that are hardest to recognise and the pairs that are mistaken most often.

    ``logits`` (n, n_speakers) and ``labels`` (n,) are those of the ``full`` protocol.
    """
    return "\n".join(
        [
            f"{result.n_utterances:,} utterances, {len(speakers)} speakers, {result.n_parameters:,} parameters",
            f"crop  accuracy {result.crop.accuracy:.4f} ± {result.crop.std:.4f}, loss {result.crop.loss:.3f}  (one segment each)",
            *_full_lines(result.full, logits, labels, speakers),
        ]
    )


def ensemble_text(result: EnsembleEvaluation, logits: torch.Tensor, labels: torch.Tensor, speakers: tuple[str, ...]) -> str:
    """What several runs reach on average, in words, as `evaluation_text` says it of one."""
    return "\n".join(
        [
            f"{result.n_utterances:,} utterances, {len(speakers)} speakers, {len(result.runs)} runs, average of {result.average}",
            *_full_lines(result.full, logits, labels, speakers),
        ]
    )


def verification_text(result: Verification) -> str:
    """A verification in words."""
    costs = ", ".join(f"{cost:.4f} (p_target {p})" for p, cost in result.min_dcf.items())
    return "\n".join(
        [
            f"{result.n_targets:,} pairs of one speaker, {result.n_nontargets:,} of two; {result.n_utterances:,} utterances, "
            f"{result.n_speakers:,} speakers",
            f"pairs       {result.rule}",
            f"EER         {result.eer:.4f} at a cosine of {result.threshold:.4f}",
            f"minDCF      {costs}",
            f"trained on  {result.trained_on}",
            f"verified on {result.verified_on}",
            *([f"heard       {result.n_heard:,} of the utterances, in training: too easy"] if result.n_heard else []),
        ]
    )


def _full_lines(full: FullResult, logits: torch.Tensor, labels: torch.Tensor, speakers: tuple[str, ...]) -> list[str]:
    by_speaker = speaker_accuracy(logits, labels)  # (n_speakers,)
    hardest = torch.argsort(by_speaker.nan_to_num(nan=2.0), stable=True)[:5].tolist()
    confused = most_confused(logits, labels, speakers, most=5)
    return [
        f"full  accuracy {full.accuracy:.4f}, top 5 {full.top5:.4f}, loss {full.loss:.3f}  (whole)",
        "hardest speakers: " + ", ".join(f"{speakers[i]} {by_speaker[i]:.2f}" for i in hardest if not by_speaker[i].isnan()),
        "most confused: " + (", ".join(f"{speaker} taken for {other} x{count}" for speaker, other, count in confused) or "none"),
    ]


def verification_table(results: Mapping[str, Verification]) -> str:
    """A line per verification, by its name: equal error rate and detection costs, lower is better."""
    priors = list(next(iter(results.values())).min_dcf)
    rows = [(name, f"{r.eer:.4f}", *(f"{r.min_dcf[p]:.4f}" for p in priors)) for name, r in results.items()]
    return text_table([("run", "EER", *(f"minDCF {p}" for p in priors)), *rows])


def _mean_and_spread(results: SeedResults) -> list[str]:
    return [f"{values.mean():.3f} ± {spread(values):.3f}" for values in (results.crop, results.full)]


def _row(run: Run) -> tuple[str, ...]:
    speeds = [row["steps_per_second"] for row in run.metrics()]
    evaluation = run.evaluation()
    return (
        run.name,
        f"{parameters_of(run.preset.model):,}",
        f"{median(speeds):.1f}" if speeds else "-",
        f"{evaluation['crop']['accuracy']:.4f} ± {evaluation['crop']['std']:.4f}" if evaluation else "-",
        f"{evaluation['full']['accuracy']:.4f}" if evaluation else "-",
    )
