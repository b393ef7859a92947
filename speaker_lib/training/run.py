"""A run is a folder: what was trained, how it went, the best weights, and the state to go on from.

    config.json        the settings, and the speakers and the digest of the data
    metrics.jsonl      one line per validation
    model.safetensors  the weights that did best on the validation set
    resume.pt          the last state: model, optimizer, schedule, scaler, random states, step

Plots, comparison and prediction read this folder, never what a process happens to remember.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import filelock
import safetensors
import safetensors.torch
import torch

from ..config.fields import LARGEST
from ..config.schema import ModelConfig, Preset
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..models.classifier import Classifier
from ..utils.errors import ConfigError, CorpusError, RunError, escape_controls, first_line, is_text, short_repr
from ..utils.files import explain_os_errors, load_tensors, remove_partial, replacing

# What training writes, in this order: the state to go on from last, after all that it counts on.
WRITTEN = CONFIG, METRICS, WEIGHTS, RESUME = "config.json", "metrics.jsonl", "model.safetensors", "resume.pt"
EVALUATION = "evaluation.json"
_KINDS = {torch.float32: "F32", torch.int64: "I64"}  # of a model's tensors, as safetensors calls them
# What plots and tables read of a validation, from where to where. A share may be off by a rounding.
_SHARE, _LOSS = (0, 1 + 1e-6), (0, 1e30)
_METRICS = {
    "step": (1, LARGEST),
    "train_accuracy": _SHARE,
    "train_loss": _LOSS,
    "valid_accuracy": _SHARE,
    "valid_loss": _LOSS,
    "steps_per_second": (1e-30, 1e30),
}


@dataclass(frozen=True)
class DataInfo:
    """What a run remembers of the data it was trained on."""

    folder: str
    source: str
    digest: str
    speakers: tuple[str, ...]

    @classmethod
    def of(cls, corpus: Corpus) -> DataInfo:
        """What a run of this corpus will remember. Raises CorpusError if its folder has a name that cannot be written down."""
        folder = str(corpus.folder.resolve())
        if not is_text(folder):
            raise CorpusError(f"{folder} has characters that cannot be shown: rename that folder.")
        return cls(folder, corpus.source, corpus.digest, corpus.speakers)


@dataclass(frozen=True)
class Run:
    """One training run on disk. `Run.create` begins one, `Run.open` finds it again."""

    folder: Path
    preset: Preset
    data: DataInfo

    @classmethod
    def create(cls, folder: str | os.PathLike[str], preset: Preset, corpus: Corpus) -> Run:
        """Begins a run; the model's number of speakers and mel bands become those of the data.

        Raises RunError if there is a run in the folder already, CorpusError if the data cannot be split as the preset asks.
        """
        folder = Path(folder)
        if cls.exists(folder):
            raise RunError(f"{folder} holds a run already: go on with it (--resume) or name another folder (--run).")
        split_utterances(corpus.labelled, preset.train)  # before a folder is made that a corrected attempt would stumble on
        run = cls(folder, fit_to_data(preset, corpus), DataInfo.of(corpus))
        with replacing(folder / CONFIG, "w", encoding="utf-8") as file:
            json.dump({**run.preset.to_dict(), "data": asdict(run.data)}, file, indent=1, ensure_ascii=False)
        return run

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in that folder. Raises RunError if there is none or its settings cannot be used."""
        folder = Path(folder)
        path = folder / CONFIG
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            data = content["data"]
            texts = [data[key] for key in ("folder", "source", "digest")]
            if not all(isinstance(text, str) for text in [*texts, *data["speakers"]]):
                raise TypeError("data")
            if not all(is_text(text) for text in [*texts, *data["speakers"]]):
                raise ValueError("a name has characters that cannot be shown")
            run = cls(folder, Preset.from_dict(content), DataInfo(*texts, tuple(data["speakers"])))
        except FileNotFoundError:
            raise RunError(f"{path} is missing: name the folder of a run that `train` made.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {first_line(error)}"
            raise RunError(f"{path} is not the settings of a run ({reason}): train it again in another folder.") from error
        if run.preset.model.n_speakers != len(run.data.speakers):
            raise RunError(
                f"{path} has model.n_speakers = {run.preset.model.n_speakers} and lists {len(run.data.speakers)} speakers: "
                "train it again in another folder."
            )
        return run

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Whether a run was begun in that folder."""
        return (Path(folder) / CONFIG).exists()

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return escape_controls(self.folder.resolve().name)

    def check_same_data(self, corpus: Corpus) -> None:
        """Raises RunError unless the corpus is the one this run was trained on."""
        if corpus.digest != self.data.digest:
            raise RunError(
                f"{self.folder} was trained on {self.data.source} ({self.data.folder}), {corpus.folder} holds "
                f"{corpus.source}, {self._differing_data(corpus)}: give it the data it was trained on."
            )

    def _differing_data(self, corpus: Corpus) -> str:
        """In what a corpus of another digest differs, for both may lie in one folder and have one source."""
        if corpus.n_speakers != len(self.data.speakers):
            return f"{corpus.n_speakers:,} speakers instead of {len(self.data.speakers):,}"
        if corpus.speakers != self.data.speakers:
            return "other speakers, or in another order"
        return "the same speakers with other utterances (another metadata.json)"

    def check_same_speakers(self, corpus: Corpus) -> None:
        """Raises RunError unless the corpus has this run's speakers and mel bands."""
        if corpus.speakers != self.data.speakers or corpus.n_mels != self.preset.model.n_mels:
            raise RunError(
                f"{self.folder} knows {len(self.data.speakers)} speakers by {self.preset.model.n_mels} mel bands, "
                f"{corpus.folder} has {corpus.n_speakers} by {corpus.n_mels} and not the same: use the run's data."
            )

    def check_same_settings(self, preset: Preset) -> None:
        """Raises RunError listing the settings in which ``preset`` differs from the run's."""
        differences = self.preset.differences(preset)
        if differences:
            listed = ", ".join(f"{name} was {was} and is now {now}" for name, (was, now) in differences.items())
            raise RunError(f"{self.folder} cannot go on with other settings ({listed}): use the old ones, or another folder.")

    def check_same_run(self, other: Run) -> None:
        """Raises RunError unless the other folder holds this very run, with these settings and data."""
        differing = [*self.preset.differences(other.preset), *["data"] * (self.data.digest != other.data.digest)]
        if differing:
            raise RunError(
                f"{other.folder} holds another run than {self.folder}, with another {', '.join(differing)}: name another folder."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps the folder for this process. Raises RunError if another one is training in it."""
        lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        with explain_os_errors(lock.lock_file):
            try:
                lock.acquire()
            except filelock.Timeout:
                raise RunError(
                    f"{self.folder} is being trained by another process: wait for it, or use another folder."
                ) from None
        try:
            for name in WRITTEN:
                remove_partial(self.folder / name)
            yield
        finally:
            lock.release()

    def metrics(self) -> list[dict[str, float]]:
        """The validations so far, oldest first. Raises RunError if the file cannot be read."""
        path = self.folder / METRICS
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if not all(
                isinstance(row, dict) and all(_lies_in(row.get(k), *limits) for k, limits in _METRICS.items()) for row in rows
            ):
                raise ValueError("a line is not a validation")
            if any(row["step"] <= before["step"] for before, row in pairwise(rows)):
                raise ValueError("its steps do not rise")
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read ({first_line(error)}): train the run again in another folder.") from error

    def training_seconds(self) -> float:
        """How long its steps took so far, validations not counted."""
        seconds, before = 0.0, 0
        for row in self.metrics():
            seconds += (row["step"] - before) / row["steps_per_second"]
            before = row["step"]
        return seconds

    def load_model(self, device: torch.device | str = "cpu") -> Classifier:
        """The classifier with its best weights, ready to predict. Raises RunError if they are missing or do not fit."""
        path = self.folder / WEIGHTS
        try:
            _check_header(path, self.preset.model)  # before a model is made that takes more room than the file
            model = Classifier(self.preset.model)
            model.load_state_dict(safetensors.torch.load_file(path))
        except FileNotFoundError:
            raise RunError(f"{path} is missing: let `train` reach its first validation (go on with --resume).") from None
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{path} is not a safetensors file ({first_line(error)}): train the run again.") from error
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{path} does not fit the model in {self.folder / CONFIG} ({reason}): train the run again.") from error
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise RunError(f"{path} holds weights that are not numbers (NaN or infinity): train the run again.")
        return model.to(device).eval()

    def load_resume(self) -> dict[str, object] | None:
        """The state to go on from, or None if none was saved yet. Raises RunError if it cannot be used."""
        path = self.folder / RESUME
        if not path.exists():
            return None
        try:
            state = load_tensors(path)
            if isinstance(state, dict) and not (type(state.get("step")) is int and 0 <= state["step"] <= LARGEST):
                raise ValueError("it does not say its step")
            return state
        except Exception as error:  # a damaged file makes torch.load raise nearly anything
            raise RunError(
                f"{path} cannot be read ({type(error).__name__}): delete it to train this run from the start."
            ) from error

    def save_evaluation(self, result: dict[str, object]) -> None:
        """Replaces what `evaluate` found."""
        with replacing(self.folder / EVALUATION, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)

    def evaluation(self) -> dict[str, object] | None:
        """What `evaluate` last found, or None."""
        path = self.folder / EVALUATION
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            shares = found["crop"]["accuracy"], found["crop"]["std"], found["full"]["accuracy"]
            if not all(isinstance(share, float) and _lies_in(share, *_SHARE) for share in shares):
                raise TypeError("an accuracy is not a number from 0 to 1")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"{path} is not an evaluation ({first_line(error)}): delete it and run `evaluate` again.") from error


def _lies_in(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most  # NaN does not


def _check_header(path: Path, config: ModelConfig) -> None:
    """Raises RuntimeError unless a safetensors file holds the model's tensors, each of its kind; reads its header only."""
    with torch.device("meta"):  # shapes without memory
        wanted = {name: (_KINDS[tensor.dtype], list(tensor.shape)) for name, tensor in Classifier(config).state_dict().items()}
    with safetensors.safe_open(path, framework="pt") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
        found = {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            raise RuntimeError(f"it lacks {name}")
        if name not in wanted:
            raise RuntimeError(f"it holds {short_repr(name)}, which the model has not")
        if found[name] != wanted[name]:
            raise RuntimeError(f"{name} is {_described(found[name])}, in the model {_described(wanted[name])}")


def _described(tensor: tuple[str, list[int]]) -> str:
    kind, shape = tensor
    return f"{kind} ({', '.join(map(str, shape))})"


def metrics_bytes(rows: list[dict[str, float]]) -> bytes:
    """The validations as ``metrics.jsonl`` holds them, a line each."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def weights_bytes(model: torch.nn.Module) -> bytes:
    """A copy of the model's weights as ``model.safetensors`` holds them."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def fit_to_data(preset: Preset, corpus: Corpus) -> Preset:
    """The preset with as many classes and mel bands as the data have."""
    return preset.override({"model.n_speakers": corpus.n_speakers, "model.n_mels": corpus.n_mels})
