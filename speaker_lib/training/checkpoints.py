"""Checkpoints: restores a run, records its validations and weights, and saves its state so that it survives a kill.

A closed box for the training loop: `Checkpoints` is told what happened, and says when a save is due.  Every file replaces its
predecessor atomically, and resume.pt comes last, after the validations and the weights that it counts on.  What a full disk
does not take waits in memory for the next save, while training goes on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from ..data.batches import DROPOUT, random_stream
from ..utils.errors import RunError, WriteError
from ..utils.files import explain_os_errors, remove_partial, replacing, tensor_bytes
from ..utils.progress import log
from .backup import check_backup, read_files
from .diagnostics import check_finite, check_loss
from .distributed import Team
from .run import EVALUATION, METRICS, RESUME, WEIGHTS, WRITTEN, Run, metrics_bytes, weights_bytes
from .state import Meter, TrainState


class Checkpoints:
    """The files of one run that a team of processes trains; only the first process writes.

    ``backup`` is a folder that gets a copy of all that is saved.  Raises RunError if it belongs to another run, or is further
    than this one.
    """

    def __init__(self, run: Run, team: Team, backup: str | os.PathLike[str] | None = None) -> None:
        self.run, self.team = run, team
        self.rows: list[dict[str, float]] = []  # the validations, oldest first
        self._folders: list[_Folder] = []
        self._saved_at = time.monotonic()
        if team.first:
            self._folders.append(_Folder(run.folder))
            if backup is not None:
                check_backup(run, Path(backup))
                self._folders.append(_Folder(Path(backup)))

    def restore(self, state: TrainState) -> None:
        """Puts ``state`` where the run was left, and drops the validations after that point: they will come again.

        Raises RunError if what was saved cannot be used.
        """
        files = read_files(self.run.folder) if self._folders[1:] else {}  # once, for a backup wants them, too
        saved = self.run.load_resume(files.get(RESUME))
        if saved is not None:
            try:
                state.load_state_dict(saved)
            except (LookupError, AttributeError, ValueError, TypeError, RuntimeError, OverflowError) as error:
                raise RunError(
                    f"{self.run.folder / RESUME} does not fit the run's settings ({type(error).__name__}): "
                    "delete it to train this run from the start."
                ) from error
        if self.team.first:
            found = self.run.metrics()
            self.rows = [row for row in found if row["step"] <= state.step]
            if len(self.rows) < len(found):
                self.write(METRICS, metrics_bytes(self.rows))
            self._fill_backup(files)
        else:  # all processes start with the same weights, and each drops out other numbers
            state.meter = Meter()
            torch.manual_seed(random_stream(self.run.preset.train.seed, DROPOUT, self.team.rank, state.step).initial_seed())
        self.team.wait()  # no process reads what the first one writes from here on

    def due(self, step: int) -> bool:
        """Whether the state is to be saved after this step: by the number of steps, or by the clock."""
        train = self.run.preset.train
        late = self.team.first and 0 < 60 * train.save_minutes < time.monotonic() - self._saved_at
        return self.team.any_now_and_then(late, step) or step % train.save_steps == 0

    def save(self, state: TrainState) -> None:
        """Saves the state to resume from. Raises TrainingDiverged, and keeps the one before, if it holds NaN."""
        meter = self.team.sum_meter(state.meter)
        state.meter = meter if self.team.first else Meter()  # from here on the first process carries what all have seen
        if self.team.first:
            check_finite(state, self.run.preset)
            self.write(RESUME, tensor_bytes(state.state_dict()))
            self._saved_at = time.monotonic()

    def record(self, state: TrainState, accuracy: float, loss: float) -> dict[str, float]:
        """Records a validation, and the weights if ``train.keep`` asks for them; returns its line of ``metrics.jsonl``.

        Raises TrainingDiverged if its loss is NaN, which float16 may show here first.
        """
        check_loss(loss, state, self.run.preset)
        meter = self.team.sum_meter(state.meter)
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
        keep_last = self.run.preset.train.keep == "last"
        if self.team.first:
            self.write(METRICS, metrics_bytes(self.rows))
            if best or keep_last:
                self.write(WEIGHTS, weights_bytes(state.eval_model))
                which = "model" if keep_last else "best model"
                log(f"Step {state.step}, {which} saved. (accuracy={accuracy:.4f})", routine=True)
        return row

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file of the run. Where the disk does not take it, says so and keeps it for the next time."""
        for folder in self._folders:
            folder.waiting[name] = content
        for folder in self._folders:
            folder.try_to_write()

    def finish(self) -> None:
        """Tries once more what still waits, in every folder. Raises WriteError if a disk still does not take it."""
        problems = []
        for folder in self._folders:
            try:
                folder.write()
            except WriteError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _fill_backup(self, files: dict[str, bytes]) -> None:
        """Brings the backup to where the run is. Raises WriteError if a folder cannot be written: better now than later."""
        for copy in self._folders[1:]:
            for name in WRITTEN:
                remove_partial(copy.folder / name)
            copy.waiting |= files | self._folders[0].waiting | ({METRICS: metrics_bytes(self.rows)} if self.rows else {})
        self.finish()


class _Folder:
    """One folder that holds the run's files, and what is still to be written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: dict[str, bytes] = {}
        self._behind = False  # whether that was said

    def write(self) -> None:
        for name in WRITTEN:
            if name in self.waiting:
                with replacing(self.folder / name) as file:
                    file.write(self.waiting[name])
                del self.waiting[name]
                if name == WEIGHTS:
                    with explain_os_errors(self.folder / EVALUATION):
                        (self.folder / EVALUATION).unlink(missing_ok=True)  # it was about other weights

    def try_to_write(self) -> None:
        try:
            self.write()
        except WriteError as problem:
            if not self._behind:
                log(
                    f"Warning: {problem.what}: {problem.advice}. Training goes on, what was saved before is intact, "
                    "and every save tries again."
                )
            self._behind = True
        else:
            if self._behind:
                log(f"What waited for room in {self.folder} is saved now.")
            self._behind = False
