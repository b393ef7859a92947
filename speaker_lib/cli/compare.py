"""``compare``: the curves of several runs in one figure, and a table."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import print_figure


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run")
    parser.add_argument("--out", metavar="FIGURE", default="comparison.png", help="a .png, .pdf or .svg file (%(default)s)")


def run(options: Namespace) -> int:
    from ..experiments import comparison_table
    from ..plots import comparison_figure, save_figure
    from ..training.run import Run

    runs = [Run.open(folder) for folder in options.runs]
    table, figure = comparison_table(runs), comparison_figure(runs)  # before the file, because either may fail
    save_figure(figure, options.out)
    print(table)
    for run in runs:
        if run.evaluation() is None:
            folder = escape_controls(str(run.folder))
            print(f"{run.name} was not evaluated yet: run `evaluate --data {run.data.folder} --run {folder}`.")
    print(f"Data: {'; '.join(dict.fromkeys(run.data.source for run in runs))}.")
    print_figure(options.out)
    return 0
