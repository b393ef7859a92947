"""The command line: ``python -m speaker_lib COMMAND``. Each command is a thin shell around a function of the library.

Exit codes: 0 for success, 1 for a problem it explains, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from ..config.presets import PRESETS
from ..config.schema import describe_settings
from ..utils.errors import ConfigError, SpeakerError, escape_controls
from .embed import add_embed_options, add_verify_options, embed_command, verify_command
from .evaluate import (
    add_evaluate_options,
    add_identify_options,
    add_predict_options,
    evaluate_command,
    identify_command,
    predict_command,
)
from .train import add_train_options, train_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    options = parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal's encoding does not have is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = options.command(options)
        sys.stdout.flush()
        return code
    except ConfigError as problem:
        return _complain(problem, 2)
    except SpeakerError as problem:
        return _complain(problem, 1)
    except BrokenPipeError:  # nobody reads on, as behind `| head`; nor shall Python complain of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:  # of a path that no file system takes, most likely
        return _complain(f"{problem.filename or 'a file'} cannot be used ({problem.strerror or problem}): check that path.", 1)
    except (MemoryError, RuntimeError) as problem:
        if not _is_lack_of_memory(problem):
            raise
        advice = "close what else uses it, train with a smaller train.batch_size, or take a smaller model"
        return _complain(f"this takes more memory than there is: {advice}.", 1)
    except KeyboardInterrupt:
        return _complain("interrupted; nothing half-written was left.", 1)


def _is_lack_of_memory(problem: Exception) -> bool:
    # PyTorch's own: of a GPU a class, which lives in a module that is slow to import, of a CPU only words.
    return isinstance(problem, MemoryError) or type(problem).__name__ == "OutOfMemoryError" or "allocate memory" in str(problem)


def _complain(problem: object, code: int) -> int:
    if os.environ.get("RANK", "0") != "0":
        time.sleep(3)  # where all processes have one problem, the first one says it, and torchrun ends the others meanwhile
    print(f"error: {escape_controls(str(problem))}", file=sys.stderr)
    return code


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; ``.command`` is the function to call. Exits with 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m speaker_lib", description="Name the speaker of an utterance: data, training, evaluation."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    data, runs = (_add_simulate, _add_prepare, _add_check), (_add_train, _add_evaluate, _add_compare, _add_predict, _add_identify)
    for add in (*data, *runs, _add_embed, _add_verify):
        add(commands)
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if (value == [] and name != "set") or (name == "set" and [] in value):  # what argparse makes of it
            parser.error(f"--{name} has the value --: write what it takes.")
    return options


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands,
        "simulate",
        _simulate,
        "make a data set of simulated voices",
        "data/simulated --speakers 100 --seed 0",
        more="a stand-in for HW4, features of nobody at its full size, 3.4 GB: simulate data/standin --like hw4",
    )
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--like", choices=["hw4"], help="imitate that data set's size and lengths, without making any sound")
    parser.add_argument("--speakers", type=int, help="how many voices (100; like hw4: 600)")
    parser.add_argument(
        "--utterances", type=int, help="labelled utterances per voice (60 of 2 to 8 s each; like hw4: 94.44 on average)"
    )
    parser.add_argument("--test-utterances", type=int, help="utterances per voice for the test set (2; like hw4: 13.33)")
    parser.add_argument("--sessions", type=int, help="recording sessions per voice (4; like hw4: 12)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same data (%(default)s)")
    parser.add_argument(
        "--spreads",
        type=float,
        nargs=5,
        metavar=("SPEAKER", "MOOD", "SESSION", "TOKEN", "VARIETY"),
        help="like hw4: how far speakers lie apart, and what blurs them (1.8 1.6 1.0 2.1 0.8)",
    )
    _add_workers(parser)


def _simulate(options: argparse.Namespace) -> int:
    from ..simulation.corpus import Simulation, simulate
    from ..simulation.phantoms import Variability
    from ..simulation.standin import StandIn, write_standin

    names = ("speakers", "utterances", "test_utterances", "sessions", "seed")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.spreads:
        if not options.like:
            raise ConfigError("--spreads is for a stand-in: add --like hw4, or leave it out.")
        given["spreads"] = Variability(*options.spreads)
    settings = StandIn(**given) if options.like else Simulation(**given)
    (write_standin if options.like else simulate)(options.out, settings, options.workers)
    print(f"{escape_controls(options.out)}: {settings.source}.")
    return 0


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "prepare", _prepare, "make a data set of your own recordings", "recordings data/mine --chunk 2")
    parser.add_argument("audio", metavar="AUDIO_DIR", help="a folder with one folder of WAV, FLAC, OGG or MP3 files per speaker")
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--chunk", type=float, metavar="SECONDS", help="cut recordings into utterances of this length")
    parser.add_argument("--test", metavar="DIR", help="a folder of recordings without labels, for the test set")
    _add_workers(parser)


def _prepare(options: argparse.Namespace) -> int:
    from ..data.recordings import prepare

    done = prepare(options.audio, options.out, options.chunk, options.test, options.workers)
    for sentence in done.skipped:
        print(f"skipped: {escape_controls(sentence)}", file=sys.stderr)
    print(
        f"{escape_controls(options.out)}: {done.n_utterances:,} utterances of {done.n_speakers} speakers and {done.n_test:,} "
        f"for the test set, from {done.n_recordings:,} recordings; {len(done.skipped)} skipped."
    )
    return 0


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "check", _check, "read every file of a data set and say what is wrong", "data/hw4")
    parser.add_argument("data", metavar="DATA_DIR", help="a folder in the layout of HW4")


def _check(options: argparse.Namespace) -> int:
    from ..data.check import check_corpus

    summary, problems = check_corpus(options.data)
    print(summary)
    for problem in problems:
        print(f"error: {escape_controls(problem)}", file=sys.stderr)
    print(f"{len(problems)} problems." if problems else "Every file can be used.")
    return 1 if problems else 0


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands,
        "train",
        train_command,
        "train a preset",
        "--data data/hw4 --preset tuned --run runs/tuned --set model.dropout=0.2",
        more="several GPUs: torchrun --nproc_per_node=2 -m -- speaker_lib train …\npresets: "
        + ", ".join(PRESETS)
        + "\n\n"
        + describe_settings(),
    )
    _add_data(parser)
    add_train_options(parser)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    example = "--data data/hw4 --run runs/tuned"
    parser = _add(
        commands,
        "evaluate",
        evaluate_command,
        "measure a run by crops and by whole utterances, or the average of several",
        example,
        more="several runs, which held out the same utterances: evaluate --data data/hw4 runs/a runs/b",
    )
    _add_data(parser)
    add_evaluate_options(parser)


def _add_compare(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "compare", _compare, "draw runs side by side", "runs/baseline runs/tuned --out comparison.png")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run")
    parser.add_argument("--out", metavar="FIGURE", default="comparison.png", help="a .png, .pdf or .svg file (%(default)s)")


def _compare(options: argparse.Namespace) -> int:
    from ..experiments.tables import comparison_table
    from ..plots.runs import comparison_figure, save_figure
    from ..training.run import Run

    runs = [Run.open(folder) for folder in options.runs]
    table, figure = comparison_table(runs), comparison_figure(runs)  # whatever is wrong is found before a file is written
    save_figure(figure, options.out)
    print(table)
    for run in runs:
        if run.evaluation() is None:
            folder = escape_controls(str(run.folder))
            print(f"{run.name} was not evaluated yet: run `evaluate --data {run.data.folder} --run {folder}`.")
    print(f"Data: {'; '.join(dict.fromkeys(run.data.source for run in runs))}.")
    print(f"Figure: {escape_controls(options.out)}")
    return 0


def _add_predict(commands: argparse._SubParsersAction) -> None:
    example = "--data data/hw4 --run runs/tuned"
    parser = _add(
        commands,
        "predict",
        predict_command,
        "write the competition's CSV for the test set",
        example,
        more="several runs, by five crops of four seconds: predict --data data/hw4 runs/a runs/b --crops 5 --crop-len 400",
    )
    _add_data(parser)
    add_predict_options(parser)


def _add_identify(commands: argparse._SubParsersAction) -> None:
    example = "--run runs/tuned hello.wav"
    parser = _add(commands, "identify", identify_command, "name the likeliest speakers of a recording", example)
    _add_run(parser)
    add_identify_options(parser)


def _add_embed(commands: argparse._SubParsersAction) -> None:
    example = "--run runs/tuned --data data/other --out vectors.npz"
    parser = _add(commands, "embed", embed_command, "write a vector per utterance, of any speakers", example)
    _add_data(parser)
    _add_run(parser)
    add_embed_options(parser)


def _add_verify(commands: argparse._SubParsersAction) -> None:
    example = "--run runs/tuned --data data/other --trials 10000"
    parser = _add(commands, "verify", verify_command, "tell pairs of one speaker from pairs of two, of any speakers", example)
    _add_data(parser)
    _add_run(parser)
    add_verify_options(parser)


def _add(
    commands: argparse._SubParsersAction, name: str, function: object, summary: str, example: str, more: str = ""
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example: python -m speaker_lib {name} {example}\n{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("SPEAKER_DATA") or None
    parser.add_argument(
        "--data",
        metavar="DATA_DIR",
        default=default,
        required=default is None,
        help="a folder in the layout of HW4 (SPEAKER_DATA)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", required=True, help="the folder of a run that `train` made")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes (one per core)")
