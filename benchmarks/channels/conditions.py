"""The test set: ten people's recordings through channels that their enrolment did not have.

In: folders of recordings.  Out: a corpus in which the session of an utterance is its condition.

The filters are scipy's, not the library's, so that a fault in the augmentation cannot hide in its test.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal

from speaker_lib import CorpusWriter
from speaker_lib.sound.features import SAMPLE_RATE, log_mel, normalise_peak, remove_silence

ENROLMENT = "enrolment"  # whole recordings, clean
PIECE = 6 * SAMPLE_RATE  # samples of each recording to recognise, its first 6 s
SNR = 10.0  # dB
TALKERS = 4
Condition = Callable[[np.ndarray, np.random.Generator, list[np.ndarray]], np.ndarray]


def add_noise(samples: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Both (samples,), the noise scaled to `SNR`."""
    return samples + noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2) / 10 ** (SNR / 10))


def white_noise(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    return add_noise(samples, rng.normal(0.0, 1.0, len(samples)))


def telephone(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    return signal.sosfilt(signal.butter(8, (300, 3_400), "bandpass", fs=SAMPLE_RATE, output="sos"), samples)


def room(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """An echo that decays by 60 dB in 0.6 s, as loud as the direct sound."""
    n = int(0.6 * SAMPLE_RATE)
    response = rng.normal(0.0, 1.0, n) * 10 ** (-3 * np.arange(n) / n)  # (n,)
    response /= np.sqrt((response**2).sum())
    response[0] += 1.0
    return signal.fftconvolve(samples, response)[: len(samples)]  # (samples,)


def low_pass_tilt(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    return signal.lfilter([1.0, 0.9], 1.0, samples)


def babble(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """Four other people talk at the same time."""
    talkers = [others[i] for i in rng.choice(len(others), TALKERS, replace=False)]
    return add_noise(samples, sum(np.resize(talker, len(samples)) / np.std(talker) for talker in talkers))


def mp3(samples: np.ndarray, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """Coded at 16 kbit/s and decoded again, by ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        wav, coded, decoded = (Path(folder) / name for name in ("in.wav", "coded.mp3", "out.wav"))
        soundfile.write(wav, samples, SAMPLE_RATE)
        for command in ([wav, "-b:a", "16k", coded], [coded, "-ar", SAMPLE_RATE, "-ac", 1, decoded]):
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", *map(str, command)], check=True)
        return soundfile.read(decoded)[0]


# The last two are of no kind that the augmentation has.
CONDITIONS: dict[str, Condition | None] = {
    "clean": None,
    "white noise 10 dB": white_noise,
    "telephone band": telephone,
    "room": room,
    "low-pass tilt": low_pass_tilt,
    "babble 10 dB": babble,
    "MP3 16 kbit/s": mp3,
}


def write_test_set(enrolled: Path, others: Path, out: Path) -> None:
    """Writes the recordings below ``enrolled/<speaker>``, whole for the enrolment and 6 s in each condition, to ``out``.

    Without ffmpeg there is no MP3, which is said.
    """
    conditions = dict(CONDITIONS)
    if not shutil.which("ffmpeg"):
        print("ffmpeg is not installed: MP3 is left out of the conditions.")
        del conditions["MP3 16 kbit/s"]
    talkers = [read(path) for path in sorted(others.glob("*/*.flac"))]
    with CorpusWriter(out, "10 people in several channels") as writer:
        for number, path in enumerate(sorted(enrolled.glob("*/*.flac"))):
            samples = read(path)  # (samples,)
            writer.add(front_end(samples), path.parent.name, ENROLMENT)
            for i, (name, through) in enumerate(conditions.items()):
                piece, rng = samples[:PIECE], np.random.default_rng((number, i))
                writer.add(front_end(through(piece, rng, talkers) if through else piece), path.parent.name, name)


def read(path: Path) -> np.ndarray:
    """(samples,) of a recording at 16 kHz."""
    samples, rate = soundfile.read(path)
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path} is not mono at {SAMPLE_RATE} Hz: take LibriSpeech.")
    return samples


def front_end(samples: np.ndarray) -> np.ndarray:
    """(frames, 40), as `identify` makes them."""
    return log_mel(remove_silence(normalise_peak(samples)))
