"""``grade``: the accuracy of a submission, or a leaderboard of a folder of them."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.errors import ConfigError, escape_controls

if TYPE_CHECKING:
    from ..evaluation.grading import Grade


def add_arguments(parser: ArgumentParser) -> None:
    path = "a CSV file with the columns Id and Category, or a folder with NAME.csv or NAME/submission.csv for each"
    parser.add_argument("submission", metavar="CSV_OR_DIR", help=path)
    parser.add_argument("--key", metavar="CSV", required=True, help="the key, made by `simulate --key` or `hold-out`")
    parser.add_argument("--page", metavar="HTML", help="of a folder: write the leaderboard as one page to this file")
    parser.add_argument(
        "--reference", metavar="CSV", help="of a folder: a submission to compare with, such as LDA's, without a rank"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: Namespace) -> int:
    if Path(options.submission).is_dir():
        return _leaderboard(options)
    for name in ("page", "reference"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name} is for a folder of submissions, and {options.submission} is none: leave it out.")
    from ..evaluation.grading import Key, grade

    key = Key.read(options.key)
    found = grade(options.submission, key)
    if options.json:
        print(json.dumps(_values(found) | {"n_utterances": len(found.right), "n_speakers": len(key.speakers)}))
        return 0
    low, high = found.interval
    print(
        f"{escape_controls(options.submission)}: accuracy {found.accuracy:.4f} (95 % interval {low:.3f} to {high:.3f}, Wilson), "
        f"{found.n_right:,} of {len(found.right):,} utterances.\n"
        f"{len(key.speakers):,} speakers; guessing is right in {1 / len(key.speakers):.4f} of cases."
    )
    return 0


def _leaderboard(options: Namespace) -> int:
    from ..experiments.leaderboard import rank_folder

    board = rank_folder(options.submission, options.key, options.reference)
    if options.page is not None:
        from ..plots.leaderboard import write_page

        write_page(board, options.page)
    if options.json:
        places = [
            {"rank": place.rank, "name": place.name, "behind": place.behind} | _values(place.grade) for place in board.places
        ]
        counts = {"n_utterances": board.n_utterances, "n_speakers": board.n_speakers}
        print(json.dumps(counts | {"places": places, "refused": board.refused}, ensure_ascii=False))
        return 0
    for sentence in board.refused:
        print(f"not graded: {escape_controls(sentence)}", file=sys.stderr)
    print(board)
    if options.page is not None:
        print(f"Page: {escape_controls(options.page)}")
    return 0


def _values(found: Grade) -> dict[str, object]:
    return {"accuracy": found.accuracy, "interval": found.interval, "n_right": found.n_right}
