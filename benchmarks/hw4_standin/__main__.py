"""Makes a stand-in for HW4 with its size and its distribution of lengths: 3.4 GB of synthetic features.

python -m benchmarks.hw4_standin data/standin
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from speaker_lib.cli.main import run_command
from speaker_lib.cli.options import add_workers
from speaker_lib.utils.errors import escape_controls

from .corpus import StandIn, write_standin
from .features import Variability
from .search import add_spreads


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code, as ``python -m speaker_lib`` does."""
    return run_command(parse_args(arguments))


def parse_args(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        prog="python -m benchmarks.hw4_standin", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    size = StandIn()
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--speakers", type=int, default=size.speakers, help="how many (%(default)s)")
    parser.add_argument(
        "--utterances", type=int, default=size.utterances, help="labelled, per speaker on average (%(default).2f)"
    )
    parser.add_argument(
        "--test-utterances", type=int, default=size.test_utterances, help="for the test set, per speaker (%(default).2f)"
    )
    parser.add_argument("--sessions", type=int, default=size.sessions, help="per speaker (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same data (%(default)s)")
    add_spreads(parser)
    add_workers(parser)
    parser.set_defaults(command=run)
    return parser.parse_args(arguments)


def run(options: Namespace) -> int:
    size = (options.speakers, options.utterances, options.test_utterances, options.sessions)
    standin = StandIn(*size, options.seed, Variability(*options.spreads))
    write_standin(options.out, standin, options.workers)
    print(f"{escape_controls(options.out)}: {standin.source}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
