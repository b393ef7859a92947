"""``embed``: the embedding of every utterance, in one file."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_data, add_figure, add_run, check_figure, print_figure


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_run(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="include the run's training data, if DATA_DIR holds them")
    which.add_argument("--test", action="store_true", help="the test set, which names no speakers")
    parser.add_argument("--out", metavar="NPZ", default="vectors.npz", help="the file to write (%(default)s)")
    add_figure(parser, "a t-SNE map of the embeddings")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import embed, unseen_indices
    from ..training.run import Run
    from ..utils.device import get_device

    run, corpus = Run.open(options.run), Corpus.open(options.data)
    check_figure(options.figure)
    found = embed(run, corpus, None if options.test else unseen_indices(run, corpus, options.all), get_device())
    if options.figure:
        from ..plots import map_figure, save_figure

        save_figure(map_figure(found), options.figure)
    found.save(options.out)
    count, width = found.vectors.shape
    print(f"{escape_controls(options.out)}: {count:,} vectors of {width} numbers, not normalised.")
    print_figure(options.figure)
    return 0
