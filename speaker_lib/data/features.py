"""The front end of HW4.  In: a recording.  Out: log-mel features (frames, 40), a frame per 10 ms.

16 kHz mono, peak normalised to -3 dB, silence removed throughout, power spectrum of 25 ms Hann windows every 10 ms,
40 mel bands of equal height on the HTK scale from 50 Hz to 8 kHz, natural logarithm.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import torch

from ..utils.errors import SpeakerError, first_line

SAMPLE_RATE = 16_000  # Hz
N_FFT = WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
N_MELS = 40
F_MIN, F_MAX = 50.0, 8_000.0  # Hz
POWER_FLOOR = 1e-9  # its logarithm, -20.72, is the lowest value a feature takes
PEAK = 10 ** (-3 / 20)  # -3 dB of full scale
SILENCE_LEVEL = 0.01  # RMS, of full scale
SILENCE_BLOCK = SAMPLE_RATE // 50  # samples, 20 ms over which the level is taken
SILENCE_BLOCKS = 5  # 0.1 s of such blocks in a row are a pause
LONGEST = 2 * 3600  # seconds: the features of more take more memory than a laptop has
IMPOSSIBLE = 24 * 3600  # seconds: what claims to be longer is a damaged header
BLOCK = 2**20  # samples read at a time, of all channels
SLOWEST, FASTEST = 4_000, 768_000  # Hz, sampling rates that recordings have


def extract_features(path: str | os.PathLike[str]) -> np.ndarray:
    """The features of a recording, (frames, 40) float32. Raises SpeakerError naming the file and what is wrong with it."""
    try:
        return log_mel(remove_silence(normalise_peak(read_audio(path))))
    except ValueError as error:
        raise SpeakerError(f"{path} {error}: leave it out or record it again.") from error


def read_audio(path: str | os.PathLike[str]) -> np.ndarray:
    """A WAV, FLAC, OGG or MP3 file as (samples,) float32 at 16 kHz, channels averaged. Raises SpeakerError."""
    try:
        import librosa  # here, so that the library imports without them
        import soundfile
    except ImportError:
        raise SpeakerError(
            "reading recordings needs the packages soundfile and librosa: run `pip install soundfile librosa`."
        ) from None
    path = Path(path)
    if not path.is_file():
        raise SpeakerError(f"{path} is not there: check the path of the recording.")
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if file.frames > IMPOSSIBLE * rate or not SLOWEST <= rate <= FASTEST:
                raise ValueError(f"{file.frames:,} samples at {rate:,} Hz")
            if file.frames > LONGEST * rate:
                hours = file.frames / rate / 3600
                raise SpeakerError(f"{path} lasts {hours:.1f} hours: cut it into pieces of at most {LONGEST // 3600} hours.")
            samples = _mono(file)
    except (soundfile.SoundFileError, TypeError, ValueError, OSError, MemoryError) as error:
        raise SpeakerError(
            f"{path} is not a readable recording ({first_line(error)}): convert it to WAV, FLAC, OGG or MP3."
        ) from error
    if rate != SAMPLE_RATE and len(samples) and np.isfinite(samples).all():
        samples = librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)
    if not np.isfinite(samples).all():
        raise SpeakerError(f"{path} holds samples that are not numbers (NaN or infinity): record it again.")
    return samples


def _mono(file) -> np.ndarray:
    """All samples of an open recording, (samples,) float32, its channels averaged.

    Block by block, so that neither all channels nor the length that a damaged header claims have to fit into memory.
    """
    blocks = [np.zeros(0, dtype=np.float32)]
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks the values
        while len(block := file.read(BLOCK // file.channels + 1, dtype="float32", always_2d=True)):  # (samples, channels)
            blocks.append(block.mean(axis=1))
    return np.concatenate(blocks)


def normalise_peak(samples: np.ndarray) -> np.ndarray:
    """Scales (samples,) so that the loudest one lies at -3 dB. Raises ValueError for digital silence."""
    peak = np.abs(samples).max(initial=0.0)
    if peak < 1e-6:
        raise ValueError("holds no sound")
    return samples * np.float32(PEAK / peak)


def remove_silence(samples: np.ndarray) -> np.ndarray:
    """Cuts every pause out of (samples,): what stays below 1% of full scale for 0.1 s. Raises ValueError if nothing is left."""
    n_blocks = len(samples) // SILENCE_BLOCK
    blocks = samples[: n_blocks * SILENCE_BLOCK].reshape(n_blocks, SILENCE_BLOCK)  # (blocks, samples per block)
    quiet = np.sqrt(np.mean(blocks**2, axis=1)) < SILENCE_LEVEL  # (blocks,)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))  # where quiet runs begin and end, alternating
    keep = np.ones(len(samples), dtype=bool)
    for begin, end in edges.reshape(-1, 2):
        if end - begin >= SILENCE_BLOCKS:
            keep[begin * SILENCE_BLOCK : end * SILENCE_BLOCK] = False
    kept = samples[keep]
    if len(kept) < WINDOW:
        raise ValueError("holds no sound longer than a pause")
    return kept


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Log-mel features of (samples,) at 16 kHz: (1 + samples // 160, 40) float32, the natural log of mel power.

    Raises ValueError for less than one window of 25 ms.
    """
    if len(samples) < WINDOW:
        raise ValueError("is shorter than 25 ms")
    spectrum = torch.stft(
        torch.from_numpy(samples.astype(np.float64)),  # in float32 the logarithm of a faint band is off by some 0.003
        n_fft=N_FFT,
        hop_length=HOP,
        window=torch.hann_window(WINDOW, dtype=torch.float64),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )  # (bins, frames)
    power = spectrum.abs().square()  # (bins, frames)
    mel = mel_filters() @ power  # (40, frames)
    return mel.clamp(min=POWER_FLOOR).log().T.float().contiguous().numpy()  # (frames, 40)


@functools.cache
def mel_filters() -> torch.Tensor:
    """(40, 201) triangular filters of height 1, equally spaced on the HTK mel scale, 2595 log10(1 + f / 700)."""
    edges = mel_edges()  # (42,) Hz
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)  # (201,) Hz
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]  # (40, 201)
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]  # (40, 201)
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)))


def mel_edges() -> np.ndarray:
    """(42,) Hz, equally spaced on the HTK mel scale: band i rises from edge i to its centre i + 1 and falls to edge i + 2."""
    edges = np.linspace(_hz_to_mel(F_MIN), _hz_to_mel(F_MAX), N_MELS + 2)  # (42,) mel
    return 700.0 * (10.0 ** (edges / 2595.0) - 1.0)  # (42,)


def _hz_to_mel(frequency: float) -> float:
    return 2595.0 * np.log10(1.0 + frequency / 700.0)
