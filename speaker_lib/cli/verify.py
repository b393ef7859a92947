"""``verify``: speaker verification on pairs of utterances."""

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..utils.errors import ConfigError
from .options import add_data, add_figure, add_run, check_figure, print_figure


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_run(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pairs", metavar="FILE", help="VoxCeleb's format: `1 path path` (one speaker) or `0 path path` (two)")
    which.add_argument("--trials", type=int, metavar="N", default=20_000, help="pairs to draw, half of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the drawn pairs (0)")
    parser.add_argument("--all", action="store_true", help="draw from the run's training data, too, if DATA_DIR holds them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_figure(parser, "scores and error rates")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import unseen_indices
    from ..evaluation.text import verification_text
    from ..evaluation.trials import draw_trials, read_trials
    from ..evaluation.verification import verify
    from ..training.run import Run
    from ..utils.device import get_device

    run, corpus = Run.open(options.run), Corpus.open(options.data)
    check_figure(options.figure)
    if options.pairs is None:
        trials = draw_trials(corpus, unseen_indices(run, corpus, options.all), options.trials, options.seed or 0)
    elif options.all or options.seed is not None:
        raise ConfigError("--pairs names the pairs, so none are drawn: omit --all and --seed.")
    else:
        trials = read_trials(options.pairs, corpus)
    result, scores = verify(run, corpus, trials, get_device())
    if options.figure:
        from ..plots import save_figure, verification_figure

        save_figure(verification_figure(result, scores, trials.same), options.figure)
    if options.json:
        print(json.dumps(asdict(result), indent=1, ensure_ascii=False))
    else:
        print(verification_text(result))
        print_figure(options.figure)
    return 0
