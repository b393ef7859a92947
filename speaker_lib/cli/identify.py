"""``identify``: who speaks in a recording, among the people enrolled in a book or the speakers of the training data."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..utils.errors import ConfigError, SpeakerError, escape_controls
from .options import add_run, check_threshold


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("recordings", metavar="RECORDING", nargs="+", help="a sound file, or a folder of them")
    among = parser.add_mutually_exclusive_group()
    among.add_argument(
        "--book", metavar="FILE", help="people that `enrol` added (people.safetensors in the run's folder, if any)"
    )
    among.add_argument("--trained", action="store_true", help="the speakers of the training data, although there is a book")
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, metavar="SCORE", help="with a book: nobody's below this score")
    rate = "with a book: the fraction of strangers to take for somebody (0.05), which decides the threshold"
    threshold.add_argument("--false-accepts", type=float, metavar="RATE", help=rate)
    parser.add_argument("--json", action="store_true", help="print one JSON list")


def run(options: Namespace) -> int:
    from ..evaluation.book import BOOK, Book
    from ..evaluation.recordings import find_recordings, identify
    from ..evaluation.text import identified_text
    from ..training.run import Run
    from ..utils.device import get_device

    run = Run.open(options.run)
    path = options.book or run.folder / BOOK
    if not options.trained and (options.book or path.exists()):
        return _recognise(options, run, Book.open(path, run))
    if options.threshold is not None or options.false_accepts is not None:
        raise ConfigError(
            "a threshold is for the people in a book: make one with `enrol`, or omit --threshold and --false-accepts."
        )
    recordings, problems = find_recordings(options.recordings)
    found = _usable(identify(run, recordings, get_device()), problems)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
    else:
        print(identified_text(found, run))
    return 0


def _recognise(options: Namespace, run, book) -> int:
    from ..evaluation.enrolment import FALSE_ACCEPTS, calibrate, recognise
    from ..evaluation.recordings import find_recordings
    from ..evaluation.text import recognised_text, threshold_text
    from ..utils.device import get_device

    check_threshold(options.threshold)
    recordings, problems = find_recordings(options.recordings)
    calibrated = None
    if options.threshold is None:
        if book.reference is None:
            raise ConfigError("the book has no threshold: give one (--threshold), or people to calibrate it on (`enrol --data`).")
        rate = FALSE_ACCEPTS if options.false_accepts is None else options.false_accepts
        calibrated = calibrate(book.reference, max(1, len(book.people)), book.recordings_each, rate)
    threshold = options.threshold if calibrated is None else calibrated.score
    found = _usable(recognise(run, book, recordings, get_device()), problems)
    if options.json:
        rows = [{**asdict(one), "name": one.name(threshold), "threshold": threshold} for one in found]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    print(recognised_text(found, threshold))
    print(f"\n{threshold_text(calibrated, book.reference) if calibrated else f'Threshold: {threshold:g}, given by hand.'}")
    return 0


def _usable(results, problems: list[str]) -> list:
    """The results, while a line on stderr tells of each recording that has none. Raises SpeakerError if there is no result."""
    found, problems = [], list(problems)
    for result in results:
        problems.append(str(result)) if isinstance(result, SpeakerError) else found.append(result)
    if not found and len(problems) == 1:
        raise SpeakerError(problems[0])
    for sentence in problems:
        print(f"skipped: {escape_controls(sentence)}", file=sys.stderr)
    if not found:
        raise SpeakerError(f"none of the {len(problems):,} recordings can be used: see the lines above.")
    return found
