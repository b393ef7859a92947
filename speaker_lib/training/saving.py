"""What training writes, so that it may end anywhere: killed, on a full disk, or with the whole machine.

Every file replaces its predecessor in one piece, and the state to go on from comes last: the validations and the weights
that it counts on are there before it.  What a disk does not take waits in memory for the next save, while training goes on.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from ..utils.errors import ConfigError, RunError, WriteError
from ..utils.files import explain_os_errors, remove_partial, replacing
from ..utils.progress import log
from .run import EVALUATION, RESUME, WEIGHTS, WRITTEN, Run


class RunWriter:
    """Writes a run's files into its folder and, where there is one, into its backup.

    Raises RunError if the backup is of another run, or further than this one.
    """

    def __init__(self, run: Run, backup: str | os.PathLike[str] | None = None) -> None:
        self._copies = [_Copy(run.folder)]
        self._saved_at = time.monotonic()
        if backup is not None:
            backup = Path(backup)
            if Run.exists(backup):
                run.check_same_run(kept := Run.open(backup))
                if not _is_as_far(run, kept):
                    raise RunError(f"{backup} is further than {run.folder}: go on from it (--resume), or name another --backup.")
            self._copies.append(_Copy(backup))

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file of the run. Where the disk does not take it, says so and keeps it for the next time."""
        for copy in self._copies:
            copy.waiting[name] = content
        self._write()
        if name == RESUME:
            self._saved_at = time.monotonic()

    def mirror(self) -> None:
        """Brings the backup to where the run is. Raises WriteError if a folder cannot be written: better now than later."""
        for copy in self._copies[1:]:
            for name in WRITTEN:
                remove_partial(copy.folder / name)
            copy.waiting |= _files(self._copies[0].folder)
        self.finish()

    def finish(self) -> None:
        """Tries once more what still waits, in every folder. Raises WriteError if it is in vain for one."""
        problems = []
        for copy in self._copies:
            try:
                copy.write()
            except WriteError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def seconds_since_save(self) -> float:
        """How long ago the state to go on from was saved."""
        return time.monotonic() - self._saved_at

    def _write(self) -> None:
        for copy in self._copies:
            try:
                copy.write()
            except WriteError as problem:
                if not copy.behind:
                    log(
                        f"Warning: {problem.what}: {problem.advice}. Training goes on, what was saved before is intact, "
                        "and every save tries again."
                    )
                copy.behind = True
            else:
                if copy.behind:
                    log(f"What waited for room in {copy.folder} is saved now.")
                copy.behind = False


class _Copy:
    """One folder that holds the run's files, and what is still to be written there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: dict[str, bytes] = {}
        self.behind = False  # whether that was said

    def write(self) -> None:
        for name in WRITTEN:
            if name in self.waiting:
                with replacing(self.folder / name) as file:
                    file.write(self.waiting[name])
                del self.waiting[name]
                if name == WEIGHTS:
                    with explain_os_errors(self.folder / EVALUATION):
                        (self.folder / EVALUATION).unlink(missing_ok=True)  # it was about other weights


def backup_of(folder: str | os.PathLike[str], backups: str | os.PathLike[str] | None) -> Path | None:
    """Where among the ``backups`` the run in ``folder`` is mirrored, under its own name.

    Raises ConfigError if that is the run's folder itself.
    """
    if backups is None:
        return None
    place = Path(backups) / Path(folder).resolve().name
    if place.resolve() == Path(folder).resolve():
        raise ConfigError(f"--backup {backups} is where the run itself lies: name a folder on another disk.")
    return place


def fetch_backup(folder: str | os.PathLike[str], backup: Path | None) -> None:
    """Brings a run back from its backup, if there is one and the run's folder is not as far.

    Raises RunError if the backup cannot be used or is of another run, WriteError if the disk does not take it.
    """
    if backup is None or not Run.exists(backup):
        return
    kept = Run.open(backup)
    if Run.exists(folder):
        run = Run.open(folder)
        run.check_same_run(kept)
        if _is_as_far(run, kept):
            return
    step = _step(kept)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with replace(kept, folder=Path(folder)).locked():
        copy = _Copy(Path(folder))
        copy.waiting = _files(backup)
        copy.write()
    log(f"{folder} goes on from its backup in {backup}, at step {step:,}.")


def _is_as_far(run: Run, kept: Run) -> bool:
    """Whether a run needs nothing of its backup. Where one is damaged, the other's use is named."""
    try:
        step = _step(kept)
    except RunError as error:
        if _step(run):
            advice = f"delete it to have the backup made anew from {run.folder}"
            raise RunError(f"{kept.folder / RESUME} cannot be read: {advice}.") from error
        raise
    try:
        return _step(run) >= step
    except RunError as error:
        if step:
            advice = f"delete it to go on from the run's backup in {kept.folder}, at step {step:,}"
            raise RunError(f"{run.folder / RESUME} cannot be read: {advice}.") from error
        raise


def _files(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name in WRITTEN if (path := folder / name).exists()}


def _step(run: Run) -> int:
    state = run.load_resume()
    try:
        return 0 if state is None else int(state["step"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{run.folder / RESUME} does not say its step ({type(error).__name__}): delete it.") from error
