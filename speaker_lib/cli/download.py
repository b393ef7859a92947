"""``download``: fetches open data."""

import contextlib
import difflib
import shlex
import signal
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from ..download.sources import HW4, SOURCES
from ..utils.errors import ConfigError, escape_controls, short_repr

_NAMES = "\n".join(f"  {source.name:<16} {source.content}; {source.unpacked} GB" for source in SOURCES.values())
_CITATIONS = "\n".join(dict.fromkeys(f"  {source.licence}, cite {source.citation}" for source in SOURCES.values()))
MORE = f"""HW4, on another disk: download hw4 --to /mnt/big/hw4

data sets, and the disk that they take (as much again while they are fetched):
{_NAMES}

hw4 goes into DIR itself (data/Dataset), the others into DIR/LibriSpeech/NAME (data/LibriSpeech/NAME). The folder is there when
it is complete and verified, not before. What was fetched lies in a folder .parts beside it: after a failure give the same
command again, and it goes on where it was. `data/download.sh [NAME] [TARGET]` is this command with hw4 as the default.

environment: SPEAKER_DATA_URL (for hw4) and SPEAKER_SPEECH_URL (for LibriSpeech) are as --mirror; SPEAKER_DATA_EXPECT names a file
that --describe made and SPEAKER_SPEECH_EXPECT one with a line `dev-clean.tar.gz BYTES SHA256`, to fetch other data than these.

Your own data set in the layout of HW4, as an archive in one part:
  python -m speaker_lib download --describe data/mine >mine.expected
  tar -cz -C data mine >mine.tar.gz.aa      # to be put on a server, beside mine.expected
  SPEAKER_DATA_EXPECT=mine.expected SPEAKER_DATA_URL=https://example.org/mine.tar.gz. python -m speaker_lib download hw4 --to mine

Exit codes: 0 the data set is complete; 2 wrong usage, or an unusable SPEAKER_DATA_EXPECT; 3 the network failed; 4 an archive is
damaged, unsafe or not the data set expected; 5 the disk is full, too small or not writable; 6 another run is at it; 7 the folder
is in the way, or not whole; 130 and 143 after a signal; 1 anything else. Where every mirror failed, it is 3 if the network
failed for one of them, otherwise 4.

Licences, to be named wherever data or plots of them are shown:
{_CITATIONS}"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="NAME", nargs="*", default=(), help=f"{', '.join(SOURCES)}")
    parser.add_argument("--to", metavar="DIR", help="where to put it (data/Dataset for hw4, data for the others)")
    parser.add_argument("--mirror", metavar="NAME|URL", help="one mirror only, or a URL before the names of the files")
    parser.add_argument("--keep-parts", action="store_true", help="keep the archive, for a --repair that need not fetch it again")
    parser.add_argument("--deep", action="store_true", help="compare the content of every file, not only its length")
    parser.add_argument("--repair", action="store_true", help="put back the files that are missing or differ")
    parser.add_argument("--describe", metavar="FOLDER", help="print what a data set is to be, for SPEAKER_DATA_EXPECT")
    parser.add_argument("--beside", metavar="DIR", help=SUPPRESS)  # data/download.sh gives its own folder: NAME may be left out


def run(options: Namespace) -> int:
    from ..download.datasets import download
    from ..download.expected import describe

    if options.describe is not None:
        print(describe(Path(options.describe)))
        return 0
    name, to = _choice(options)
    try:
        with _ending_on_signals():
            folder = download(name, to, options.mirror, options.keep_parts, options.deep, options.repair)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    if name != HW4.name:
        out = Path(to or "data") / name
        command = f"python -m speaker_lib prepare {shlex.quote(str(folder))} {shlex.quote(str(out))} --chunk 4"
        print(f"Next: {escape_controls(command)}")
    return 0


def _choice(options: Namespace) -> tuple[str, str | None]:
    """The data set, and the folder if one is named."""
    words = list(options.what)
    if options.beside is None:
        if len(words) != 1:
            raise ConfigError(f"{len(words)} data sets are named: name one of {', '.join(SOURCES)}.")
        return words[0], options.to
    name = words.pop(0) if words and words[0] in SOURCES else HW4.name
    if len(words) + (options.to is not None) > 1 or "" in words:
        raise ConfigError("there can be one TARGET only: see data/download.sh --help.")
    if words and (near := difflib.get_close_matches(words[0], SOURCES)) and not Path(words[0]).exists():
        raise ConfigError(f"there is no data set {short_repr(words[0])}: choose {near[0]}, or write ./{words[0]} for a folder.")
    default = Path(options.beside, "Dataset") if name == HW4.name else Path(options.beside)
    return name, words[0] if words else options.to or str(default)


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it tidies up."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    numbers = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
