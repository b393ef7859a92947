"""Checkpoints: restores a run, records its validations and weights, and saves its state to resume from.

A closed box for the training loop: it calls `restore`, `record`, `due` and `save`.  Every write is atomic, and resume.pt comes
last, after the metrics and the weights that it relies on: a kill at any moment loses only steps.  Where the disk is full, the
content waits in memory for the next save, and training goes on.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import torch

from ..data.batches import DROPOUT, random_stream
from ..utils.errors import RunError, WriteError
from ..utils.files import explain_os_errors, load_tensors, remove_partial, replacing, tensor_bytes
from ..utils.progress import log
from .backup import check_backup, read_files
from .diagnostics import check_finite
from .distributed import Team
from .run import EVALUATION, METRICS, RESUME, WEIGHTS, WRITTEN, Run, metrics_bytes, weights_bytes
from .state import Meter, TrainState


class Checkpoints:
    """The files of one run that a team of processes trains; only the first process writes.

    ``backup`` is a folder that gets a copy of every file.  Raises RunError if it holds another run, or a later step of this one.
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
        """Restores ``state`` from the last checkpoint, and drops the validations after it: they will be repeated.

        Brings the backup up to date.  Raises RunError if the checkpoint cannot be used, WriteError if a folder cannot be written.
        """
        files = read_files(self.run.folder) if self._folders[1:] else {}  # read once, for the state and for the backup
        saved = self.run.load_resume(partial(load_tensors, content=files.get(RESUME)))
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
            shortened = {METRICS: metrics_bytes(self.rows)} if len(self.rows) < len(found) else {}
            for folder, content in zip(self._folders, ({}, files), strict=False):
                folder.waiting = content | shortened
            self.finish()  # a folder that cannot be written is an error now rather than at the end
        else:  # all processes have the same weights, but draw dropout masks of their own
            state.meter = Meter()
            torch.manual_seed(random_stream(self.run.preset.train.seed, DROPOUT, self.team.rank, state.step).initial_seed())
        self.team.wait()  # from here on no process reads what the first one writes

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due after this step, by the number of steps or by the clock."""
        train = self.run.preset.train
        late = self.team.first and 0 < 60 * train.save_minutes < time.monotonic() - self._saved_at
        return self.team.any_at(step, late) or step % train.save_steps == 0

    def save(self, state: TrainState) -> None:
        """Saves the state to resume from. Raises TrainingDiverged if it holds NaN, and leaves the last one as it is."""
        meter = self.team.sum_meter(state.meter)
        state.meter = meter if self.team.first else Meter()  # from here on the first process holds the sums of all
        if self.team.first:
            check_finite(meter.loss if meter.count else 0.0, state, self.run.preset)
            self.write(RESUME, tensor_bytes(state.state_dict()))
            self._saved_at = time.monotonic()

    def record(self, state: TrainState, accuracy: float, loss: float) -> dict[str, float]:
        """Records a validation, and the weights if ``train.keep`` asks for them; returns its line of ``metrics.jsonl``.

        Raises TrainingDiverged if its loss is NaN, which may happen first here in float16.
        """
        check_finite(loss, state, self.run.preset)
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
        """Replaces a file of the run. If it cannot be written, warns and keeps it in memory for the next save."""
        for folder in self._folders:
            folder.waiting[name] = content
        for folder in self._folders:
            folder.try_to_write()

    def finish(self) -> None:
        """Writes what still waits, in every folder. Raises WriteError if that fails in one of them."""
        problems = []
        for folder in self._folders:
            try:
                folder.write()
            except WriteError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]


class _Folder:
    """One folder that holds the run's files, and the content that is still to be written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: dict[str, bytes] = {}
        self._warned = False
        for name in WRITTEN:
            remove_partial(folder / name)

    def write(self) -> None:
        for name in WRITTEN:
            if name in self.waiting:
                with replacing(self.folder / name) as file:
                    file.write(self.waiting[name])
                del self.waiting[name]
                if name == WEIGHTS:
                    with explain_os_errors(self.folder / EVALUATION):
                        (self.folder / EVALUATION).unlink(missing_ok=True)  # of the weights before

    def try_to_write(self) -> None:
        try:
            self.write()
        except WriteError as problem:
            if not self._warned:
                log(
                    f"Warning: {problem.what}: {problem.advice}. Training goes on, what was saved before is intact, "
                    "and every save tries again."
                )
            self._warned = True
        else:
            if self._warned:
                log(f"What waited for room in {self.folder} is saved now.")
            self._warned = False
