"""The options that several commands share."""

from __future__ import annotations

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
    help = "a folder in the layout of HW4 (SPEAKER_DATA)"
    parser.add_argument("--data", metavar="DATA_DIR", default=default, required=default is None, help=help)


def add_run(parser: ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="the folder of a run that `train` made")


def add_workers(parser: ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes (one per core)")


def add_runs(parser: ArgumentParser) -> None:
    """Several runs or ``--run``, and ``--average``; `open_runs` reads them."""
    parser.add_argument("runs", metavar="RUN", nargs="*", default=(), help="the folders of runs, whose average is taken")
    parser.add_argument("--run", metavar="DIR", help="the folder of a run that `train` made, in place of RUN")
    parser.add_argument(
        "--average",
        choices=["probabilities", "logits"],
        help="what is averaged, over runs or crops (probabilities); logits suit runs of one head, since their scales must agree",
    )


def open_runs(options: Namespace, crops: int = 1, crop_len: int | None = None) -> tuple[list[Run], EnsembleConfig]:
    """The runs on the command line, and how they are averaged. Raises ConfigError, and RunError for a folder without a run."""
    from ..evaluation.ensemble import EnsembleConfig
    from ..training.run import Run

    if options.runs and options.run is not None:
        raise ConfigError("runs are named in both ways, as RUN and with --run: use one of them.")
    if not options.runs and options.run is None:
        raise ConfigError("no run is named: write the folder of one that `train` made, or of several.")
    folders = options.runs or [options.run]
    averaging = EnsembleConfig(options.average or EnsembleConfig.average, crops, crop_len)
    if options.average is not None and len(folders) * crops == 1:
        raise ConfigError("--average is given, but with one run on whole utterances there is nothing to average: omit it.")
    return [Run.open(folder) for folder in folders], averaging


def add_figure(parser: ArgumentParser, content: str) -> None:
    """``--figure``; `check_figure` comes before the work, `print_figure` after it."""
    parser.add_argument("--figure", metavar="FIGURE", help=f"{content}, as a .png, .pdf or .svg file")


def check_figure(figure: str | None) -> None:
    """Raises RunError for a file name with another ending."""
    if figure:
        from ..plots.runs import figure_format

        figure_format(figure)


def print_figure(figure: str | None) -> None:
    """Says where the figure is, if one was asked for."""
    if figure:
        print(f"Figure: {escape_controls(figure)}")
