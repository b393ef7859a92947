"""Real speech for the lessons: LibriSpeech, fetched and prepared once, and what a data set sounds like."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.audio import utterance_audio
from ..data.corpus import Corpus
from ..data.recordings import prepare
from ..download.datasets import download, get_source, is_reachable
from ..download.fetching import NETWORK
from ..download.sources import HW4, SOURCES
from ..simulation.corpus import Simulation, simulated_audio, simulated_recording, speaker_name
from ..sound.features import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, WINDOW, log_mel, normalise_peak, remove_silence
from ..utils.errors import CorpusError, DownloadError, escape_controls
from ..utils.language import translate

SPEECH, STRANGERS = "dev-clean", "test-clean"  # 40 readers each, none of them in both
CHUNK = 4.0  # seconds of an utterance: some 110 of each reader, as many as HW4 has of a speaker
_HOSTED = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")  # variables of machines that have a network and no data


def is_hosted() -> bool:
    """Whether this is a machine of Colab or Kaggle."""
    return any(os.environ.get(name) for name in _HOSTED)


def fetch_speech(home: Path, name: str = SPEECH) -> Path:
    """The data set in ``home/data/NAME``, which is fetched and cut into utterances of `CHUNK` seconds unless it is there.

    HW4 needs no preparation.  Raises SpeakerError: ConfigError for a name that is not in the table, DownloadError if it cannot
    be fetched.
    """
    folder = home / "data" / name
    if (folder / "metadata.json").exists():
        return folder
    if name == HW4.name:
        return download(name, folder)
    if not is_reachable(name):
        advice = "see that this machine has a network (on Kaggle, switch Internet on)"
        raise DownloadError(f"no server of {name} can be reached: {advice}.", NETWORK)
    print(translate("Recordings of people are fetched: {content}.", content=get_source(name).content), flush=True)
    prepare(download(name, home / "data"), folder, CHUNK)
    return folder


def is_speech(corpus: Corpus) -> bool:
    """Whether a corpus is one of LibriSpeech's that `fetch_speech` made."""
    return corpus.folder.name in SOURCES and corpus.folder.name != HW4.name and bool(corpus.labelled.recordings)


def voices(corpus: Corpus, speakers: Sequence[int] | None = None, seconds: float = 3.0) -> list[tuple[str, np.ndarray]]:
    """Names and sounds (samples,) at 16 kHz of two speakers, peak at -3 dB, without pauses, ``seconds`` long or shorter.

    Of people where their recordings are at hand.  Otherwise of simulated speakers, by default the two of lesson 1.
    """
    n_samples = round(seconds * SAMPLE_RATE)
    found = []
    for label in (0, corpus.n_speakers // 2) if speakers is None else speakers:
        indices = np.flatnonzero(corpus.labelled.labels == label)  # (utterances of the speaker,)
        enough = [i for i in indices if corpus.labelled.lengths[i] >= seconds * FRAMES_PER_SECOND]
        samples = utterance_audio(corpus, int((enough or list(indices))[0])) if len(indices) else None
        if samples is not None:
            found.append((corpus.speakers[label], samples[:n_samples]))
    if found:
        return found
    chosen = (3, 10) if speakers is None else speakers
    recordings = [simulated_recording(Simulation(), speaker, utterance=0) for speaker in chosen]
    sounds = [remove_silence(normalise_peak(recording))[:n_samples] for recording in recordings]
    return [(speaker_name(speaker), sound) for speaker, sound in zip(chosen, sounds, strict=True)]


def sound_of(corpus: Corpus, i: int) -> np.ndarray:
    """The sound of labelled utterance ``i``, (samples,) float32 at 16 kHz, peak at -3 dB and without pauses.

    A simulated utterance is synthesised again, one of people is read from its recording.  Raises CorpusError if it cannot be
    had, or if its features are not those of the corpus.
    """
    found = [samples for audio in (simulated_audio, utterance_audio) if (samples := audio(corpus, i)) is not None]
    for samples in found:
        if _has_features(samples, corpus.labelled.mel(i)):
            return samples
    recordings = corpus.labelled.recordings
    if found:
        problem = f"the sound of {corpus.labelled.paths[i]} does not have the features that are stored: make the data set anew"
    elif recordings is not None:
        recording = escape_controls(recordings[i])
        problem = f"the recording {recording} is not at hand: put it back where it was, or prepare the data again"
    else:
        problem = "it names no recordings, as HW4's data do not: to listen, choose data that were prepared from recordings"
    raise CorpusError(f"{corpus.folder} cannot be played, because {problem}.")


def _has_features(samples: np.ndarray, mel: np.ndarray) -> bool:
    """Whether (samples,) have the features mel (frames, n_mels), but at their ends: an utterance may be a piece of a recording.

    Not to the bit: another processor rounds a synthesised sample in another way.
    """
    if len(samples) < WINDOW or abs(len(samples) / HOP - len(mel)) > 1:
        return False
    found = log_mel(samples)[3:-3]  # (frames without the ends, 40)
    return found.shape[1] == mel.shape[1] and bool(np.allclose(found, mel[3 : 3 + len(found)], rtol=0, atol=0.02))
