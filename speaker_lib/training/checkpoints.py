"""Checkpoints: restores a run, records its validations and weights, and saves its state to resume from.

A closed box for the training loop: it calls `restore`, `record`, `due` and `save`.  Every write is atomic, and resume.pt comes
last, after the metrics and the weights that it relies on: a kill at any moment loses only steps.  If the disk is full or the
folder is gone, training goes on and the content waits in memory for the next save (`OutputFolder`).
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import torch

from ..data.batches import DROPOUT, random_stream
from ..utils.errors import RunError, WriteError
from ..utils.files import load_tensors, make_folder, tensor_bytes
from ..utils.progress import in_notebook, log
from .backup import check_backup, read_files
from .diagnostics import check_finite
from .distributed import Team
from .lock import FolderLock
from .output import OutputFolder
from .run import CONFIG, METRICS, RESUME, WEIGHTS, Run, metrics_bytes, weights_bytes
from .state import Meter, TrainState


class Checkpoints:
    """The files of one run that a team of processes trains; only the first process writes.

    ``backup`` is a folder that gets a copy of every file, ``lock`` that of the run's folder.  Raises RunError if the backup holds
    another run, or a later step of this one.
    """

    def __init__(
        self, run: Run, team: Team, backup: str | os.PathLike[str] | None = None, lock: FolderLock | None = None
    ) -> None:
        self.run, self.team = run, team
        self.rows: list[dict[str, float]] = []  # the validations, oldest first
        self._folders: list[OutputFolder] = []
        self._saved_at = time.monotonic()
        if team.first:
            self._folders.append(OutputFolder(run, run.folder, lock))
            if backup is not None:
                check_backup(run, Path(backup))
                make_folder(backup)
                self._folders.append(OutputFolder(run, Path(backup)))

    def restore(self, state: TrainState) -> None:
        """Restores ``state`` from the last checkpoint, drops the validations after it, and brings the backup up to date.

        A finished run without a checkpoint has the weights that it kept, and nothing left to train.

        Raises RunError if the checkpoint cannot be used, WriteError if a folder cannot be written.
        """
        if self.team.first and not Run.exists(self.run.folder):
            raise RunError(f"{self.run.folder / CONFIG} is missing: name the folder of a run that `train` made.")
        files = read_files(self.run.folder) if self._folders[1:] else {}  # read once, for the state and for the backup
        saved = self.run.load_resume(partial(load_tensors, content=files.get(RESUME)))
        if saved is not None:
            try:
                state.load_state_dict(saved)
            except (LookupError, AttributeError, ValueError, TypeError, RuntimeError, OverflowError) as error:
                problem = f"{self.run.folder / RESUME} does not fit the run's settings ({type(error).__name__})"
                raise RunError(f"{problem}: delete it to train this run from the start.") from error
        elif self.run.finished:  # it came without its state, from an archive of finished runs
            state.finish(self.run.load_model().state_dict(), self.run.preset.train.total_steps)
        if self.team.first:
            found = self.run.metrics()
            self.rows = [row for row in found if row["step"] <= state.step]
            shortened = {METRICS: metrics_bytes(self.rows)} if len(self.rows) < len(found) else {}
            for folder, content in zip(self._folders, ({}, files), strict=False):
                folder.waiting = content | shortened
                if problem := folder.write():
                    raise problem  # before training
                folder.expect(self.rows)
        else:  # each process draws its own dropout masks for the same weights
            state.meter = Meter()
            torch.manual_seed(random_stream(self.run.preset.train.seed, DROPOUT, self.team.rank, state.step).initial_seed())
        self.team.wait()  # the first process writes only after all have read

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due after this step, by the number of steps or by the clock."""
        train = self.run.preset.train
        late = self.team.first and 0 < 60 * train.save_minutes < time.monotonic() - self._saved_at
        return self.team.any_at(step, late) or step % train.save_steps == 0

    def save(self, state: TrainState) -> None:
        """Saves the state to resume from. Raises TrainingDiverged if it holds NaN; the last checkpoint stays."""
        meter = self.team.sum_meter(state.meter)
        state.meter = meter if self.team.first else Meter()  # the first process now holds the sums of all
        if self.team.first:
            check_finite(meter.loss if meter.count else 0.0, state, self.run.preset)
            self.write(RESUME, tensor_bytes(state.state_dict()))
            self._saved_at = time.monotonic()

    def record(self, state: TrainState, accuracy: float, loss: float) -> dict[str, float]:
        """Records a validation, and the weights if ``train.keep`` asks for them; returns its line of ``metrics.jsonl``.

        Raises TrainingDiverged if the loss is NaN: in float16 a validation may be the first to overflow.
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
                if not in_notebook():  # where the curves show it
                    log(f"Step {state.step}, {which} saved. (accuracy={accuracy:.4f})", routine=True)
        return row

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file of the run. If it cannot be written, warns and keeps it in memory for the next save."""
        for folder in self._folders:
            folder.waiting[name] = content
            folder.write_or_warn()

    def finish(self) -> None:
        """Writes everything that still waits, in every folder. Raises WriteError, which names what is lost, if one fails."""
        problems = {folder: problem for folder in self._folders if (problem := folder.write())}
        whole = [folder.folder for folder in self._folders if folder not in problems]
        fate = f"is only in {whole[0]}" if whole else "is lost"
        lost = [
            WriteError(f"{problem.what}, so what training wrote last ({', '.join(folder.unwritten())}) {fate}", problem.advice)
            for folder, problem in problems.items()
        ]
        for problem in lost[1:]:
            log(f"Warning: {problem.what}: {problem.advice}.")
        if lost:
            raise lost[0]
