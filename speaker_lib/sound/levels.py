"""What the level of a recording says of it.  In: (samples,) at 16 kHz.  Out: a sentence's second half, or none."""

from __future__ import annotations

import numpy as np

from .reading import SAMPLE_RATE

BLOCK = SAMPLE_RATE // 50  # samples: the level is measured over 20 ms
FAINTEST = -55.0  # dB of full scale: the loudest 20 ms of speech with a peak of 1% are louder
FAINT, SWELL = -40.0, 6.0  # dB: below this level, what never rises so far above its median is noise
OFFSET = 0.01 / 0.7  # of the peak: a larger offset is above the level of a pause, see `features`
LITTLE, SHORT = 1 / 3, 0.5  # of a recording, and seconds: if less is left of it, that is said
SPIKE = 0.25  # of the peak: if the rest stays below it, the loudest 0.1 s set the level


def block_levels(samples: np.ndarray) -> np.ndarray:
    """(blocks,) RMS of each 20 ms of (samples,)."""
    n_blocks = len(samples) // BLOCK
    blocks = samples[: n_blocks * BLOCK].reshape(n_blocks, BLOCK)  # (blocks, samples per block)
    return np.sqrt(np.mean(blocks**2, axis=1))  # (blocks,)


def remove_offset(samples: np.ndarray) -> tuple[np.ndarray, str]:
    """(samples,) without an offset so large that no pause could be found, and a note if there was one.

    HW4's front end keeps the offset; four of 101 recordings of LibriSpeech have one.
    """
    peak = np.abs(samples).max(initial=0.0)
    offset = samples.mean(dtype=np.float64) if len(samples) >= BLOCK else 0.0
    if abs(offset) <= OFFSET * peak:
        return samples, ""
    note = f"has a constant offset of {abs(offset) / peak:.0%} of its peak, which was taken off so that pauses can be found."
    return samples - np.float32(offset), note


def check_speech(samples: np.ndarray) -> None:
    """Raises ValueError where (samples,), before they are normalised, hold at most the noise of a room or of a converter."""
    levels = 20 * np.log10(block_levels(samples) + 1e-9)  # (blocks,) dB
    loudest = levels.max(initial=-180.0)
    if len(levels) and (loudest < FAINTEST or (loudest < FAINT and loudest - np.median(levels) < SWELL)):
        raise ValueError(f"holds no speech, its loudest 20 ms are at {loudest:.0f} dB of full scale")


def note_on_pauses(samples: np.ndarray, kept: np.ndarray) -> str:
    """A note where little of (samples,) is among those ``kept`` when the pauses were cut."""
    seconds, left = len(samples) / SAMPLE_RATE, len(kept) / SAMPLE_RATE
    if left < LITTLE * seconds:
        why = loud_moment(samples)
        advice = "cut it out and use the recording again" if why else "check that somebody speaks in it"
        return f"has {left:.1f} of {seconds:.1f} s left after pauses were cut{why}: {advice}."
    return f"has only {left:.1f} s of sound: record more, if you can." if left < SHORT else ""


def loud_moment(samples: np.ndarray) -> str:
    """The half of a sentence on a single loud moment in (samples,), beside which the rest counts as pauses; else nothing."""
    n_blocks = len(samples) // BLOCK
    peaks = np.sort(np.abs(samples[: n_blocks * BLOCK]).reshape(n_blocks, BLOCK).max(axis=1, initial=0.0))  # (blocks,)
    if n_blocks <= 5 or peaks[-6] >= SPIKE * peaks[-1]:
        return ""
    return f", because a loud moment at {np.abs(samples).argmax() / SAMPLE_RATE:.1f} s sets the level"
