"""The book that training keeps: where a run was left, its validations, its best weights, the state to go on from."""

from __future__ import annotations

import os

import torch

from ..data.batches import DROPOUT, random_stream
from ..utils.errors import RunError
from ..utils.files import tensor_bytes
from ..utils.progress import log
from .diagnostics import check_finite, check_loss
from .distributed import Team
from .run import METRICS, RESUME, WEIGHTS, Run, metrics_bytes, weights_bytes
from .saving import RunWriter
from .state import Meter, TrainState


class Logbook:
    """Of a run that a team of processes trains; only the first of them writes.

    ``backup`` is a folder that gets a copy of all that is saved.
    """

    def __init__(self, run: Run, team: Team, backup: str | os.PathLike[str] | None = None) -> None:
        self.run, self.team = run, team
        self.rows: list[dict[str, float]] = []  # the validations, oldest first
        self._writer = RunWriter(run, backup) if team.first else None

    def restore(self, state: TrainState) -> None:
        """Puts ``state`` where the run was left, and drops the validations after that point: they will come again.

        Raises RunError if what was saved cannot be used.
        """
        saved = self.run.load_resume()
        if saved is not None:
            try:
                state.load_state_dict(saved)
            except (KeyError, IndexError, AttributeError, ValueError, TypeError, RuntimeError) as error:
                raise RunError(
                    f"{self.run.folder / RESUME} does not fit the run's settings ({type(error).__name__}): "
                    "delete it to begin again."
                ) from error
        if self._writer:
            found = self.run.metrics()
            self.rows = [row for row in found if row["step"] <= state.step]
            if len(self.rows) < len(found):
                self._writer.write(METRICS, metrics_bytes(self.rows))
            self._writer.mirror()
        else:  # the processes begin with the same weights, and each drops out other numbers
            state.meter = Meter()
            torch.manual_seed(random_stream(self.run.preset.train.seed, DROPOUT, self.team.rank, state.step).initial_seed())
        self.team.wait()  # nobody reads what the first one writes from here on

    def due(self, step: int) -> bool:
        """Whether the state is to be saved after this step: by their number, or by the clock, for a machine may vanish."""
        train = self.run.preset.train
        late = self._writer is not None and 0 < 60 * train.save_minutes < self._writer.seconds_since_save()
        return self.team.any_now_and_then(late, step) or step % train.save_steps == 0

    def save(self, state: TrainState) -> None:
        """Saves the state to go on from. Raises TrainingDiverged, and keeps the one before, if it is not made of numbers."""
        meter = state.meter.shared(self.team)
        state.meter = meter if self.team.first else Meter()  # from here on the first process carries what all have seen
        if self._writer:
            check_finite(state, self.run.preset)
            self._writer.write(RESUME, tensor_bytes(state.state_dict()))

    def record(self, state: TrainState, accuracy: float, loss: float) -> dict[str, float]:
        """Writes down a validation, and the weights if they are the best so far; returns its line of ``metrics.jsonl``.

        Raises TrainingDiverged if its loss is no number, which float16 may show here first: nobody could read that line.
        """
        check_loss(loss, state, self.run.preset)
        meter = state.meter.shared(self.team)
        row = {
            "step": state.step,
            "train_accuracy": meter.accuracy,
            "train_loss": meter.loss,
            "valid_accuracy": accuracy,
            "valid_loss": loss,
            "learning_rate": float(state.scheduler.get_last_lr()[0]),
            "steps_per_second": meter.batches / state.seconds,
        }
        state.meter, state.seconds = Meter(), 0.0
        best, state.best_accuracy = accuracy > state.best_accuracy, max(accuracy, state.best_accuracy)
        self.rows.append(row)
        if self._writer:
            self._writer.write(METRICS, metrics_bytes(self.rows))
            if best:
                self._writer.write(WEIGHTS, weights_bytes(state.judged))
                log(f"Step {state.step}, best model saved. (accuracy={accuracy:.4f})")
        return row

    def finish(self) -> None:
        """Raises WriteError if the disk still does not take what it should hold."""
        if self._writer:
            self._writer.finish()
