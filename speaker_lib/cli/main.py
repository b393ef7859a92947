"""The command line: ``python -m speaker_lib COMMAND``.

Exit codes: 0 for success, 1 for an explained problem, 2 for wrong usage.
"""

import os
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from ..config.about import ABOUT
from ..config.schema import describe_settings
from ..utils.errors import SpeakerError, escape_controls
from . import (
    check,
    compare,
    download,
    embed,
    enrol,
    evaluate,
    grade,
    hold_out,
    identify,
    predict,
    prepare,
    simulate,
    train,
    verify,
)

_SEVERAL = "several runs, which held out the same utterances: evaluate --data data/hw4 runs/a runs/b"
_CROPS = "several runs, on five crops of four seconds: predict --data data/hw4 runs/a runs/b --crops 5 --crop-len 400"
_PRESETS = "\n".join(f"  {name:<18} {about}" for name, about in ABOUT.items())
_TRAIN = f"several GPUs: torchrun --nproc_per_node=2 -m -- speaker_lib train …\n\npresets:\n{_PRESETS}\n\n{describe_settings()}"
_IDENTIFY = "--run runs/mine hello.wav recordings/today"
_NOBODY = (
    "Without a book one of the speakers of the training data is always named. With one, made by `enrol`, a stranger is nobody."
)
_KEYED = "a test set with a key, for `grade`: simulate data/class --key key.csv"
_HELD_OUT = "--data data/mine --to data/class --key key.csv"
_FOLDER = "a leaderboard: grade submissions --key key.csv --page leaderboard.html --reference lda.csv"
_VERIFY = "--run runs/tuned --data data/other --trials 10000"
_TWO = "two recordings: verify --run runs/tuned a.wav b.wav"
COMMANDS = {  # name: module, and for its --help the summary, an example and more
    "simulate": (simulate, "make a data set of simulated voices", "data/simulated --speakers 100 --seed 0", _KEYED),
    "download": (download, "fetch open data, whole and verified, or nothing", "dev-clean", download.MORE),
    "prepare": (prepare, "make a data set of your own recordings", "recordings data/mine --chunk 2", ""),
    "check": (check, "read every file of a data set and list its errors", "data/hw4", ""),
    "hold-out": (hold_out, "take a test set with a key out of labelled data", _HELD_OUT, ""),
    "train": (train, "train a preset", "--data data/hw4 --preset tuned --run runs/tuned --set model.dropout=0.2", _TRAIN),
    "evaluate": (evaluate, "measure the accuracy of a run, or of an ensemble", "--data data/hw4 --run runs/tuned", _SEVERAL),
    "compare": (compare, "draw the curves of several runs", "runs/baseline runs/tuned --out comparison.png", ""),
    "predict": (predict, "write the competition's CSV for the test set", "--data data/hw4 --run runs/tuned", _CROPS),
    "grade": (grade, "grade a submission, or a folder of them, with a key", "submission.csv --key key.csv", _FOLDER),
    "enrol": (
        enrol,
        "add a person to a book by a few recordings, without training",
        "--run runs/mine --name ada a.wav b.wav",
        "",
    ),
    "identify": (identify, "say who speaks in recordings, of the people in a book or of those trained on", _IDENTIFY, _NOBODY),
    "embed": (embed, "write an embedding per utterance", "--run runs/tuned --data data/other --out vectors.npz", ""),
    "verify": (verify, "verify speakers on pairs of utterances, or on two recordings", _VERIFY, _TWO),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    return run_command(parse_args(arguments))


def parse_args(arguments: Sequence[str] | None = None) -> Namespace:
    """Parses a command line; ``.command`` is the function to call. Exits with 2 for wrong usage."""
    description = "Speaker identification: data, training, evaluation."
    parser = ArgumentParser(prog="python -m speaker_lib", description=description)
    parsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, summary, example, more) in COMMANDS.items():
        subparser = parsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example: python -m speaker_lib {name} {example}\n{more}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        subparser.set_defaults(command=module.run)
        module.add_arguments(subparser)
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if (value == [] and name != "set") or (name == "set" and [] in value):  # argparse reads a value `--` as an empty list
            parser.error(f"--{name} has the value --: give it another value.")
    return options


def run_command(options: Namespace) -> int:
    """Calls ``options.command`` and returns its exit code; an explained problem is one sentence on stderr."""
    if hasattr(sys.stdout, "reconfigure"):  # else a name that the terminal cannot encode would stop the command
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = options.command(options)
        sys.stdout.flush()
        if "TORCHELASTIC_RUN_ID" in os.environ:  # gloo's threads may outlive Python, and then crash it (pytorch#179291)
            os._exit(code)
        return code
    except SpeakerError as problem:
        return _complain(problem, problem.exit_code)
    except BrokenPipeError:  # as with `| head`: Python must not flush to the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:  # most likely a path that no file system accepts
        return _complain(f"{problem.filename or 'a file'} cannot be used ({problem.strerror or problem}): check that path.", 1)
    except (MemoryError, RuntimeError) as problem:
        # PyTorch, which is not imported here, has a class of its own for a full GPU, and only a message for the CPU.
        full_gpu = type(problem).__name__ == "OutOfMemoryError"
        if not (isinstance(problem, MemoryError) or full_gpu or "allocate memory" in str(problem)):
            raise
        advice = "close other programs, train with a smaller train.batch_size, or use a smaller model"
        return _complain(f"this takes more memory than there is: {advice}.", 1)
    except KeyboardInterrupt as interruption:
        return _complain(str(interruption) or "interrupted; no file is half-written.", 1)


def _complain(problem: object, code: int) -> int:
    if os.environ.get("RANK", "0") != "0":
        time.sleep(3)  # the first process prints a problem that all have, and torchrun then ends the others
    print(f"error: {escape_controls(str(problem))}", file=sys.stderr)
    return code
