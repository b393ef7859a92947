"""Plays a data set: the sound of an utterance, from the recording that it was cut from.

``audio.json`` in a data folder names the folder of the recordings, relative to the data folder.  It is no index: a corpus is the
same with other recordings' place, or without them.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np

from ..sound.features import HOP, normalise_peak, remove_silence
from ..sound.levels import remove_offset
from ..sound.reading import read_audio
from ..utils.errors import SpeakerError
from .corpus import Corpus

AUDIO = "audio.json"


def write_audio_folder(folder: Path, recordings: Path, out: Path) -> None:
    """Writes to ``folder``, which will be ``out``, where the recordings lie."""
    with contextlib.suppress(ValueError):  # on another drive of Windows there is no relative path
        relative = os.path.relpath(recordings.resolve(), out.resolve())
        (folder / AUDIO).write_text(
            json.dumps({"folder": Path(relative).as_posix()}, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def utterance_audio(corpus: Corpus, i: int) -> np.ndarray | None:
    """Labelled utterance ``i`` as (samples,) float32 at 16 kHz, peak at -3 dB and without pauses: the sound of its features.

    None if the recording is not at hand, as with HW4 and simulated voices, and for an augmented copy.
    """
    if i not in corpus.labelled.clean:
        return None
    names, folder = corpus.labelled.recordings, _audio_folder(corpus.folder)
    if names is None or folder is None or not (folder / names[i]).is_file():
        return None
    first = i
    while first and names[first - 1] == names[i] and corpus.labelled.labels[first - 1] == corpus.labelled.labels[i]:
        first -= 1  # the pieces of a recording lie one after the other, then their copies
    begin, end = (int(corpus.labelled.offsets[at] - corpus.labelled.offsets[first]) for at in (i, i + 1))  # frames
    with contextlib.suppress(SpeakerError, ValueError):
        samples, _ = remove_offset(read_audio(folder / names[i]).samples)  # (samples,)
        speech = remove_silence(normalise_peak(samples))  # (samples that are no pause,)
        return speech[begin * HOP : end * HOP]
    return None


def _audio_folder(folder: Path) -> Path | None:
    try:
        named = json.loads((folder / AUDIO).read_text(encoding="utf-8"))["folder"]
        return folder.resolve() / named
    except (OSError, ValueError, KeyError, TypeError):
        return None
