"""A lesson's profile, data and runs.  Runs that are finished already may come in an archive (`finished`).

Data: the folder in ``SPEAKER_DATA``, else what lies in one of the usual folders, else on Colab and Kaggle real speech, which is
fetched, else simulated voices, which are made at once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..config.schema import Preset
from ..data.corpus import Corpus
from ..data.writer import write_subset
from ..download.datasets import download
from ..evaluation.identification import evaluate
from ..simulation.corpus import Simulation, simulate
from ..training.loop import train
from ..training.run import Run, fit_to_data
from ..utils.device import get_device
from ..utils.errors import ConfigError, CorpusError, DownloadError, RunError, SpeakerError, short_repr
from ..utils.language import translate, translate_finished
from .finished import take_finished_runs
from .guesses import guess, stored_guess
from .profiles import Profile, get_profile
from .speech import SPEECH, STRANGERS, fetch_speech, is_hosted, is_speech, voices

FOUND, PEOPLE, SIMULATED, DOWNLOAD = SOURCES_OF_DATA = "automatic", "LibriSpeech dev-clean", "simulated voices", "download HW4"
HERE, DRIVE = "here", "Google Drive"  # places of the runs
RUNS = ("baseline", "tuned")
_HW4 = ("Dataset", "data/Dataset", "data/hw4")  # usual places of HW4
KAGGLE_INPUT = Path("/kaggle/input")
_COMPETITIONS = ("ml2022spring-hw4", "ml2023springhw4")


@dataclass(frozen=True)
class Lesson:
    """The profile, the data and the device of a lesson, and the runs in its folder."""

    profile: Profile
    corpus: Corpus
    device: torch.device
    runs: Path  # the folder of this profile's runs on these data

    def run(self, name: str) -> Run:
        """The run ``baseline`` or ``tuned`` at this profile's size, opened or created.

        Raises ConfigError for another name, RunError if the existing run has other settings or other data.
        """
        return self._open(name, self._preset(name))

    def trained(self, name: str) -> Run:
        """The evaluated run of an earlier lesson; without one, a run of a fifth of the steps is trained now."""
        preset = self._preset(name)
        run = self.run(name) if Run.exists(self.runs / name) else None
        if run is None or not run.metrics():
            run = self._open(f"{name}-short", replace(preset, train=preset.train.with_total_steps(preset.train.total_steps // 5)))
            said = "There is no run of {name} yet, so a short one takes its place: {steps:,} steps."
            print(translate(said, name=name, steps=run.preset.train.total_steps))
            train(run, self.corpus, self.device)
        step, total = run.metrics()[-1]["step"], run.preset.train.total_steps
        if step < total:
            said = "{name} was stopped at step {step:,} of {total:,}: finish it in its lesson before you compare."
            print(translate(said, name=run.name, step=step, total=total))
        if run.evaluation() is None:
            run.save_evaluation(evaluate(run, self.corpus, self.device)[0].to_dict())
        return run

    def collapse_run(self, norm: str) -> Run:
        """A model of six layers with ``norm`` "post" or "pre", on the data of the ablation."""
        return self._open(f"six-{norm}-norm", self.profile.collapse.override({"model.norm": norm}), self.ablation_corpus())

    def ablation_corpus(self) -> Corpus:
        """The data of this profile's ablation: all speakers, or a corpus of the first few."""
        return self.first_speakers(self.profile.ablation.speakers)

    def first_speakers(self, few: int | None) -> Corpus:
        """A corpus of the first few speakers of the data; all of the data for None, or where there are no more."""
        if few is None or few >= self.corpus.n_speakers:
            return self.corpus
        folder = self.runs / f"data-{self.corpus.digest[:8]}-{few}-speakers"
        if not folder.exists():
            write_subset(self.corpus, folder, few)
        return Corpus.open(folder)

    def voices(self) -> list[tuple[str, np.ndarray]]:
        """Names and sounds of two speakers, (samples,) at 16 kHz: people if the data are recordings at hand, else simulated."""
        return voices(self.corpus)

    def unseen_speakers(self) -> Corpus:
        """Speakers that are in no run's training data, fetched or made on the first call.

        Other readers of LibriSpeech if that is what the lesson is on, else simulated voices.
        """
        simulation = self.profile.unseen_speakers
        strangers = _home() / "data" / f"strangers-{simulation.speakers}-seed{simulation.seed}"
        if is_speech(self.corpus) and self.profile.name != "smoke":
            return Corpus.open(_speech_or_voices(STRANGERS, strangers, simulation))
        return Corpus.open(_simulated(strangers, simulation, "Unseen speakers: {voices} are made now."))

    def untrained(self, name: str) -> Run:
        """The run ``baseline`` or ``tuned`` with its initial weights: one step at learning rate 0."""
        preset = self._preset(name)
        run = self._open(f"{name}-untrained", replace(preset, train=replace(preset.train.with_total_steps(1), learning_rate=0.0)))
        if not run.metrics():
            train(run, self.corpus, self.device)
        return run

    def guess(self, question: str, options: Sequence[str], answer: str | None = None) -> None:
        """Asks for a guess, which is kept with the runs. Raises as `course.guesses.guess`."""
        guess(self.runs, question, options, answer)

    def guessed(self, question: str) -> str | None:
        """What was guessed, or None. Raises RunError if the file of the guesses is damaged."""
        return stored_guess(self.runs, question)

    def _preset(self, name: str) -> Preset:
        if name not in RUNS:
            raise ConfigError(f"the lessons have no run {short_repr(name)}: choose one of {', '.join(RUNS)}.")
        return getattr(self.profile, name)

    def _open(self, name: str, preset: Preset, corpus: Corpus | None = None) -> Run:
        folder, corpus = self.runs / name, corpus or self.corpus
        if not Run.exists(folder):
            return Run.create(folder, preset, corpus)
        run = Run.open(folder)
        other = ["data"] * (run.data.digest != corpus.digest) + list(run.preset.differences(fit_to_data(preset, corpus)))
        if other:
            raise RunError(f"{folder} holds a run with another {', '.join(other)}: rename or delete that folder to train anew.")
        return run


def open_lesson(data: str = FOUND, keep: str = HERE) -> Lesson:
    """Finds, fetches or makes the data (`SOURCES_OF_DATA`), and chooses the folder of the runs (`HERE` or, on Colab, `DRIVE`).

    Raises SpeakerError if the data or Drive are not available.
    """
    device = get_device()
    profile, home = get_profile(device.type == "cuda"), _home()
    corpus = Corpus.open(_find_data(profile, home, data))
    runs = _runs_home(home, keep) / profile.name / corpus.folder.resolve().name
    take_finished_runs([home, home / "data", Path(), *KAGGLE_INPUT.glob("*")], runs, corpus, profile.name)
    return Lesson(profile, corpus, device, runs)


def _home() -> Path:
    """The checkout if the notebook runs in its folder ``notebooks`` or ``build/lab``, else the current folder."""
    above = [Path(".."), *[Path("../..")] * (Path.cwd().parts[-2:] == ("build", "lab"))]
    return next((path for path in above if (path / "speaker_lib").is_dir() and (path / "pyproject.toml").is_file()), Path())


def _find_data(profile: Profile, home: Path, data: str) -> Path:
    if data not in SOURCES_OF_DATA:
        raise CorpusError(f"DATA is {data!r}: choose one of {', '.join(map(repr, SOURCES_OF_DATA))}.")
    named = os.environ.get("SPEAKER_DATA")
    if named and data == FOUND:
        # `make course` gives a path relative to the checkout.
        return next((place for place in (Path(named), home / named) if place.exists()), Path(named))
    if profile.name != "smoke" and data in (FOUND, DOWNLOAD):  # the smoke test is the same on every machine
        roots = [at / name for name in _COMPETITIONS for at in (KAGGLE_INPUT, KAGGLE_INPUT / "competitions")]
        usual = [*_HW4, *[f"data/{SPEECH}"] * (data == FOUND)]
        for folder in (*(home / name for name in usual), *roots, *(root / "Dataset" for root in roots)):
            if (folder / "metadata.json").exists():
                return folder
    if data == DOWNLOAD:
        return _download(home)
    simulation, smoke = profile.simulation, profile.name == "smoke"
    folder = home / "data" / (f"simulated-{simulation.speakers}" if smoke else "simulated")
    if not smoke and (data == PEOPLE or (data == FOUND and is_hosted())):
        return _speech_or_voices(SPEECH, folder, simulation)
    return _simulated(folder, simulation, "No data set was found, so {voices} are made now.")


def _simulated(folder: Path, simulation: Simulation, said: str = "") -> Path:
    """The folder of these voices, which are made unless it exists; what is said then, about ``{voices}``."""
    if not folder.exists():
        if said:
            print(translate(said, voices=translate_finished(simulation.source)))
        simulate(folder, simulation)
    return folder


def _speech_or_voices(name: str, folder: Path, simulation: Simulation) -> Path:
    """Prepared recordings of people, or where they cannot be had one sentence, and simulated voices in ``folder``."""
    try:
        return fetch_speech(_home(), name)
    except SpeakerError as problem:
        why, voices = str(problem).rstrip("."), translate_finished(simulation.source)
        said = translate("{why}; until then {voices} take their place.", why=f"{why[0].upper()}{why[1:]}", voices=voices)
        print(said, flush=True)
        return _simulated(folder, simulation)


def _download(home: Path) -> Path:
    try:
        return download("hw4", home / "data" / "Dataset")
    except DownloadError as error:
        raise CorpusError(f"HW4 is not here, so choose {FOUND!r} to go on without it: {error}") from error


def _runs_home(home: Path, keep: str) -> Path:
    if keep == HERE:
        return home / "runs"
    if keep != DRIVE:
        raise SpeakerError(f"KEEP is {keep!r}: choose {HERE!r} or {DRIVE!r}.")
    try:
        from google.colab import drive
    except ImportError:
        raise SpeakerError(f"{DRIVE} can only be reached from Colab: choose {HERE!r}.") from None
    try:
        drive.mount("/content/drive")
    except Exception as error:  # Colab has errors of its own, for example if access is refused
        raise SpeakerError(f"Google Drive was not mounted ({error}): allow it, or choose {HERE!r}.") from error
    return Path("/content/drive/MyDrive/speaker-course/runs")
