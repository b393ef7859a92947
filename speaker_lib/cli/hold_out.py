"""``hold-out``: a test set with a key, taken from labelled utterances."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_data, add_key, print_key


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--to", metavar="DIR", required=True, help="the new folder, to hand out")
    parser.add_argument("--fraction", type=float, default=0.1, help="fraction of each speaker's utterances (%(default)s)")
    add_key(parser, required=True)


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..data.hidden import check_key, hold_out, secret_seed

    seed = secret_seed(options.test_seed)
    check_key(options.key, options.to)
    done = hold_out(Corpus.open(options.data), options.to, options.key, options.fraction, seed)
    print(
        f"{escape_controls(options.to)}: {done.n_labelled:,} labelled utterances and {done.n_test:,} for the test set, "
        f"of {done.n_speakers:,} speakers."
    )
    if not done.n_apart:
        print("Single utterances are held out: no speaker has two sessions that are named.")
    else:
        others = ", and single utterances of the others, who have one" * (done.n_apart < done.n_speakers)
        print(f"Whole sessions are held out of {done.n_apart:,} speakers{others}.")
    print_key(options.key, seed)
    data = escape_controls(options.data)
    print(f"Whoever has {data}, or can fetch or simulate these data, can look up the test utterances there: do not hand it out.")
    return 0
