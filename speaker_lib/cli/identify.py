"""``identify``: the most probable speakers of a recording."""

from argparse import ArgumentParser, Namespace

from .options import add_run


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("recording", metavar="RECORDING", help="a WAV, FLAC, OGG or MP3 file")


def run(options: Namespace) -> int:
    from ..evaluation.identification import identify
    from ..training.run import Run
    from ..utils.device import get_device

    for speaker, probability in identify(Run.open(options.run), options.recording, get_device()):
        print(f"{probability:7.4f}  {speaker}")
    return 0
