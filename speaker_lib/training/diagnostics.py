"""Diagnostics of training: one sentence if the loss is NaN, if the model only guesses, or if no model can name a speaker."""

from __future__ import annotations

import math

import torch

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..utils.errors import TrainingDiverged, escape_controls
from .state import TrainState

HIGH_LEARNING_RATE = 3e-3  # above it the learning rate is the most likely cause, with AdamW and a Transformer


def check_finite(loss: float, state: TrainState, preset: Preset) -> None:
    """Raises TrainingDiverged if this loss or a weight is NaN or infinite: such a state must not be saved."""
    if math.isfinite(loss) and all(bool(p.isfinite().all()) for p in state.model.parameters()):
        return
    # Measured: a run that diverges in bfloat16 converges in float32, and in bfloat16 with gradient clipping.
    cause = _known_cause(preset) or "the gradients grew without bound (try train.clip_norm=5, or train.precision=float32)"
    raise TrainingDiverged(f"training diverged to NaN at step {state.step}, likely because {cause}; the last save is intact.")


def split_warnings(corpus: Corpus, training: torch.Tensor, validation: torch.Tensor, split: str) -> list[str]:
    """Sentences on speakers who are missing on one side of a split: `ceiling_warning`, `coverage_warning`."""
    return [*filter(None, (ceiling_warning(corpus, training, validation), coverage_warning(corpus, validation, split)))]


def ceiling_warning(corpus: Corpus, training: torch.Tensor, validation: torch.Tensor) -> str | None:
    """A sentence if all utterances of some speakers are held out: no model can name them, which limits the accuracy.

    ``training`` and ``validation`` are indices of labelled utterances, (n,) each.
    """
    learned, asked = (corpus.labelled.labels[part.numpy()].tolist() for part in (training, validation))
    missing = set(asked) - set(learned)
    if not missing:
        return None
    ceiling = sum(label not in missing for label in asked) / len(asked)
    return (
        f"No utterance of {len(missing)} speakers is left for training ({_few_names(corpus, missing)}), so the validation "
        f"accuracy cannot exceed {ceiling:.4f}: add utterances of them, or choose another train.valid_fraction or "
        "train.split_seed."
    )


def coverage_warning(corpus: Corpus, validation: torch.Tensor, split: str) -> str | None:
    """A sentence if some speakers have no utterance among those held out, ``validation`` (n,): they are never evaluated."""
    missing = set(range(corpus.n_speakers)) - set(corpus.labelled.labels[validation.numpy()].tolist())
    if not missing:
        return None
    advice = "record them on a second occasion" if split == "session" else "choose a larger train.valid_fraction"
    return (
        f"No utterance of {len(missing)} speakers is held out ({_few_names(corpus, missing)}), so the validation accuracy is "
        f"that of the other {corpus.n_speakers - len(missing)}: {advice}."
    )


def _few_names(corpus: Corpus, labels: set[int]) -> str:
    return ", ".join(escape_controls(corpus.speakers[i]) for i in sorted(labels)[:5]) + ", …" * (len(labels) > 5)


def chance_warning(rows: list[dict[str, float]], n_validated: int, preset: Preset) -> str | None:
    """A sentence if the model guesses at the last validation, and did not at the one before."""
    *before, now = (_guesses(row, n_validated, preset) for row in rows[-2:])
    if not now or any(before):
        return None
    cause = _known_cause(preset)
    if cause is None and preset.model.head == "two_layer" and preset.model.activation == "sigmoid":
        cause = "a Sigmoid head learns slowly (try more steps, or model.activation=relu)"
    unknown = "the steps are too few or the features do not belong to their labels (try more steps; run `check` on the data)"
    return (
        f"At step {rows[-1]['step']} the validation accuracy is {rows[-1]['valid_accuracy']:.4f}, no better than guessing "
        f"among {preset.model.n_speakers} speakers, likely because {cause or unknown}."
    )


def _guesses(row: dict[str, float], n_validated: int, preset: Preset) -> bool:
    """Whether a validation after the warmup is within three standard deviations of chance, and at most twice chance."""
    chance = 1 / preset.model.n_speakers
    spread = math.sqrt(chance * (1 - chance) / n_validated)
    settled = row["step"] >= max(2 * preset.train.warmup_steps, preset.train.total_steps // 10)
    # With few utterances, three standard deviations reach far above chance, where a model has clearly learned.
    return chance < 1 and settled and row["valid_accuracy"] <= min(chance + 3 * spread, 2 * chance, (1 + chance) / 2)


def _known_cause(preset: Preset) -> str | None:
    """A setting that often makes a model diverge or guess."""
    model, train = preset.model, preset.train
    if train.learning_rate > HIGH_LEARNING_RATE:
        return f"train.learning_rate = {train.learning_rate:g} is too high (try 0.001)"
    if model.encoder == "transformer" and model.norm == "post" and model.num_layers > 1:
        collapse = f"{model.num_layers} post-norm layers collapse at train.learning_rate = {train.learning_rate:g}"
        return f"{collapse} (try model.norm=pre, or train.learning_rate=0.0003)"
    return None
