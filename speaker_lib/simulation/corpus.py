"""A corpus of simulated voices in the HW4 layout, for lessons without a data set."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass

import numpy as np

from ..data.corpus import Corpus
from ..data.hidden import add_hidden, check_key, write_key
from ..data.writer import CorpusWriter
from ..sound.channels import augmented_copies, augmented_source
from ..sound.features import log_mel, normalise_peak, remove_silence
from ..utils.errors import ConfigError
from ..utils.parallel import parallel_map
from .sessions import apply_session, draw_session
from .voices import draw_voice, numpy_stream, speak, vary_voice

SHORTEST, LONGEST = 2.0, 8.0  # seconds of an utterance, drawn uniformly
_VOICE, _SESSION, _WORDS = range(3)  # one random stream per purpose
_NAME = re.compile(r"sim(?:([1-9]\d*)-)?(\d{4,})")  # of a speaker: the seed unless it is 0, and the number


@dataclass(frozen=True)
class Simulation:
    """Settings and seed, which decide every sample of a simulated corpus. Raises ConfigError."""

    speakers: int = 100
    utterances: int = 60  # labelled, per speaker
    test_utterances: int = 2  # of the test set, per speaker
    sessions: int = 4  # per speaker; utterances are assigned to them in turn
    seed: int = 0
    augment: int = 0  # copies of each labelled utterance in other channels
    test_seed: int | None = None  # a secret, if the test set's speakers are one: what is said there, its order and names

    def __post_init__(self) -> None:
        for name in ("speakers", "utterances", "test_utterances", "sessions", "seed", "augment"):
            least = 1 if name in ("speakers", "utterances", "sessions") else 0
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: choose a whole number from {least} up.")

    @property
    def source(self) -> str:
        """The label of every figure and table of these data."""
        voices = f"{self.speakers} simulated voices (not people), {self.utterances} utterances each, seed {self.seed}"
        return voices + augmented_source(self.augment)


def simulate(
    out: str | os.PathLike[str],
    simulation: Simulation = Simulation(),
    workers: int | None = None,
    key: str | os.PathLike[str] | None = None,
) -> None:
    """Writes a corpus of simulated voices to ``out``; the number of processes does not change it.

    ``key`` is a CSV file for the speakers of the test set, `add_hidden`'s.  Raises CorpusError if ``out`` holds anything
    already, ConfigError if ``key`` cannot be written there.
    """
    if key is not None:
        check_key(key, out)
    items = [(s, u) for s in range(simulation.speakers) for u in range(simulation.utterances + simulation.test_utterances)]
    features = parallel_map(functools.partial(_features, simulation), items, "Simulate", "uttr", workers)
    test = []
    with CorpusWriter(out, simulation.source) as writer:
        for (speaker, utterance), (mel, copies) in zip(items, features, strict=True):
            name = speaker_name(speaker, simulation.seed)
            session = f"{name}-{utterance % simulation.sessions}"
            if utterance < simulation.utterances:
                original = writer.add(mel, name, session)
                for copy in copies:
                    writer.add(copy, name, session, augmented_from=original)
            else:
                writer.skip_name()  # runs know their training data by the names of its files, which once counted these, too
                test.append((mel, name))
        rows = add_hidden(writer, test, simulation.seed if simulation.test_seed is None else simulation.test_seed)
        if key is not None:
            write_key(key, rows)


def simulated_recording(simulation: Simulation, speaker: int, utterance: int) -> np.ndarray:
    """The waveform of one utterance, (samples,) float32 at 16 kHz."""
    secret = utterance >= simulation.utterances and simulation.test_seed is not None
    rng = numpy_stream(simulation.test_seed if secret else simulation.seed, _WORDS, speaker, utterance)
    voice = vary_voice(draw_voice(numpy_stream(simulation.seed, _VOICE, speaker)), rng)
    session = draw_session(numpy_stream(simulation.seed, _SESSION, speaker, utterance % simulation.sessions))
    return apply_session(speak(voice, rng.uniform(SHORTEST, LONGEST), rng), session, rng)


def simulated_audio(corpus: Corpus, i: int) -> np.ndarray | None:
    """Labelled utterance ``i``, synthesised again: (samples,) float32 at 16 kHz, peak at -3 dB and without pauses.

    None if its speaker's name is not that of a simulated speaker, and for an augmented copy.
    """
    utterances, label = corpus.labelled, corpus.labelled.labels[i]
    name = _NAME.fullmatch(corpus.speakers[label])
    if name is None or utterances.sessions is None or i not in utterances.clean:
        return None
    own = utterances.clean[utterances.labels[utterances.clean] == label].tolist()  # in the order of their synthesis
    simulation = Simulation(sessions=len({utterances.sessions[j] for j in own}), seed=int(name[1] or 0))
    return remove_silence(normalise_peak(simulated_recording(simulation, int(name[2]), own.index(i))))


def speaker_name(speaker: int, seed: int = 0) -> str:
    """The name of a simulated speaker, such as ``sim0007``. Those of other seeds are other voices: ``sim1-0007``."""
    return f"sim{f'{seed}-' if seed else ''}{speaker:04d}"


def _features(simulation: Simulation, item: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The features of an utterance (frames, 40), and those of its augmented copies."""
    samples = simulated_recording(simulation, *item)  # (samples,)
    mel, (_, utterance) = log_mel(remove_silence(normalise_peak(samples))), item  # (frames, 40)
    copies = simulation.augment if utterance < simulation.utterances else 0
    return mel, augmented_copies(samples, [len(mel)], copies, f"{simulation.seed}/{speaker_name(item[0])}/{utterance}")[0]
