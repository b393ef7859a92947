"""The commands ``embed`` and ``verify``: a vector per utterance, and whether two utterances are of one speaker."""

from __future__ import annotations

import argparse
import json

from ..utils.errors import ConfigError, escape_controls


def add_embed_options(parser: argparse.ArgumentParser) -> None:
    """What can be said after ``embed`` besides the run and the data."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="take in what the run was trained on, if it was on DATA_DIR")
    which.add_argument("--test", action="store_true", help="the test set, whose speakers are not known")
    parser.add_argument("--out", metavar="NPZ", default="vectors.npz", help="the file to write (%(default)s)")
    parser.add_argument("--figure", metavar="FIGURE", help="a map of them, as a .png, .pdf or .svg file")


def embed_command(options: argparse.Namespace) -> int:
    """Writes a vector per utterance, perhaps a map of them; returns the exit code."""
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import embed, embed_test, unseen_indices
    from ..training.run import Run
    from ..utils.device import get_device

    run, corpus = Run.open(options.run), Corpus.open(options.data)
    _check_figure(options.figure)
    if options.test:
        found = embed_test(run, corpus, get_device())
    else:
        found = embed(run, corpus, unseen_indices(run, corpus, options.all), get_device())
    if options.figure:
        from ..plots.embeddings import map_figure
        from ..plots.runs import save_figure

        save_figure(map_figure(found), options.figure)
    found.save(options.out)
    count, width = found.vectors.shape
    print(f"{escape_controls(options.out)}: {count:,} vectors of {width} numbers, not normalised.")
    _say_figure(options.figure)
    return 0


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """What can be said after ``verify`` besides the run and the data."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pairs", metavar="FILE", help="lines `1 path path` (one speaker) or `0 path path` (two), as VoxCeleb's")
    which.add_argument("--trials", type=int, metavar="N", default=20_000, help="pairs to draw, half of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same pairs (0)")
    parser.add_argument("--all", action="store_true", help="draw also from what the run was trained on, if it was on DATA_DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--figure", metavar="FIGURE", help="scores and errors, as a .png, .pdf or .svg file")


def verify_command(options: argparse.Namespace) -> int:
    """Scores pairs of utterances and says how often that errs; returns the exit code."""
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import unseen_indices
    from ..evaluation.text import verification_text
    from ..evaluation.trials import draw_trials, read_trials
    from ..evaluation.verification import verify
    from ..training.run import Run
    from ..utils.device import get_device

    run, corpus = Run.open(options.run), Corpus.open(options.data)
    _check_figure(options.figure)
    if options.pairs is None:
        trials = draw_trials(corpus, unseen_indices(run, corpus, options.all), options.trials, options.seed or 0)
    elif options.all or options.seed is not None:
        raise ConfigError("--pairs names the pairs, and none are drawn: leave --all and --seed away.")
    else:
        trials = read_trials(options.pairs, corpus)
    result, scores = verify(run, corpus, trials, get_device())
    if options.figure:
        from ..plots.embeddings import verification_figure
        from ..plots.runs import save_figure

        save_figure(verification_figure(result, scores, trials.same), options.figure)
    print(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) if options.json else verification_text(result))
    if not options.json:
        _say_figure(options.figure)
    return 0


def _check_figure(figure: str | None) -> None:
    """Raises RunError for a name that no figure can have, before the work is done."""
    if figure:
        from ..plots.runs import figure_format

        figure_format(figure)


def _say_figure(figure: str | None) -> None:
    if figure:
        print(f"Figure: {escape_controls(figure)}")
