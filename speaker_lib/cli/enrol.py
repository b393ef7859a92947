"""``enrol``: a book of people to recognise, by a few recordings of each and without training."""

import sys
from argparse import ArgumentParser, Namespace

from ..utils.errors import ConfigError, CorpusError, escape_controls
from .options import add_run


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "recordings", metavar="RECORDING", nargs="*", default=(), help="a sound file of the person, or a folder of them"
    )
    parser.add_argument("--book", metavar="FILE", help="the file with the people (people.safetensors in the run's folder)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--name", help="who speaks in the recordings; recordings of a name that is there are added")
    what.add_argument("--list", action="store_true", help="list the people in the book")
    what.add_argument("--remove", metavar="NAME", help="delete a person from the book")
    help = "people to calibrate the threshold on, best some whom the run was not trained on (the training data)"
    parser.add_argument("--data", metavar="DATA_DIR", help=help)


def run(options: Namespace) -> int:
    from ..evaluation.book import BOOK
    from ..training.run import Run

    if options.name is not None and not options.recordings:
        raise ConfigError(f"no recording of {escape_controls(options.name)} is named: give one or more sound files.")
    if options.name is None and options.recordings:
        raise ConfigError("nobody is named to enrol by these recordings: say who speaks in them (--name).")
    if options.name is None and options.remove is None and options.data is None and not options.list:
        raise ConfigError("there is nothing to do: give --name NAME and recordings, --list, --remove NAME, or --data.")
    run = Run.open(options.run)
    path = options.book or str(run.folder / BOOK)
    if options.list:
        _list(run, path)
    elif options.remove is not None:
        _remove(run, path, options.remove)
    else:
        _add(run, path, options)
    return 0


def _list(run, path: str) -> None:
    from ..evaluation.book import Book
    from ..utils.text import text_table

    book = Book.open(path, run)
    found = [[entry for entry in book.entries if entry.name == name] for name in book.people]
    rows = [(entries[0].name, f"{len(entries)}", f"{sum(entry.seconds for entry in entries):.1f}") for entries in found]
    print(text_table([("name", "recordings", "seconds of speech"), *rows]) if rows else f"{escape_controls(path)}: nobody.")


def _remove(run, path: str, name: str) -> None:
    from ..evaluation.book import Book

    Book.open(path, run)  # a book that is not there gets no lock beside it
    with Book.locked(path):
        book = Book.open(path, run).remove(name)
        book.save(path)
    print(f"{escape_controls(path)}: {escape_controls(name)} is removed; {_count(len(book.people), 'person', 'people')} left.")


def _add(run, path: str, options: Namespace) -> None:
    from dataclasses import replace
    from pathlib import Path

    import numpy as np

    from ..evaluation.book import Book, check_name
    from ..evaluation.enrolment import calibrate, find_reference, make_entries
    from ..evaluation.recordings import find_recordings
    from ..evaluation.text import threshold_text
    from ..training.run import digest
    from ..utils.device import get_device

    device, entries, why = get_device(), [], None
    book = Book.open(path, run) if Path(path).exists() or options.name is None else None
    if options.name is not None:
        name = check_name(options.name)
        recordings, problems = find_recordings(options.recordings)
        if not recordings:
            raise ConfigError(problems[0])
        for sentence in problems:
            print(f"skipped: {escape_controls(sentence)}", file=sys.stderr)
        entries, vectors = make_entries(run, name, recordings, device)
    reference = book.reference if book else None
    if reference is None or options.data is not None:
        try:
            reference = find_reference(run, options.data, device)
        except CorpusError as problem:
            if options.data is not None:
                raise
            why = problem
    with Book.locked(path):
        book = Book.open(path, run) if Path(path).exists() else Book(digest(run.weights()), (), np.zeros((0, vectors.shape[1])))
        book = replace(book.add(entries, vectors) if entries else book, reference=reference)
        book.save(path)
    if entries:
        seconds, count = sum(entry.seconds for entry in entries), _count(len(entries), "recording", "recordings")
        of = _count(len(book.people), "person", "people")
        print(f"{escape_controls(path)}: {name} is enrolled by {count}, {seconds:.1f} s of speech; {of} in the book.")
    if reference is None:
        print(f"It has no threshold yet, so `identify` needs --threshold: {escape_controls(str(why))}")
    else:
        print(threshold_text(calibrate(reference, max(1, len(book.people)), book.recordings_each), reference))


def _count(n: int, one: str, several: str) -> str:
    return f"{n:,} {one if n == 1 else several}"
