"""Diagnoses training: NaN and guessing, in a sentence with the likely cause."""

from __future__ import annotations

import math

from ..config.schema import Preset
from ..utils.errors import TrainingDiverged
from .state import TrainState

HIGH_LEARNING_RATE = 3e-3  # beyond it AdamW on a Transformer is the first suspect


def check_finite(state: TrainState, preset: Preset) -> None:
    """Raises TrainingDiverged if the loss or a weight is NaN, so that no such state is ever saved."""
    check_loss(state.meter.loss if state.meter.count else 0.0, state, preset)
    if not all(bool(p.isfinite().all()) for p in state.model.parameters()):
        raise _diverged(state, preset)


def check_loss(loss: float, state: TrainState, preset: Preset) -> None:
    """Raises TrainingDiverged if this loss, of training or of a validation, is no number."""
    if not math.isfinite(loss):
        raise _diverged(state, preset)


def _diverged(state: TrainState, preset: Preset) -> TrainingDiverged:
    # Measured: the same run that ends so in bfloat16 goes on in float32, and in bfloat16 with its gradients clipped.
    cause = _known_cause(preset) or "the gradients grew without bound (try train.clip_norm=5, or train.precision=float32)"
    return TrainingDiverged(
        f"the loss is no longer a number at step {state.step}, likely because {cause}; what was saved before is intact."
    )


def chance_warning(rows: list[dict[str, float]], n_validated: int, preset: Preset) -> str | None:
    """A sentence if the last validation shows a model that guesses, and the one before it did not show that yet."""
    guessing = [_guesses(row, n_validated, preset) for row in rows[-2:]]
    if not guessing[-1] or (len(guessing) > 1 and guessing[0]):
        return None
    return (
        f"At step {rows[-1]['step']} the validation accuracy is {rows[-1]['valid_accuracy']:.4f}, no better than guessing "
        f"among {preset.model.n_speakers} speakers, likely because {_cause(preset)}."
    )


def _guesses(row: dict[str, float], n_validated: int, preset: Preset) -> bool:
    """Whether a validation after the warmup lies within three standard deviations of chance, and not above twice of it."""
    chance = 1 / preset.model.n_speakers
    spread = math.sqrt(chance * (1 - chance) / n_validated)
    settled = row["step"] >= max(2 * preset.train.warmup_steps, preset.train.total_steps // 10)
    # With few utterances three deviations reach far above chance, where a model has plainly learned something.
    return chance < 1 and settled and row["valid_accuracy"] <= min(chance + 3 * spread, 2 * chance, (1 + chance) / 2)


def _cause(preset: Preset) -> str:
    """Of a model that guesses."""
    if known := _known_cause(preset):
        return known
    if preset.model.head == "two_layer" and preset.model.activation == "sigmoid":
        return "a Sigmoid head learns slowly (try more steps, or model.activation=relu)"
    return "the steps are too few or the features do not belong to their labels (try more steps; run `check` on the data)"


def _known_cause(preset: Preset) -> str | None:
    """Of a model that guesses or of a loss that is no number: settings that are known for either."""
    model, train = preset.model, preset.train
    if train.learning_rate > HIGH_LEARNING_RATE:
        return f"train.learning_rate = {train.learning_rate:g} is too high (try 0.001)"
    if model.encoder == "transformer" and model.norm == "post" and model.num_layers > 1:
        return (
            f"{model.num_layers} post-norm layers collapse at train.learning_rate = {train.learning_rate:g} "
            "(try model.norm=pre, or train.learning_rate=0.0003)"
        )
    return None
