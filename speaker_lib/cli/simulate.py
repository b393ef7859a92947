"""``simulate``: a data set of simulated voices."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import ConfigError, escape_controls
from .options import add_key, add_workers, print_key


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
    add_key(parser, required=False)
    add_workers(parser)


def run(options: Namespace) -> int:
    from ..data.hidden import secret_seed
    from ..simulation.corpus import Simulation, simulate

    if options.key is None and options.test_seed is not None:
        raise ConfigError("--test-seed makes a test set with a key: name a file for it with --key.")
    if options.key is not None and not options.test_utterances:
        raise ConfigError("--test-utterances is 0, so there is nothing for a key: choose 1 or more, or leave out --key.")
    names = ("speakers", "utterances", "test_utterances", "sessions", "seed", "augment")
    test_seed = None if options.key is None else secret_seed(options.test_seed)
    simulation = Simulation(**{name: getattr(options, name) for name in names}, test_seed=test_seed)
    simulate(options.out, simulation, options.workers, options.key)
    print(f"{escape_controls(options.out)}: {simulation.source}.")
    if options.key is not None:
        print_key(options.key, test_seed)
    return 0
