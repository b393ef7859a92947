"""``prepare``: a data set of your own recordings."""

import sys
from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_workers


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("audio", metavar="AUDIO_DIR", help="a folder with one folder of WAV, FLAC, OGG or MP3 files per speaker")
    parser.add_argument("out", metavar="OUT", help="the folder of the new data set")
    parser.add_argument("--chunk", type=float, metavar="SECONDS", help="cut recordings into utterances of this length")
    parser.add_argument("--test", metavar="DIR", help="a folder of recordings without labels, for the test set")
    parser.add_argument(
        "--augment",
        type=int,
        default=0,
        metavar="N",
        help="add N copies of each utterance in other rooms, microphones, telephones and noise, for training only (%(default)s)",
    )
    add_workers(parser)


def run(options: Namespace) -> int:
    from ..data.recordings import prepare

    done = prepare(options.audio, options.out, options.chunk, options.test, options.workers, options.augment)
    for sentence in done.skipped:
        print(f"skipped: {escape_controls(sentence)}", file=sys.stderr)
    print(
        f"{escape_controls(options.out)}: {done.n_utterances:,} utterances of {done.n_speakers} speakers and {done.n_test:,} "
        f"for the test set, from {done.n_recordings:,} recordings; {len(done.skipped)} skipped."
    )
    if options.augment:
        print(f"Beside them stand {options.augment * done.n_utterances:,} augmented copies, for training only.")
    return 0
