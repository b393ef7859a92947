"""``predict``: the competition's CSV for the test set."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..utils.errors import ConfigError, escape_controls
from .options import add_data, add_runs, open_runs


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    add_runs(parser)
    parser.add_argument("--crops", type=int, metavar="N", default=1, help="average over N crops of each long utterance")
    parser.add_argument("--crop-len", type=int, metavar="FRAMES", help="length of a crop; shorter utterances stay whole")
    parser.add_argument("--out", metavar="CSV", default="submission.csv", help="the file to write (%(default)s)")
    parser.add_argument("--names", metavar="CSV", help="a second file, with the recordings' own names: Id,Recording,Category")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..evaluation.embeddings import recording_names
    from ..evaluation.ensemble import predict
    from ..utils.device import get_device

    runs, averaging = open_runs(options, options.crops, options.crop_len)
    corpus = Corpus.open(options.data)
    if options.names and Path(options.names).resolve() == Path(options.out).resolve():
        raise ConfigError(f"--names and --out are both {options.out}: name two files.")
    count = predict(runs, corpus, options.out, get_device(), averaging, options.names)
    print(f"{escape_controls(options.out)}: {count:,} predictions.")
    if options.names:
        unnamed = "" if any(recording_names(corpus.test)) else ", but the data do not name their recordings"
        print(f"{escape_controls(options.names)}: the same with recordings' names{unnamed}.")
    return 0
