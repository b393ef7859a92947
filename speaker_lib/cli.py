"""The command line: ``python -m speaker_lib COMMAND``. Each command is a thin shell around a function of the library.

Exit codes: 0 for success, 1 for a problem it explains, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from .cli_train import add_train_options, train_command
from .config import PRESETS, setting_names
from .errors import ConfigError, SpeakerError, escaped


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    options = parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal's encoding does not have is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return options.command(options)
    except ConfigError as problem:
        return _complain(problem, 2)
    except SpeakerError as problem:
        return _complain(problem, 1)
    except OSError as problem:  # of a path that no file system takes, most likely
        return _complain(f"{problem.filename or 'a file'} cannot be used ({problem.strerror or problem}): check that path.", 1)
    except MemoryError:
        return _complain("this takes more memory than there is: close other programs, or try it with less.", 1)
    except KeyboardInterrupt:
        return _complain("interrupted; nothing half-written was left.", 1)


def _complain(problem: object, code: int) -> int:
    if os.environ.get("RANK", "0") != "0":
        time.sleep(3)  # where all processes have one problem, the first one says it, and torchrun ends the others meanwhile
    print(f"error: {escaped(str(problem))}", file=sys.stderr)
    return code


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; ``.command`` is the function to call. Exits with 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m speaker_lib", description="Name the speaker of an utterance: data, training, evaluation."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_simulate, _add_prepare, _add_check, _add_train, _add_evaluate, _add_compare, _add_predict, _add_identify):
        add(commands)
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if (value == [] and name != "set") or (name == "set" and [] in value):  # what argparse makes of it
            parser.error(f"--{name} has the value --: write what it takes.")
    return options


def _add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "simulate", _simulate, "make a data set of simulated voices", "data/simulated --speakers 100 --seed 0"
    )
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--speakers", type=int, default=100, help="how many voices (%(default)s)")
    parser.add_argument("--utterances", type=int, default=60, help="labelled utterances per voice, 2 to 8 s each (%(default)s)")
    parser.add_argument("--test-utterances", type=int, default=2, help="utterances per voice for the test set (%(default)s)")
    parser.add_argument("--sessions", type=int, default=4, help="recording sessions per voice (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same data (%(default)s)")
    _add_workers(parser)


def _simulate(options: argparse.Namespace) -> int:
    from .simulate import Simulation, simulate

    simulation = Simulation(options.speakers, options.utterances, options.test_utterances, options.sessions, options.seed)
    simulate(options.out, simulation, options.workers)
    print(f"{escaped(options.out)}: {simulation.source}.")
    return 0


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "prepare", _prepare, "make a data set of your own recordings", "recordings data/mine --chunk 2")
    parser.add_argument("audio", metavar="AUDIO_DIR", help="a folder with one folder of WAV, FLAC, OGG or MP3 files per speaker")
    parser.add_argument("out", metavar="OUT", help="the folder to make")
    parser.add_argument("--chunk", type=float, metavar="SECONDS", help="cut recordings into utterances of this length")
    parser.add_argument("--test", metavar="DIR", help="a folder of recordings without labels, for the test set")
    _add_workers(parser)


def _prepare(options: argparse.Namespace) -> int:
    from .prepare import prepare

    done = prepare(options.audio, options.out, options.chunk, options.test, options.workers)
    for sentence in done.skipped:
        print(f"skipped: {escaped(sentence)}", file=sys.stderr)
    print(
        f"{escaped(options.out)}: {done.n_utterances:,} utterances of {done.n_speakers} speakers and {done.n_test:,} "
        f"for the test set, from {done.n_recordings:,} recordings; {len(done.skipped)} skipped."
    )
    return 0


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "check", _check, "read every file of a data set and say what is wrong", "data/hw4")
    parser.add_argument("data", metavar="DATA_DIR", help="a folder in the layout of HW4")


def _check(options: argparse.Namespace) -> int:
    from .corpus import check_corpus

    summary, problems = check_corpus(options.data)
    print(summary)
    for problem in problems:
        print(f"error: {escaped(problem)}", file=sys.stderr)
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
        + "\nsettings: "
        + ", ".join(setting_names()),
    )
    _add_data(parser)
    add_train_options(parser)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "evaluate", _evaluate, "measure a run by crops and by whole utterances", "--data data/hw4 --run runs/tuned"
    )
    _add_data(parser)
    _add_run(parser)
    parser.add_argument(
        "--all", action="store_true", help="judge by every utterance of DATA_DIR, which training must not have seen"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _evaluate(options: argparse.Namespace) -> int:
    from .checkpoint import Run
    from .corpus import Corpus
    from .devices import get_device
    from .evaluation import evaluate
    from .tables import evaluation_text

    run, corpus = Run.open(options.run), Corpus.open(options.data)
    result, logits, labels = evaluate(run, corpus, get_device(), options.all)
    if not options.all:
        run.save_evaluation(result.to_dict())
    print(json.dumps(result.to_dict(), indent=1) if options.json else evaluation_text(result, logits, labels, corpus.speakers))
    return 0


def _add_compare(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "compare", _compare, "draw runs side by side", "runs/baseline runs/tuned --out comparison.png")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run")
    parser.add_argument("--out", metavar="FIGURE", default="comparison.png", help="a .png, .pdf or .svg file (%(default)s)")


def _compare(options: argparse.Namespace) -> int:
    from .checkpoint import Run
    from .plots import comparison_figure, save_figure
    from .tables import comparison_table

    runs = [Run.open(folder) for folder in options.runs]
    table, figure = comparison_table(runs), comparison_figure(runs)  # whatever is wrong is found before a file is written
    save_figure(figure, options.out)
    print(table)
    for run in runs:
        if run.evaluation() is None:
            print(f"{run.name} was not evaluated yet: run `evaluate --data {run.data.folder} --run {escaped(str(run.folder))}`.")
    print(f"Data: {'; '.join(dict.fromkeys(run.data.source for run in runs))}.")
    print(f"Figure: {escaped(options.out)}")
    return 0


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _add(
        commands, "predict", _predict, "write the competition's CSV for the test set", "--data data/hw4 --run runs/tuned"
    )
    _add_data(parser)
    _add_run(parser)
    parser.add_argument("--out", metavar="CSV", default="submission.csv", help="the file to write (%(default)s)")


def _predict(options: argparse.Namespace) -> int:
    from .checkpoint import Run
    from .corpus import Corpus
    from .devices import get_device
    from .evaluation import predict

    count = predict(Run.open(options.run), Corpus.open(options.data), options.out, get_device())
    print(f"{escaped(options.out)}: {count:,} predictions.")
    return 0


def _add_identify(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "identify", _identify, "name the likeliest speakers of a recording", "--run runs/tuned hello.wav")
    _add_run(parser)
    parser.add_argument("recording", metavar="RECORDING", help="a WAV, FLAC, OGG or MP3 file")


def _identify(options: argparse.Namespace) -> int:
    from .checkpoint import Run
    from .devices import get_device
    from .evaluation import identify

    for speaker, probability in identify(Run.open(options.run), options.recording, get_device()):
        print(f"{probability:7.4f}  {speaker}")
    return 0


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
