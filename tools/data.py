"""``make course DATA=dev-clean``: fetches and prepares a data set for the lessons. Needs no more than a reader has."""

from __future__ import annotations

import sys
from pathlib import Path

from speaker_lib.course.speech import fetch_speech
from speaker_lib.utils.errors import SpeakerError

ROOT = Path(__file__).resolve().parents[1]


def main(name: str) -> int:
    """Puts the data set into ``data/NAME`` and returns the exit code."""
    try:
        fetch_speech(ROOT, name)
    except SpeakerError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
