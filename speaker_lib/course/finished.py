"""Finished runs in one archive, so that a class need not wait for training: ``make release`` packs it, a lesson unpacks it.

The archive holds ``<profile>/<digest of the data>/<run>/…``: settings, metrics and evaluations of every run, and the weights of
those that a lesson loads.  No state to resume from: a run is finished, or it is not packed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..data.corpus import Corpus
from ..download.archives import ArchiveError, unpack
from ..experiments.ladder import LADDER
from ..training.run import CONFIG, EVALUATION, METRICS, WEIGHTS, Run
from ..utils.errors import RunError, SpeakerError
from ..utils.files import make_folder, replacing
from ..utils.language import translate

ARCHIVE = "finished-runs.tar.gz"
# The run below the lesson's folders whose weights a lesson loads. All others' would be ten times as much.
_TOP_OF_LADDER = Path("ladder", [step.name for step in LADDER if step.kept][-1], "seed0")
_TAKEN = ".finished-runs"  # in the folder of the runs: the SHA-256 of the archive that was unpacked there


def pack_finished_runs(runs: Path, corpus: Corpus, profile: str, path: Path) -> list[str]:
    """Packs the finished and evaluated runs below ``runs``; returns their names. Raises RunError if there is none.

    The same runs make the same archive, wherever they lie.
    """
    packed = []
    with replacing(path) as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped, tarfile.open("", "w", zipped) as archive:
        for run in _runs_in(runs):
            evaluation = run.evaluation() if run.finished else None
            if evaluation is None:
                continue
            name = run.folder.relative_to(runs)
            with_weights = len(name.parts) == 1 or name == _TOP_OF_LADDER
            for member, content in _files(run, corpus, evaluation, with_weights):
                entry = tarfile.TarInfo(f"{profile}/{corpus.digest[:16]}/{name.as_posix()}/{member}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            packed.append(name.as_posix())
        if not packed:
            raise RunError(f"{runs} holds no run that is trained and evaluated: run the lessons first (make course).")
    return packed


def take_finished_runs(places: Sequence[Path], runs: Path, corpus: Corpus, profile: str) -> None:
    """Unpacks the first archive in ``places`` below ``runs``, once; a run that is there already stays. Says what it did."""
    path = next((place / ARCHIVE for place in places if (place / ARCHIVE).is_file()), None)
    if path is None:
        return
    digest, taken = hashlib.sha256(path.read_bytes()).hexdigest(), runs / _TAKEN
    if taken.exists() and taken.read_text(encoding="utf-8") == digest:
        return
    make_folder(runs)
    try:
        with tempfile.TemporaryDirectory(dir=runs) as scratch:  # on the same disk, so that each run is moved whole
            unpack([path], Path(scratch) / "all")
            count = _move_missing(Path(scratch) / "all" / profile / corpus.digest[:16], runs)
    except (ArchiveError, SpeakerError) as problem:
        said = "{path} is not used, because {problem}: fetch it again, or remove it to train everything here."
        print(translate(said, path=path, problem=str(problem).rstrip(".")))
        return
    with replacing(taken, "w", encoding="utf-8") as file:
        file.write(digest)
    if count:
        said = "{n} finished runs come from {path}: `replay(run)` draws one's curves; to train it here, delete its folder."
        print(translate(said, n=count, path=path))
    else:
        said = "{path} adds no run of profile {profile} on these data, so what is missing is trained here."
        print(translate(said, path=path, profile=profile))


def _move_missing(source: Path, runs: Path) -> int:
    """Moves each run that ``runs`` lacks; returns how many."""
    missing = [run.folder for run in _runs_in(source) if not (runs / run.folder.relative_to(source)).exists()]
    for folder in missing:
        target = runs / folder.relative_to(source)
        make_folder(target.parent)
        folder.rename(target)
    return len(missing)


def _runs_in(folder: Path) -> Iterator[Run]:
    yield from (Run.open(path.parent) for path in sorted(folder.rglob(CONFIG)))


def _files(run: Run, corpus: Corpus, evaluation: dict[str, object], with_weights: bool) -> Iterator[tuple[str, bytes]]:
    """The files of a run: without the path of its data, and without weights also without their digest."""
    data = asdict(replace(run.data, folder=corpus.folder.name))
    yield CONFIG, json.dumps({**run.preset.to_dict(), "data": data}, indent=1, ensure_ascii=False).encode()
    yield METRICS, (run.folder / METRICS).read_bytes()
    if with_weights:
        yield WEIGHTS, run.weights()
    else:
        evaluation.pop("weights", None)
    yield EVALUATION, json.dumps(evaluation, indent=1).encode()
