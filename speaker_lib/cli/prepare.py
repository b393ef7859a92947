"""``prepare``: a data set of your own recordings."""

import sys
from argparse import ArgumentParser, Namespace

from ..utils.errors import escape_controls
from .options import add_workers

_NAMED = 5  # the speakers are named if there are at most so many


def add_arguments(parser: ArgumentParser) -> None:
    audio = "a folder with one folder of recordings per speaker, or a CSV list with the columns path, speaker and maybe session"
    parser.add_argument("audio", metavar="AUDIO_DIR", help=audio)
    parser.add_argument("out", metavar="OUT", help="the folder of the new data set")
    parser.add_argument("--chunk", type=float, metavar="SECONDS", help="cut recordings into utterances of this length")
    parser.add_argument("--test", metavar="DIR", help="a folder of recordings without labels, for the test set")
    speaker = r"where the speaker's name stands: `folder`, or a regular expression for the file's name, as `(\w+)_\d+\.wav`"
    parser.add_argument("--speaker-from", metavar="PATTERN", help=f"{speaker} (with a / in it, for the path below AUDIO_DIR)")
    session = "what was recorded on one occasion: `folder`, the first below the speaker's, `file`, or a regular expression"
    parser.add_argument("--session-from", metavar="PATTERN", help=f"{session} (docs/recordings.md)")
    add_workers(parser)


def run(options: Namespace) -> int:
    from ..data.census import first_few
    from ..data.recordings import LOG, prepare

    done = prepare(
        options.audio,
        options.out,
        options.chunk,
        options.test,
        options.workers,
        options.speaker_from,
        options.session_from,
    )
    log = f"{options.out}/{LOG}"
    for word, lines in (("skipped", (*done.unread, *done.skipped_by_reason)), ("warning", done.warnings), ("note", done.notes)):
        for line in first_few(lines, log):
            print(f"{word}: {escape_controls(line)}", file=sys.stderr)
    if done.without:
        names = ", ".join(done.without[:10]) + ", …" * (len(done.without) > 10)
        print(f"warning: nothing is left of {_speakers(len(done.without))}: {escape_controls(names)}.", file=sys.stderr)
    named = escape_controls(f" ({', '.join(done.speakers)})" * (len(done.speakers) <= _NAMED))
    print(
        f"{escape_controls(options.out)}: {done.n_utterances:,} utterances of {_speakers(done.n_speakers)}{named} and "
        f"{done.n_test:,} for the test set, from {done.n_recordings:,} recordings; {len(done.skipped)} skipped."
    )
    if done.n_speakers == 1:
        print("One speaker: there is nothing to tell apart, so `train` refuses these data.")
    print(done.sessions)
    share = done.seconds_left / max(done.seconds, 1e-9)
    print(f"Without pauses {done.seconds_left:,.0f} of {done.seconds:,.0f} s are left ({share:.0%}).")
    print(done.census)
    return 0


def _speakers(count: int) -> str:
    return f"{count:,} speaker{'s' * (count != 1)}"
