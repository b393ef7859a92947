"""Options of several commands."""

from __future__ import annotations

import math
import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ..utils.errors import ConfigError, escape_controls

if TYPE_CHECKING:
    from ..evaluation.ensemble import EnsembleConfig
    from ..training.run import Run


def add_data(parser: ArgumentParser) -> None:
    """``--data``, by default the folder in SPEAKER_DATA."""
    default = os.environ.get("SPEAKER_DATA") or None
    help = "a folder in the layout of HW4 (default: SPEAKER_DATA)"
    parser.add_argument("--data", metavar="DATA_DIR", default=default, required=default is None, help=help)


def add_run(parser: ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="the folder of a run that `train` made")


def add_workers(parser: ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (one per core)")


def add_key(parser: ArgumentParser, required: bool) -> None:
    """``--key`` and ``--test-seed`` of a test set whose speakers are a secret; `print_key` says what became of them."""
    key = "a CSV file for the speakers of the test set, outside the folder that is handed out"
    parser.add_argument("--key", metavar="CSV", required=required, help=key)
    seed = "the secret seed of the test set, 18 digits, to make the same again (drawn at random and printed)"
    parser.add_argument("--test-seed", type=int, metavar="SEED", help=seed)


def print_key(key: str, seed: int) -> None:
    print(f"{escape_controls(key)}: the key. Keep it to yourself, and so the secret seed, which is in no file: {seed}.")


def add_runs(parser: ArgumentParser) -> None:
    """``RUN …`` or ``--run``, and ``--average``; `open_runs` reads them."""
    parser.add_argument("runs", metavar="RUN", nargs="*", default=(), help="the folder of a run; several are averaged")
    parser.add_argument("--run", metavar="DIR", help="the folder of a run, in place of RUN")
    average = "average the probabilities (default) or the logits; logits only for runs with the same kind of head"
    parser.add_argument("--average", choices=["probabilities", "logits"], help=average)


def open_runs(options: Namespace, crops: int = 1, crop_len: int | None = None) -> tuple[list[Run], EnsembleConfig]:
    """The runs on the command line, and their average. Raises ConfigError, and RunError for a folder without a run."""
    from ..evaluation.ensemble import EnsembleConfig
    from ..training.run import Run

    if options.runs and options.run is not None:
        raise ConfigError("runs are named in both ways, as RUN and with --run: use one of the two.")
    if not options.runs and options.run is None:
        raise ConfigError("no run is named: give the folder of a run that `train` made, or of several.")
    folders = options.runs or [options.run]
    averaging = EnsembleConfig(options.average or EnsembleConfig.average, crops, crop_len)
    if options.average is not None and len(folders) * crops == 1:
        raise ConfigError("one run on whole utterances: there is nothing to average, so omit --average.")
    return [Run.open(folder) for folder in folders], averaging


def add_figure(parser: ArgumentParser, content: str) -> None:
    """``--figure``; `check_figure` comes before the work, `print_figure` after it."""
    parser.add_argument("--figure", metavar="FIGURE", help=f"{content}, as a .png, .pdf or .svg file")


def check_figure(figure: str | None) -> None:
    """Raises RunError for a file name without a figure's ending."""
    if figure:
        from ..plots.style import figure_format

        figure_format(figure)


def print_figure(figure: str | None) -> None:
    if figure:
        print(f"Figure: {escape_controls(figure)}")


def check_threshold(threshold: float | None) -> None:
    """Raises ConfigError for a threshold that is no number."""
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"threshold is {threshold}: choose a finite number, as the scores that are printed.")
