"""Text of an evaluation or a verification, for the command line and the lessons."""

from collections.abc import Mapping, Sequence

import torch

from ..training.run import Run
from ..utils.errors import escape_controls
from ..utils.language import translate, translate_finished
from ..utils.text import text_table
from .book import Reference
from .enrolment import Recognised, Threshold, cohort_of
from .ensemble import EnsembleEvaluation
from .identification import Evaluation, most_confused, speaker_accuracy
from .recordings import Identified
from .verification import Verification


def evaluation_text(
    result: Evaluation | EnsembleEvaluation, logits: torch.Tensor, labels: torch.Tensor, speakers: Sequence[str]
) -> str:
    """An evaluation as text, with the hardest speakers and the most frequent confusions.

    ``logits`` (n, n_speakers) and ``labels`` (n,) are those of the ``full`` protocol.
    """
    asked = len(labels.unique())  # fewer where a speaker has no utterance held out
    of = "" if asked == len(speakers) else translate("{n} of ", n=asked)
    counts = translate("{n:,} utterances, {of}{speakers} speakers", n=result.n_utterances, of=of, speakers=len(speakers))
    full = translate("full  accuracy {accuracy:.4f}, top 5 {top5:.4f}, loss {loss:.3f}  (whole)", **vars(result.full))
    if isinstance(result, EnsembleEvaluation):
        lines = [f"{counts}, {len(result.runs)} runs, average of {result.average}", full]
    else:
        crop = "crop  accuracy {accuracy:.4f} (SD over cuts {std:.4f}), loss {loss:.3f}  (one segment each)"
        parameters = translate("{n:,} parameters", n=result.n_parameters)
        lines = [counts + translate(", ") + parameters, translate(crop, **vars(result.crop)), full]
    accuracy = speaker_accuracy(logits, labels)  # (n_speakers,), NaN where a speaker has no utterance
    ranking = [i for i in torch.argsort(accuracy, stable=True).tolist() if not accuracy[i].isnan()]
    tied = sum(accuracy[i] == accuracy[ranking[4]] for i in ranking[5:]) if len(ranking) > 5 else 0
    hardest = translate(", ").join(f"{speakers[i]} {accuracy[i]:.2f}" for i in ranking[:5])
    more = translate(" (and {n} more like the last)", n=tied) if tied else ""
    lines.append(translate("hardest speakers: {speakers}", speakers=hardest + more))
    confused = [
        translate("{speaker} taken for {other} x{count}", speaker=speaker, other=other, count=count)
        for speaker, other, count in most_confused(logits, labels, speakers)
    ]
    lines.append(translate("most confused: {pairs}", pairs=translate(", ").join(confused) or translate("none")))
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
    elif result.n_same_names:
        lines.append(
            f"seen        {result.n_same_names:,} speakers have names of the training data's, but none of these utterances"
        )
    if not result.training_found:
        lines.append("seen        cannot be told: the training data are not where they were, or have changed")
    return "\n".join(lines)


def verification_table(results: Mapping[str, Verification]) -> str:
    """A line per verification: equal error rate and minimum detection costs; lower is better."""
    priors = list(next(iter(results.values())).min_dcf)
    rows = [(translate_finished(name), f"{r.eer:.4f}", *(f"{r.min_dcf[p]:.4f}" for p in priors)) for name, r in results.items()]
    return text_table([("run", "EER", *(f"minDCF {p}" for p in priors)), *rows])


def identified_text(found: Sequence[Identified], run: Run) -> str:
    """The most probable speakers of one recording, or a line per recording; and what the probabilities cannot say."""
    if len(found) == 1:
        lines = [f"{probability:7.4f}  {speaker}" for speaker, probability in found[0].best]
    else:
        rows = [(escape_controls(one.recording), one.best[0][0], f"{one.best[0][1]:.4f}") for one in found]
        lines = [text_table([("recording", "speaker", "probability"), *rows])]
    n_speakers = len(run.data.speakers)
    lines.append(
        f"\nOne of the {n_speakers:,} speakers of the training data is always named; `enrol` makes a book that can say nobody."
    )
    confidence = (run.evaluation() or {}).get("confidence")
    if not confidence:
        lines.append("`evaluate` this run once, and held-out utterances will stand here for comparison.")
    else:
        low, median = confidence[1], confidence[10]
        below = sum(one.best[0][1] < low for one in found)
        which = (
            f"{below:,} of the {len(found):,} recordings have"
            if len(found) > 1
            else "this one has"
            if below
            else "this one has not"
        )
        lines.append(
            f"Of held-out utterances 95 % have a probability of {low:.2f} or more, half {median:.2f}; {which} a lower one."
        )
    return "\n".join(lines)


def recognised_text(found: Sequence[Recognised], threshold: float) -> str:
    """A line per recording: its name in the book or nobody's, the score, and who is most similar."""
    rows = [
        (escape_controls(one.recording), one.name(threshold) or "nobody in the book", f"{score:.3f}", similar)
        for one in found
        for similar, score in one.scores[:1]
    ]
    return text_table([("recording", "name", "score", "most similar"), *rows])


def score_kind(reference: Reference | None) -> str:
    """What a score is, in words."""
    return translate("cosine" if cohort_of(reference) is None else "normalised cosine (AS-norm)")


def threshold_text(threshold: Threshold, reference: Reference) -> str:
    """The error rates that a threshold stands for, and what they were counted on."""
    rates = {"accepts": threshold.false_accepts, "rejects": threshold.false_rejects}
    if threshold.n_people == threshold.n_recordings == 1:
        errors = translate("{accepts:.1%} of pairs of two people reach it, {rejects:.1%} of one person's do not", **rates)
    else:
        said = (
            "{accepts:.1%} of strangers reach it in a book of {people} by {recordings}, "
            "{rejects:.1%} of enrolled people are rejected or taken for another"
        )
        people = translate("1 person" if threshold.n_people == 1 else "{n} people", n=threshold.n_people)
        each = translate("1 recording each" if threshold.n_recordings == 1 else "{n} recordings each", n=threshold.n_recordings)
        errors = translate(said, people=people, recordings=each, **rates)
    kind = score_kind(reference)
    found = translate("Threshold {score:.3f}, a {kind}: {errors}.", score=threshold.score, kind=kind, errors=errors)
    said = "Counted on {n:,} {source}; another room or microphone errs more often."
    return f"{found}\n{translate(said, n=threshold.n_tests, source=translate_finished(reference.source))}"
