"""``simulate``: a data set of simulated voices."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_workers


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="the folder of the new data set")
    parser.add_argument("--speakers", type=int, default=100, help="number of voices (%(default)s)")
    parser.add_argument("--utterances", type=int, default=60, help="labelled utterances per voice, of 2 to 8 s (%(default)s)")
    parser.add_argument("--test-utterances", type=int, default=2, help="utterances per voice for the test set (%(default)s)")
    parser.add_argument("--sessions", type=int, default=4, help="recording sessions per voice (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")
    parser.add_argument(
        "--augment",
        type=int,
        default=0,
        metavar="N",
        help="add N copies of each utterance in other channels, for training only (%(default)s)",
    )
    add_workers(parser)


def run(options: Namespace) -> int:
    from ..simulation.corpus import Simulation, simulate

    names = ("speakers", "utterances", "test_utterances", "sessions", "seed", "augment")
    simulation = Simulation(**{name: getattr(options, name) for name in names})
    simulate(options.out, simulation, options.workers)
    print(f"{escape_controls(options.out)}: {simulation.source}.")
    return 0
