"""The command line: ``python -m speaker_lib COMMAND``. Each command is a module with ``add_arguments`` and ``run``.

Exit codes: 0 for success, 1 for a problem it explains, 2 for wrong usage. The modules import PyTorch only when they run.
"""

import os
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from ..config.presets import PRESETS
from ..config.schema import describe_settings
from ..utils.errors import ConfigError, SpeakerError, escape_controls
from . import check, compare, embed, evaluate, identify, predict, prepare, simulate, train, verify

COMMANDS = {  # name: module, and summary, example and more for its --help
    "simulate": (simulate, "make a data set of simulated voices", "data/simulated --speakers 100 --seed 0", ""),
    "prepare": (prepare, "make a data set of your own recordings", "recordings data/mine --chunk 2", ""),
    "check": (check, "read every file of a data set and say what is wrong", "data/hw4", ""),
    "train": (
        train,
        "train a preset",
        "--data data/hw4 --preset tuned --run runs/tuned --set model.dropout=0.2",
        "several GPUs: torchrun --nproc_per_node=2 -m -- speaker_lib train …\n"
        f"presets: {', '.join(PRESETS)}\n\n{describe_settings()}",
    ),
    "evaluate": (
        evaluate,
        "measure a run by crops and by whole utterances, or the average of several",
        "--data data/hw4 --run runs/tuned",
        "several runs, which held out the same utterances: evaluate --data data/hw4 runs/a runs/b",
    ),
    "compare": (compare, "draw runs side by side", "runs/baseline runs/tuned --out comparison.png", ""),
    "predict": (
        predict,
        "write the competition's CSV for the test set",
        "--data data/hw4 --run runs/tuned",
        "several runs, by five crops of four seconds: predict --data data/hw4 runs/a runs/b --crops 5 --crop-len 400",
    ),
    "identify": (identify, "name the likeliest speakers of a recording", "--run runs/tuned hello.wav", ""),
    "embed": (embed, "write a vector per utterance, of any speakers", "--run runs/tuned --data data/other --out vectors.npz", ""),
    "verify": (
        verify,
        "tell pairs of one speaker from pairs of two, of any speakers",
        "--run runs/tuned --data data/other --trials 10000",
        "",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    return run_command(parse_args(arguments))


def parse_args(arguments: Sequence[str] | None = None) -> Namespace:
    """Reads the command line; ``.command`` is the function to call. Exits with 2 for wrong usage."""
    parser = ArgumentParser(
        prog="python -m speaker_lib", description="Name the speaker of an utterance: data, training, evaluation."
    )
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
            parser.error(f"--{name} has the value --: write what it takes.")
    return options


def run_command(options: Namespace) -> int:
    """Calls ``options.command`` and returns its exit code, with one sentence on stderr for a problem of the user's."""
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot encode is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = options.command(options)
        sys.stdout.flush()
        return code
    except ConfigError as problem:
        return _complain(problem, 2)
    except SpeakerError as problem:
        return _complain(problem, 1)
    except BrokenPipeError:  # behind `| head`: say nothing, and leave Python nothing to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:  # most likely a path that no file system accepts
        return _complain(f"{problem.filename or 'a file'} cannot be used ({problem.strerror or problem}): check that path.", 1)
    except (MemoryError, RuntimeError) as problem:
        if not _is_lack_of_memory(problem):
            raise
        advice = "close what else uses it, train with a smaller train.batch_size, or take a smaller model"
        return _complain(f"this takes more memory than there is: {advice}.", 1)
    except KeyboardInterrupt:
        return _complain("interrupted; nothing half-written was left.", 1)


def _is_lack_of_memory(problem: Exception) -> bool:
    # PyTorch has a class for a full GPU, which is not imported here; for the CPU it has only a message.
    return isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError" or "allocate memory" in str(problem)


def _complain(problem: object, code: int) -> int:
    if os.environ.get("RANK", "0") != "0":
        time.sleep(3)  # a problem that all processes have is printed by the first; torchrun ends the others meanwhile
    print(f"error: {escape_controls(str(problem))}", file=sys.stderr)
    return code
