"""``predict``: the competition's CSV for the test set."""

from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_data, add_runs, open_runs


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_runs(parser)
    parser.add_argument("--crops", type=int, metavar="N", default=1, help="average over N crops of each long utterance")
    parser.add_argument("--crop-len", type=int, metavar="FRAMES", help="length of a crop; shorter utterances stay whole")
    parser.add_argument("--out", metavar="CSV", default="submission.csv", help="the file to write (%(default)s)")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.ensemble import predict
    from ..utils.device import get_device

    runs, averaging = open_runs(options, options.crops, options.crop_len)
    count = predict(runs, Corpus.open(options.data), options.out, get_device(), averaging)
    print(f"{escape_controls(options.out)}: {count:,} predictions.")
    return 0
