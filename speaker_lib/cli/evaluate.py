"""The commands ``evaluate``, ``predict`` and ``identify``: what one run says, or several on average."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..utils.errors import ConfigError, escape_controls

if TYPE_CHECKING:
    from ..evaluation.ensemble import EnsembleConfig
    from ..training.run import Run


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """What can be said after ``evaluate`` besides the data."""
    _add_runs(parser)
    parser.add_argument(
        "--all", action="store_true", help="judge by every utterance of DATA_DIR, which training must not have seen"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def evaluate_command(options: argparse.Namespace) -> int:
    """Measures a run by both protocols and saves that, or the average of several runs; returns the exit code."""
    from ..data.corpus import Corpus
    from ..evaluation.ensemble import evaluate_ensemble
    from ..evaluation.identification import evaluate
    from ..evaluation.text import evaluation_text
    from ..utils.device import get_device

    averaging, runs, corpus = _averaging(options), _open_runs(options), Corpus.open(options.data)
    if len(runs) == 1:
        result, logits, labels = evaluate(runs[0], corpus, get_device(), options.all)
        if not options.all:
            runs[0].save_evaluation(result.to_dict())
    else:
        result, logits, labels = evaluate_ensemble(runs, corpus, get_device(), options.all, averaging)
    print(json.dumps(asdict(result), indent=1) if options.json else evaluation_text(result, logits, labels, corpus.speakers))
    return 0


def add_predict_options(parser: argparse.ArgumentParser) -> None:
    """What can be said after ``predict`` besides the data."""
    _add_runs(parser)
    parser.add_argument("--crops", type=int, metavar="N", default=1, help="judge long utterances by N crops, averaged")
    parser.add_argument("--crop-len", type=int, metavar="FRAMES", help="how long each crop is; shorter utterances stay whole")
    parser.add_argument("--out", metavar="CSV", default="submission.csv", help="the file to write (%(default)s)")


def predict_command(options: argparse.Namespace) -> int:
    """Writes the competition's CSV; returns the exit code."""
    from ..data.corpus import Corpus
    from ..evaluation.ensemble import predict
    from ..utils.device import get_device

    averaging = _averaging(options, options.crops, options.crop_len)
    count = predict(_open_runs(options), Corpus.open(options.data), options.out, get_device(), averaging)
    print(f"{escape_controls(options.out)}: {count:,} predictions.")
    return 0


def add_identify_options(parser: argparse.ArgumentParser) -> None:
    """What can be said after ``identify`` besides the run."""
    parser.add_argument("recording", metavar="RECORDING", help="a WAV, FLAC, OGG or MP3 file")


def identify_command(options: argparse.Namespace) -> int:
    """Prints the likeliest speakers of a recording; returns the exit code."""
    from ..evaluation.identification import identify
    from ..training.run import Run
    from ..utils.device import get_device

    for speaker, probability in identify(Run.open(options.run), options.recording, get_device()):
        print(f"{probability:7.4f}  {speaker}")
    return 0


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="*", default=(), help="the folders of runs, whose average is taken")
    parser.add_argument("--run", metavar="DIR", help="the folder of a run that `train` made, in place of RUN")
    parser.add_argument(
        "--average",
        choices=["probabilities", "logits"],
        help="what is averaged, of runs or crops (probabilities); logits suit runs of one head, since their scales must agree",
    )


def _averaging(options: argparse.Namespace, crops: int = 1, crop_len: int | None = None) -> EnsembleConfig:
    """What is averaged. Raises ConfigError for what cannot be, and for ``--average`` with one run and no crops."""
    from ..evaluation.ensemble import EnsembleConfig

    averaging = EnsembleConfig(options.average or EnsembleConfig.average, crops, crop_len)
    if options.average is not None and len(_named_runs(options)) * crops == 1:
        raise ConfigError("--average is given, but with one run, judged whole, there is nothing to average: omit it.")
    return averaging


def _named_runs(options: argparse.Namespace) -> list[str]:
    """The folders of runs on the command line. Raises ConfigError where there is none, or where they are named in both ways."""
    if options.runs and options.run is not None:
        raise ConfigError("runs are named in both ways, as RUN and with --run: use one of them.")
    if not options.runs and options.run is None:
        raise ConfigError("no run is named: write the folder of one that `train` made, or of several.")
    return list(options.runs) or [options.run]


def _open_runs(options: argparse.Namespace) -> list[Run]:
    """The runs that were named. Raises ConfigError as `_named_runs`, and RunError for what is no run."""
    from ..training.run import Run

    return [Run.open(folder) for folder in _named_runs(options)]
