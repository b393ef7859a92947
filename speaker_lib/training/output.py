"""A folder that takes a run's files while it trains: the run's own, or its backup.

The disk may be full for a while, and the folder may vanish: a drive is unmounted, a folder renamed or deleted.  What could not be
written waits in memory, and every write tries again.  A folder that vanished is never made anew: the new one would lie on another
disk, and lack the rest of the run.  One that comes back is written to if its settings and validations are the run's; its device
number says nothing, for a drive that is mounted again may have another.
"""

from __future__ import annotations

from pathlib import Path

from ..utils.errors import RunError, WriteError
from ..utils.files import BRING_BACK, explain_os_errors, remove_partial, replacing
from ..utils.progress import log
from .lock import FolderLock
from .run import CONFIG, EVALUATION, METRICS, WEIGHTS, WRITTEN, Run


class OutputFolder:
    """A folder for the files of ``run``, locked by ``lock`` if there is one, and the content that waits to be written there."""

    def __init__(self, run: Run, folder: Path, lock: FolderLock | None = None) -> None:
        self.run, self.folder, self.lock = run, folder, lock
        self.waiting: dict[str, bytes] = {}
        self._last: dict[str, bytes] = {}  # the validations and the weights as last written: a drive may lose its last writes
        self._rows: list[dict[str, float]] | None = None
        self._warned = self._away = False
        for name in WRITTEN:
            remove_partial(folder / name)

    def expect(self, rows: list[dict[str, float]]) -> None:
        """From now on the folder must hold this run, with the first of these validations, a list that grows."""
        self._rows = rows

    def unwritten(self) -> list[str]:
        """The files that wait, in the order in which they are written."""
        return [name for name in WRITTEN if name in self.waiting]

    def write(self) -> WriteError | None:
        """Writes what waits. Returns the error instead of raising it, so that the other folders are written, too."""
        try:
            if self._rows is not None:
                self._check(self._rows)
            for name in self.unwritten():
                with replacing(self.folder / name) as file:
                    file.write(self.waiting[name])
                content = self.waiting.pop(name)
                if name in (METRICS, WEIGHTS):
                    self._last[name] = content
                if name == WEIGHTS:
                    with explain_os_errors(self.folder / EVALUATION):
                        (self.folder / EVALUATION).unlink(missing_ok=True)  # of the old weights
        except WriteError as problem:
            return problem
        return None

    def write_or_warn(self) -> None:
        """Writes what waits; a problem is a warning, once."""
        problem = self.write()
        if problem and not self._warned:
            goes_on = "Training goes on, what could not be saved waits in memory, and the next save tries again"
            log(f"Warning: {problem.what}: {problem.advice}. {goes_on}.")
        elif self._warned and not problem:
            log(f"Everything that waited for {self.folder} is saved now.")
        self._warned = problem is not None

    def _check(self, rows: list[dict[str, float]]) -> None:
        """Raises WriteError unless the folder is there, holds this run, and is locked."""
        away, self._away = self._away, True
        with explain_os_errors(self.folder):
            if not Run.exists(self.folder):
                raise WriteError(f"{self.folder} is gone, or lacks its {CONFIG}", BRING_BACK)
            try:
                found = Run.open(self.folder)
                found.check_same(self.run.preset, self.run.data.digest, "move that folder away")
                there = found.metrics()
                if there != rows[: len(there)]:
                    raise RunError(f"{self.folder} holds the validations of another training: move that folder away.")
                if self.lock is not None:
                    self.lock.renew(away)
            except RunError as error:
                what, _, advice = str(error).removesuffix(".").rpartition(": ")
                raise WriteError(what, advice) from error
        self._away = False
        if away:
            self.waiting = {name: last for name, last in self._last.items() if self._size(name) != len(last)} | self.waiting

    def _size(self, name: str) -> int | None:
        path = self.folder / name
        return path.stat().st_size if path.exists() else None
