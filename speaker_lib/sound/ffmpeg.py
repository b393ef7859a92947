"""Recordings that libsndfile does not decode, by the program ffmpeg.  In: a file.  Out: its samples."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..utils.errors import SpeakerError
from .decoder import LONGEST, Decoded, too_long

# What files begin with, and what people call them.
FOREIGN = {
    "an M4A or MP4 file": rb"[\0-\x08]...(ftyp(?!hei|hev|mif1|msf1|avi|crx|jp)|styp|moov|moof|mdat|wide)",  # no HEIC or AVIF
    "a WebM or Matroska file": rb"\x1a\x45\xdf\xa3",
    "a WMA file": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "an AMR file": rb"#!AMR",
    "an AAC file": rb"\xff[\xf0\xf1\xf8\xf9]",
    "an AC-3 file": rb"\x0b\x77.{3}[\x40-\x5f]",
    "a sound or video file": rb"wvpk|MAC .\x0f|TTA1|MPCK|MP\+|\.RMF\0|FLV\x01|RIFF....AVI |\0\0\x01\xba|G.{187}G.{187}G",
}
OWN = (
    rb"(RIFF|RIFX|RF64|BW64)....WAVE|riff\x2e\x91\xcf\x11|FORM....AIF|caff\0\x01|fLaC|OggS\0"
    rb"|ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa-\xfd]"
)
KINDS = {kind: re.compile(magic, re.DOTALL) for kind, magic in {**FOREIGN, "a sound file": OWN}.items()}


def kind_of(file: BinaryIO) -> str | None:
    """What the beginning of an open file says that it is, if that is sound or video."""
    file.seek(0)
    head = file.read(1024)
    return next((kind for kind, magic in KINDS.items() if magic.match(head)), None)


def is_needed_for(kind: str) -> bool:
    """Whether libsndfile decodes no file of this kind."""
    return kind in FOREIGN


def is_here() -> bool:
    """Whether the program is installed."""
    return shutil.which("ffmpeg") is not None


def decode(path: Path, kind: str, rate: int) -> Decoded:
    """The sound of a file, resampled to ``rate``. Raises SpeakerError without ffmpeg, and for a file that it does not decode."""
    if not is_here():
        raise SpeakerError(
            f"{path} is {kind}, which needs ffmpeg: install it, or convert the file where it is installed: {_line(path)}."
        )
    done = subprocess.run(
        [shutil.which("ffmpeg"), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info",
         "-protocol_whitelist", "file,pipe", "-i", f"file:{Path.cwd() / path}",  # a name may look like an option or an address
         "-map", "0:a:0", "-ac", "1", "-ar", str(rate), "-t", str(LONGEST + 1), "-f", "f32le", "pipe:1"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    log = done.stderr.decode(errors="replace")
    samples = np.frombuffer(done.stdout, dtype="<f4", count=len(done.stdout) // 4)  # (samples,)
    troubles = re.findall(r"\[(?:error|fatal)\] (.*)", log)
    if not len(samples):
        reason = re.sub(r"file:.*?: ", "", troubles[0])[:120] if troubles else "no sound"
        raise SpeakerError(f"{path} is not a readable recording ({reason}): record it again or leave it out.")
    if len(samples) > LONGEST * rate:
        raise too_long(path, len(samples) / rate, "more than ")
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", log)
    if not troubles or not length or "Estimating duration" in log:
        return Decoded(samples, rate)
    hours, minutes, seconds = map(float, length.groups())
    return Decoded(samples, rate, 3600 * hours + 60 * minutes + seconds, troubles[-1])


def _line(path: Path) -> str:
    source, target = (f"./{name}" if str(name).startswith("-") else str(name) for name in (path, path.with_suffix(".wav")))
    return f"`ffmpeg -i {shlex.quote(source)} {shlex.quote(target)}`"
