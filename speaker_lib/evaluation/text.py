"""Text of an evaluation or a verification, for the command line and the lessons."""

from collections.abc import Mapping, Sequence

import torch

from ..utils.text import text_table
from .ensemble import EnsembleEvaluation
from .identification import Evaluation, most_confused, speaker_accuracy
from .verification import Verification


def evaluation_text(
    result: Evaluation | EnsembleEvaluation, logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str]
) -> str:
    """An evaluation as text, with the hardest speakers and the most frequent confusions.

    ``logits`` (n, n_speakers) and ``labels`` (n,) are those of the ``full`` protocol.
    """
    asked = len(labels.unique())  # fewer where a speaker has no utterance held out
    counts = f"{result.n_utterances:,} utterances, {f'{asked} of ' * (asked < len(speakers))}{len(speakers)} speakers"
    full = f"full  accuracy {result.full.accuracy:.4f}, top 5 {result.full.top5:.4f}, loss {result.full.loss:.3f}  (whole)"
    if isinstance(result, EnsembleEvaluation):
        lines = [f"{counts}, {len(result.runs)} runs, average of {result.average}", full]
    else:
        crop = f"crop  accuracy {result.crop.accuracy:.4f} ± {result.crop.std:.4f}, loss {result.crop.loss:.3f}"
        lines = [f"{counts}, {result.n_parameters:,} parameters", f"{crop}  (one segment each)", full]
    accuracy = speaker_accuracy(logits, labels)  # (n_speakers,), NaN where a speaker has no utterance
    hardest = torch.argsort(accuracy, stable=True)[:5].tolist()  # NaN is sorted last
    lines.append("hardest speakers: " + ", ".join(f"{speakers[i]} {accuracy[i]:.2f}" for i in hardest if not accuracy[i].isnan()))
    confused = [f"{speaker} taken for {other} x{count}" for speaker, other, count in most_confused(logits, labels, speakers)]
    lines.append("most confused: " + (", ".join(confused) or "none"))
    return "\n".join(lines)


def verification_text(result: Verification) -> str:
    """A verification as text."""
    pairs = f"{result.n_targets:,} pairs of one speaker, {result.n_nontargets:,} of two"
    lines = [
        f"{pairs}; {result.n_utterances:,} utterances, {result.n_speakers:,} speakers",
        f"pairs       {result.rule}",
        f"EER         {result.eer:.4f} at a cosine of {result.threshold:.4f}",
        "minDCF      " + ", ".join(f"{cost:.4f} (p_target {p})" for p, cost in result.min_dcf.items()),
        f"trained on  {result.trained_on}",
        f"verified on {result.verified_on}",
    ]
    if result.n_heard:
        lines.append(f"seen        {result.n_heard:,} of the utterances, in training, so the errors are too low")
    return "\n".join(lines)


def verification_table(results: Mapping[str, Verification]) -> str:
    """A line per verification: equal error rate and minimum detection costs; lower is better."""
    priors = list(next(iter(results.values())).min_dcf)
    rows = [(name, f"{r.eer:.4f}", *(f"{r.min_dcf[p]:.4f}" for p in priors)) for name, r in results.items()]
    return text_table([("run", "EER", *(f"minDCF {p}" for p in priors)), *rows])
