"""A training run on disk: settings, metrics, weights, and the state to resume from.

    config.json        the settings, and the speakers and the digest of the data
    metrics.jsonl      one line per validation
    model.safetensors  the weights of the best validation, or of the last (``train.keep``)
    resume.pt          the last checkpoint: model, optimizer, schedule, scaler, random states, step
    evaluation.json    the result of `evaluate`, and the digest of the weights that it evaluated

A closed box: `Run.create` and `Run.open` give a run, its methods read these files, `checkpoints` writes them.  A run may have
been downloaded, so every file that cannot be used raises RunError with one sentence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.splits import split_utterances
from ..models.classifier import Classifier
from ..utils.errors import ConfigError, CorpusError, RunError, WriteError, escape_controls, first_line, is_text
from ..utils.files import BRING_BACK, create_file, load_tensors, load_values, replacing
from .lock import FolderLock

# The files that training writes, in this order: the state to resume from comes last, after the files that it relies on.
WRITTEN = CONFIG, METRICS, WEIGHTS, RESUME = "config.json", "metrics.jsonl", "model.safetensors", "resume.pt"
EVALUATION = "evaluation.json"
# Reading JSON from a damaged file, or from one of another kind, may raise any of these.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
# Plots and tables read these numbers of a validation.
_METRICS = ("step", "train_accuracy", "train_loss", "valid_accuracy", "valid_loss", "steps_per_second")


@dataclass(frozen=True)
class DataInfo:
    """The training data of a run, as config.json describes them."""

    folder: str
    source: str
    digest: str
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One training run on disk."""

    folder: Path
    preset: Preset
    data: DataInfo

    @classmethod
    def create(cls, folder: str | os.PathLike[str], preset: Preset, corpus: Corpus) -> Run:
        """Begins a run, with as many classes and mel bands as the data have.

        Raises RunError if the folder holds a run already, CorpusError if the data have one speaker or cannot be split as the
        preset asks, or if the name of the data's folder cannot be printed.
        """
        check_several_speakers(corpus)
        data = DataInfo(str(corpus.folder.resolve()), corpus.source, corpus.digest, corpus.speakers)
        if not is_text(data.folder):
            raise CorpusError(f"{data.folder} has characters that cannot be shown: rename that folder.")
        run = cls(Path(folder), fit_to_data(preset, corpus), data)
        split_utterances(corpus.labelled, preset.train)  # an error comes before the folder is made, so one can try again
        content = json.dumps({**run.preset.to_dict(), "data": asdict(run.data)}, indent=1, ensure_ascii=False)
        try:
            create_file(run.folder / CONFIG, content.encode())
        except FileExistsError:
            raise RunError(f"{folder} holds a run already: resume it (--resume) or name another folder (--run).") from None
        return run

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """The run in that folder. Raises RunError if there is none or its settings cannot be used."""
        path = Path(folder) / CONFIG
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            saved = content["data"]
            data = DataInfo(saved["folder"], saved["source"], saved["digest"], tuple(saved["speakers"]))
            if not all(map(is_text, (data.folder, data.source, data.digest, *data.speakers))):
                raise ValueError("a name has characters that cannot be shown")
            run = cls(path.parent, Preset.from_dict(content), data)
            if (classes := run.preset.model.n_speakers) != len(data.speakers):
                raise ConfigError(f"model.n_speakers = {classes}, but it lists {len(data.speakers)} speakers")
            return run
        except FileNotFoundError:
            raise RunError(f"{path} is missing: name the folder of a run that `train` made.") from None
        except _DAMAGED as error:
            reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {first_line(error)}"
            raise RunError(f"{path} is not the settings of a run ({reason}): train it again in another folder.") from error

    @staticmethod
    def exists(folder: str | os.PathLike[str]) -> bool:
        """Whether the folder holds a run."""
        return (Path(folder) / CONFIG).exists()

    @property
    def name(self) -> str:
        """The name in tables and figures."""
        return escape_controls(self.folder.resolve().name)

    def check_same_data(self, corpus: Corpus) -> None:
        """Raises RunError unless the corpus is the one this run was trained on."""
        if corpus.digest == self.data.digest:
            return
        if corpus.n_speakers != len(self.data.speakers):
            difference = f"{corpus.n_speakers:,} speakers instead of {len(self.data.speakers):,}"
        elif corpus.speakers != self.data.speakers:
            difference = "other speakers, or in another order"
        else:
            difference = "the same speakers with other utterances (another metadata.json)"
        trained = f"{self.folder} was trained on {self.data.source} ({self.data.folder})"
        raise RunError(f"{trained}, {corpus.folder} holds {corpus.source}, {difference}: give it the data it was trained on.")

    def check_same_speakers(self, corpus: Corpus) -> None:
        """Raises RunError unless the corpus has this run's speakers and mel bands."""
        if corpus.speakers != self.data.speakers or corpus.n_mels != self.preset.model.n_mels:
            raise RunError(
                f"{self.folder} was trained on {len(self.data.speakers)} speakers and {self.preset.model.n_mels} mel bands, "
                f"{corpus.folder} has {corpus.n_speakers} and {corpus.n_mels}, and not the same ones: use the run's data."
            )

    def check_same(self, preset: Preset, data_digest: str, advice: str = "use the old ones, or another folder") -> None:
        """Raises RunError listing the settings in which ``preset`` differs from the run's, and the data if they do."""
        differing = [f"{name} was {was} and is now {now}" for name, (was, now) in self.preset.differences(preset).items()]
        differing += ["the data differ"] * (data_digest != self.data.digest)
        if differing:
            raise RunError(f"{self.folder} holds a run with other settings ({', '.join(differing)}): {advice}.")

    @contextlib.contextmanager
    def locked(self) -> Iterator[FolderLock]:
        """Locks the folder for this process. Raises RunError if another one is training in it, WriteError if it is gone."""
        lock = FolderLock(self.folder)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()

    def metrics(self) -> list[dict[str, float]]:
        """The validations so far, oldest first. Raises RunError if the file cannot be read."""
        path = self.folder / METRICS
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if not all(math.isfinite(row[name]) for row in rows for name in _METRICS):
                raise ValueError("a number is NaN or infinite")
            if not all(row["steps_per_second"] > 0 for row in rows):
                raise ValueError("a step took no time")
            return rows
        except FileNotFoundError:
            return []
        except _DAMAGED as error:
            raise RunError(f"{path} cannot be read ({first_line(error)}): train the run again in another folder.") from error

    @property
    def finished(self) -> bool:
        """Whether training has reached its last step."""
        rows = self.metrics()
        return bool(rows) and rows[-1]["step"] == self.preset.train.total_steps

    def training_seconds(self) -> float:
        """The duration of all steps so far, without validations."""
        rows = self.metrics()
        before = [0, *(row["step"] for row in rows)]
        return sum((row["step"] - start) / row["steps_per_second"] for start, row in zip(before, rows, strict=False))

    def weights(self) -> bytes:
        """The content of model.safetensors. Raises RunError if it is missing."""
        path = self.folder / WEIGHTS
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise RunError(f"{path} is missing: let `train` reach its first validation (resume it with --resume).") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}): check the path and its permissions.") from error

    def load_model(self, device: torch.device | str = "cpu", weights: bytes | None = None) -> Classifier:
        """The classifier with ``weights`` (default: the run's), ready to predict. Raises RunError if they do not fit."""
        path = self.folder / WEIGHTS
        weights = self.weights() if weights is None else weights
        try:
            with torch.device("meta"):  # takes no memory: a downloaded config.json could ask for too much
                model = Classifier(self.preset.model)
            model.load_state_dict(safetensors.torch.load(weights), assign=True)
        except safetensors.SafetensorError as error:
            raise RunError(f"{path} is not a safetensors file ({first_line(error)}): train the run again.") from error
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{path} does not fit the model in {self.folder / CONFIG} ({reason}): train the run again.") from error
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise RunError(f"{path} holds weights that are NaN or infinite: train the run again.")
        return model.float().to(device).eval()

    def resume_step(self) -> int:
        """The step of the last checkpoint, read without its tensors; 0 without one. Raises RunError as `load_resume` does."""
        state = self.load_resume(load_values)
        return 0 if state is None else state["step"]

    def load_resume(self, read: Callable[[Path], dict[str, object]] = load_tensors) -> dict[str, object] | None:
        """The state to resume from, or None if none was saved yet. Raises RunError if it cannot be used."""
        path = self.folder / RESUME
        if not path.exists():
            return None
        try:
            state = read(path)
            if not (type(state["step"]) is int and 0 <= state["step"] <= self.preset.train.total_steps):
                raise ValueError("it does not say its step")
            return state
        except Exception as error:  # a damaged file makes torch.load raise nearly anything
            reason = type(error).__name__
            raise RunError(f"{path} cannot be read ({reason}): delete it to train this run from the start.") from error

    def save_evaluation(self, result: dict[str, object]) -> None:
        """Replaces evaluation.json; ``result["weights"]`` is the `digest` of the evaluated weights. Raises WriteError."""
        if not self.exists(self.folder):
            raise WriteError(f"{self.folder} is gone, or lacks its {CONFIG}, so {EVALUATION} is not saved", BRING_BACK)
        with replacing(self.folder / EVALUATION, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)

    def evaluation(self) -> dict[str, object] | None:
        """The last result of `evaluate`; None if there is none, or if the weights have changed since."""
        path = self.folder / EVALUATION
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            accuracies = result["crop"]["accuracy"], result["crop"]["std"], result["full"]["accuracy"]
            if not all(isinstance(accuracy, float) and 0 <= accuracy <= 1 + 1e-6 for accuracy in accuracies):
                raise TypeError("an accuracy is not a number from 0 to 1")
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            raise RunError(f"{path} is not an evaluation ({first_line(error)}): delete it and run `evaluate` again.") from error
        up_to_date = "weights" not in result or result["weights"] == digest(self.weights())  # earlier versions wrote no digest
        return result if up_to_date else None


def digest(weights: bytes) -> str:
    """SHA-256 of the content of model.safetensors, in hexadecimal."""
    return hashlib.sha256(weights).hexdigest()


def metrics_bytes(rows: list[dict[str, float]]) -> bytes:
    """The content of metrics.jsonl: a line per validation."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def weights_bytes(model: torch.nn.Module) -> bytes:
    """The content of model.safetensors: a copy of the model's weights."""
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


def fit_to_data(preset: Preset, corpus: Corpus) -> Preset:
    """The preset with as many classes and mel bands as the data have."""
    return preset.override({"model.n_speakers": corpus.n_speakers, "model.n_mels": corpus.n_mels})


def check_several_speakers(corpus: Corpus) -> None:
    """Raises CorpusError for data of one speaker: every answer would be right."""
    if corpus.n_speakers < 2:
        name = escape_controls(corpus.speakers[0])
        raise CorpusError(f"{corpus.folder} has 1 speaker ({name}): there is nothing to tell apart, take data of two or more.")
