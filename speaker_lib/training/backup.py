"""The backup of a run (``train --backup DIR``): a copy of its files on another disk, such as Google Drive on Colab.

A closed box: `fetch_backup` restores a run before training, `check_backup` protects the backup of another run, and
`checkpoints` writes the copy.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..utils.errors import ConfigError, RunError
from ..utils.files import make_folder, replacing
from ..utils.progress import log
from .run import RESUME, WRITTEN, Run


def backup_of(folder: str | os.PathLike[str], backups: str | os.PathLike[str] | None) -> Path | None:
    """The copy of the run ``folder`` in the folder ``backups``: it has the same name. Raises ConfigError if both are one."""
    if backups is None:
        return None
    place = Path(backups) / Path(folder).resolve().name
    if place.resolve() == Path(folder).resolve():
        raise ConfigError(f"--backup {backups} holds the run itself: name a folder on another disk.")
    return place


def fetch_backup(folder: str | os.PathLike[str], backup: Path | None) -> None:
    """Restores a run from its backup, if that is at a later step.

    Raises RunError if the backup cannot be used or belongs to another run, WriteError if the folder cannot be written.
    """
    if backup is None or not Run.exists(backup):
        return
    kept = Run.open(backup)
    if Run.exists(folder) and _is_as_far(Run.open(folder), kept):
        return
    step = kept.resume_step()
    make_folder(folder)
    with replace(kept, folder=Path(folder)).locked():
        for name, content in read_files(backup).items():
            with replacing(Path(folder) / name) as file:
                file.write(content)
    log(f"{folder} resumes from its backup in {backup}, at step {step:,}.")


def check_backup(run: Run, backup: Path) -> None:
    """Raises RunError if the backup belongs to another run, or is at a later step."""
    if Run.exists(backup) and not _is_as_far(run, Run.open(backup)):
        raise RunError(f"{backup} is further than {run.folder}: resume from it (--resume), or name another --backup.")


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a run, in the order in which training writes them."""
    return {name: path.read_bytes() for name in WRITTEN if (path := folder / name).exists()}


def _is_as_far(run: Run, kept: Run) -> bool:
    """Whether a run is at the step of its backup, or later.

    Raises RunError if the backup belongs to another run, or if one of the two is damaged; the error says how to use the other.
    """
    kept.check_same(run.preset, run.data.digest, "name another --backup")
    try:
        step = kept.resume_step()
    except RunError:
        if run.resume_step() == 0:
            raise
        problem = f"{kept.folder / RESUME} cannot be read"
        raise RunError(f"{problem}: delete it, and training makes it anew from {run.folder}.") from None
    try:
        return run.resume_step() >= step
    except RunError:
        if step == 0:
            raise
        problem = f"{run.folder / RESUME} cannot be read"
        raise RunError(f"{problem}: delete it to resume from the run's backup in {kept.folder}, at step {step:,}.") from None
