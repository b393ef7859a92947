"""``verify``: is it one speaker in both?  On pairs of utterances of a data set, or on two recordings."""

import json
import os
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..utils.errors import ConfigError, CorpusError, escape_controls
from .options import add_figure, add_run, check_figure, check_threshold, print_figure

_OF_PAIRS = ("pairs", "trials", "seed", "all", "within_sessions", "scores", "figure")  # options that two recordings do not take


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recordings", metavar="RECORDING", nargs="*", default=(), help="two sound files to compare, in place of a data set"
    )
    help = "a folder in the layout of HW4 (default: SPEAKER_DATA); of two recordings, people to calibrate the threshold on"
    parser.add_argument("--data", metavar="DATA_DIR", help=help)
    add_run(parser)
    which = parser.add_mutually_exclusive_group()
    pairs = "VoxCeleb's format: `1 path path` (one speaker) or `0 path path` (two); a path may be speaker/recording"
    which.add_argument("--pairs", metavar="FILE", help=pairs)
    which.add_argument("--trials", type=int, metavar="N", help="pairs to draw, half of each kind (20,000)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the drawn pairs (0)")
    parser.add_argument("--all", action="store_true", help="draw from the run's training data, too, if DATA_DIR holds them")
    parser.add_argument("--within-sessions", action="store_true", help="let both utterances of a pair be of one session")
    parser.add_argument("--scores", metavar="CSV", help="a file to write, with a line per pair: first,second,same,score")
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="of two recordings: one person from this score on")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_figure(parser, "scores and error rates")


def run(options: Namespace) -> int:
    from ..training.run import Run

    run = Run.open(options.run)
    if not options.recordings:
        return _verify_pairs(options, run)
    if len(options.recordings) != 2:
        raise ConfigError(f"{len(options.recordings)} recordings are named: give two to compare, or none and --data.")
    if given := [name for name in _OF_PAIRS if getattr(options, name) not in (None, False)]:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for a data set, not for two recordings: omit it.")
    return _compare(options, run)


def _compare(options: Namespace, run) -> int:
    from ..evaluation.book import BOOK, Book
    from ..evaluation.enrolment import calibrate, compare, find_reference
    from ..evaluation.text import score_kind, threshold_text
    from ..utils.device import get_device

    check_threshold(options.threshold)
    device, path, reference, why = get_device(), run.folder / BOOK, None, None
    if options.data is None and path.exists():
        reference = Book.open(path, run).reference
    if reference is None:
        try:
            reference = find_reference(run, options.data, device)
        except CorpusError as problem:
            if options.data is not None:
                raise
            why = str(problem)
    score = compare(run, tuple(options.recordings), reference, device)
    calibrated = calibrate(reference, 1, 1) if reference and options.threshold is None else None
    threshold = calibrated.score if calibrated else options.threshold
    same = None if threshold is None else score >= threshold
    if options.json:
        rates = asdict(calibrated) if calibrated else None
        print(json.dumps({"same": same, "score": score, "threshold": threshold, "calibrated": rates}, indent=1))
        return 0
    kind = score_kind(reference)
    if same is None:
        print(f"{kind} {score:.3f}; no threshold, so no answer (give --threshold): {escape_controls(why)}")
    else:
        print(f"{'same person' if same else 'different people'}: {kind} {score:.3f}, threshold {threshold:.3f}")
    if calibrated:
        print(threshold_text(calibrated, reference))
    return 0


def _verify_pairs(options: Namespace, run) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import unseen_indices
    from ..evaluation.text import verification_text
    from ..evaluation.trials import draw_trials, read_trials, utterance_names
    from ..evaluation.verification import verify
    from ..utils.device import get_device
    from ..utils.files import write_csv

    data = options.data or os.environ.get("SPEAKER_DATA")
    if not data:
        raise ConfigError("there is nothing to verify: name a data set (--data), or two recordings.")
    if options.threshold is not None:
        raise ConfigError("--threshold is for two recordings, and a data set gives the threshold of equal errors: omit it.")
    corpus = Corpus.open(data)
    check_figure(options.figure)
    if options.pairs is None:
        count = 20_000 if options.trials is None else options.trials
        utterances = unseen_indices(run, corpus, options.all)
        trials = draw_trials(corpus, utterances, count, options.seed or 0, options.within_sessions)
    elif options.all or options.within_sessions or options.seed is not None:
        raise ConfigError("--pairs names the pairs, so none are drawn: omit --all and --seed, and --within-sessions.")
    else:
        trials = read_trials(options.pairs, corpus)
    result, scores = verify(run, corpus, trials, get_device())
    if options.figure:
        from ..plots import save_figure, verification_figure

        save_figure(verification_figure(result, scores, trials.same), options.figure)
    if options.scores:
        names, pairs = utterance_names(corpus), zip(trials.first, trials.second, trials.same, scores, strict=True)
        rows = ((names[i], names[j], int(same), f"{score:.6f}") for i, j, same, score in pairs)
        write_csv(options.scores, ("first", "second", "same", "score"), rows)
    if options.json:
        print(json.dumps(asdict(result), indent=1, ensure_ascii=False))
    else:
        print(verification_text(result))
        print_figure(options.figure)
        if options.scores:
            print(f"Scores: {escape_controls(options.scores)}")
    return 0
