"""``check``: reads every file of a data set."""

import sys
from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA_DIR", help="a folder in the layout of HW4")


def run(options: Namespace) -> int:
    from ..data.check import check_corpus

    summary, problems = check_corpus(options.data)
    print(summary)
    for problem in problems:
        print(f"error: {escape_controls(problem)}", file=sys.stderr)
    print(f"{len(problems)} problems." if problems else "Every file can be used.")
    return 1 if problems else 0
