"""The command line as a user types it, from nothing to a prediction."""

import json
import shlex
import subprocess
import sys

import matplotlib.image
import pytest
import soundfile

from speaker_lib import PRESETS, Corpus, Run
from speaker_lib.cli.main import COMMANDS, main, parse_args
from speaker_lib.config.schema import setting_names
from speaker_lib.data.splits import split_utterances
from speaker_lib.simulation.corpus import simulated_recording

from .conftest import SMALL, call, command

SHORT = ["--steps", "30", "--set", "train.segment_len=64", "--set", "train.split=session"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_is_right(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    example = next(line for line in text.splitlines() if line.startswith("example: "))
    words = shlex.split(example.removeprefix("example: python -m speaker_lib "))
    assert words[0] == name and parse_args(words).command


def test_no_help_loads_pytorch_or_numpy():
    code = (
        "import contextlib, sys\nfrom speaker_lib.cli.main import main\n"
        f"for words in ([], *([name] for name in {tuple(COMMANDS)})):\n"
        "    with contextlib.suppress(SystemExit): main([*words, '--help'])\n"
        "sys.exit([name for name in ('torch', 'numpy') if name in sys.modules] != [])"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_help_of_train_lists_what_there_is_to_choose(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in [*PRESETS, *setting_names()])


@pytest.fixture(scope="module")
def two_runs(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for preset in ("laptop_baseline", "laptop_tuned"):
        done = command("train", "--data", simulated, "--preset", preset, "--run", folder / preset, *SHORT)
        assert done.returncode == 0, done.stderr
        assert "Best validation accuracy" in done.stdout and str(folder / preset) in done.stdout
    return folder


def test_from_nothing_to_a_prediction(simulated, two_runs, tmp_path):
    tuned, baseline, figure = two_runs / "laptop_tuned", two_runs / "laptop_baseline", tmp_path / "comparison.png"

    done = call("evaluate", "--data", simulated, "--run", tuned, "--json")
    found = json.loads(done.stdout)
    assert set(found) == {"crop", "full", "n_utterances", "n_parameters", "weights", "confidence"}
    corpus = Corpus.open(simulated)
    sessions = split_utterances(corpus.labelled, Run.open(tuned).preset.train)[1]
    assert found["n_utterances"] == len(sessions) and 4 * 3 <= len(sessions) <= 4 * 4  # one of three sessions of each voice
    assert "most confused:" in call("evaluate", "--data", simulated, "--run", baseline).stdout

    done = call("compare", baseline, tuned, "--out", figure)
    assert done.returncode == 0, done.stderr
    assert f"{found['full']['accuracy']:.4f}" in done.stdout and f"Figure: {figure}" in done.stdout
    assert "simulated voices (not people)" in done.stdout
    assert matplotlib.image.imread(figure).std() > 0.05

    done = call("predict", "--data", simulated, "--run", tuned, "--out", tmp_path / "submission.csv")
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines[0] == "Id,Category" and len(lines) == 9 and all(",sim1-000" in line for line in lines[1:])

    soundfile.write(tmp_path / "voice.wav", simulated_recording(SMALL, 2, 3), 16_000)
    done = call("identify", "--run", tuned, tmp_path / "voice.wav")
    best, said = done.stdout.split("\n\n")
    rows = [line.split() for line in best.splitlines()]
    assert (
        "One of the 4 speakers of the training data is always named" in said
        and len(rows) == 4
        and sum(float(p) for p, _ in rows) == pytest.approx(1.0, abs=1e-3)
    )
    assert [float(p) for p, _ in rows] == sorted((float(p) for p, _ in rows), reverse=True)


def test_data_may_be_named_by_the_environment(simulated, two_runs, monkeypatch, capsys):
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    assert main(["evaluate", "--run", str(two_runs / "laptop_tuned"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_parameters"] > 0


def test_compare_says_what_was_not_evaluated(corpus_folder, tmp_path, capsys):
    train = ["train", "--data", str(corpus_folder), "--preset", "laptop_baseline", "--run", str(tmp_path / "new"), "--steps", "2"]
    assert main(train) == 0
    assert main(["compare", str(tmp_path / "new"), "--out", str(tmp_path / "c.svg")]) == 0
    assert "new was not evaluated yet: run `evaluate" in capsys.readouterr().out


def test_resume_goes_on_and_refuses_other_settings(corpus_folder, tmp_path, capsys):
    base = ["train", "--data", str(corpus_folder), "--run", str(tmp_path / "run")]
    first = [*base, "--preset", "laptop_baseline", "--steps", "4"]
    assert main([*first, "--resume"]) == 0  # begins it
    assert main(first) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main([*base, "--resume"]) == 0
    assert main([*first, "--resume", "--set", "train.seed=5"]) == 1
    assert "train.seed was 87 and is now 5" in capsys.readouterr().err


def test_seeds_are_trained_side_by_side_and_averaged(corpus_folder, tmp_path, capsys):
    runs = tmp_path / "runs"
    arguments = ["train", "--data", str(corpus_folder), "--preset", "laptop_baseline", "--run", str(runs), "--steps", "3"]
    assert main([*arguments, "--seeds", "0,4"]) == 0
    table = capsys.readouterr().out
    assert Run.open(runs / "seed4").preset.train.seed == 4 and Run.open(runs / "seed0").metrics()[-1]["step"] == 3
    full = [Run.open(runs / name).evaluation()["full"]["accuracy"] for name in ("seed0", "seed4")]
    assert f"full {sum(full) / 2:.4f} ±" in table and "Mean over 2 seeds" in table and "seed4" in table
    assert main([*arguments, "--seeds", "0,4"]) == 1
    assert "holds a run already: resume it with --resume" in capsys.readouterr().err
    before = (runs / "seed0" / "model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--seeds", "0,4,5", "--resume"]) == 0
    assert (runs / "seed0" / "model.safetensors").stat().st_mtime_ns == before and Run.exists(runs / "seed5")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("", 2, "COMMAND"),
        ("fly", 2, "invalid choice"),
        ("train --run r", 2, "--data"),
        ("train --data d --run r", 2, "choose one of baseline"),
        ("train --data d --run r --resume", 2, "choose one of baseline"),
        ("train --data d --run r --preset big", 2, "choose one of baseline"),
        ("train --data d --run r --preset baseline --set model.depth=3", 2, "choose one of model.n_mels"),
        ("train --data d --run r --preset baseline --set model.nhead=3", 2, "does not divide"),
        ("train --data d --run r --preset baseline --set model.nhead", 2, "NAME=VALUE"),
        ("train --data d --run r --preset baseline --steps 0", 2, "from 1 up"),
        ("train --data d --run r --resume --steps 5", 2, "name it with --preset"),
        ("train --data d --run r --preset baseline --seeds 1,x", 2, "whole numbers with commas"),
        ("train --data d --run r --preset baseline --seeds 1,1", 2, "names a seed twice"),
        ("train --data d --run r --preset baseline --seeds -1", 2, "train.seed is -1"),
        ("train --data d --run r --resume --seeds 1", 2, "name it with --preset"),
        ("train --data d --run r --preset baseline --seeds 1,2 --set train.seed=3", 2, "both choose the seed"),
        ("train --data d --run r --preset baseline", 1, "d/mapping.json is missing"),
        ("check d", 1, "d/mapping.json is missing"),
        ("evaluate --data d --run r", 1, "r/config.json is missing"),
        ("compare r", 1, "r/config.json is missing"),
        ("predict --data d --run r", 1, "r/config.json is missing"),
        ("identify --run r a.wav", 1, "r/config.json is missing"),
        ("simulate out --speakers 0", 2, "speakers is 0"),
        ("simulate out --workers 0", 2, "workers is 0"),
        ("prepare d out", 1, "d is not a folder"),
        ("prepare d out --chunk 0", 2, "chunk is 0"),
    ],
)
def test_problems_are_one_sentence_and_have_a_code(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPEAKER_DATA", raising=False)
    try:
        found = main(shlex.split(arguments))
    except SystemExit as end:  # argparse's own
        found = end.code
    error = capsys.readouterr().err
    assert found == code and said in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_figure_of_an_unknown_kind_is_refused(two_runs, tmp_path, capsys):
    assert main(["compare", str(two_runs / "laptop_tuned"), "--out", str(tmp_path / "figure.doc")]) == 1
    assert "choose one of" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_check_ends_with_1_where_something_is_wrong(corpus_folder, capsys):
    assert main(["check", str(corpus_folder)]) == 0
    assert "Every file can be used." in capsys.readouterr().out
    feature = sorted(corpus_folder.glob("uttr-*.pt"))[0]
    feature.write_bytes(b"\0" * 100_000)
    assert main(["check", str(corpus_folder)]) == 1
    assert str(feature) in capsys.readouterr().err


def test_who_reads_no_further_is_not_told_so(simulated):
    checking = [sys.executable, "-m", "speaker_lib", "check", simulated]
    with subprocess.Popen(checking, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()  # as `| head` does
        said = process.stderr.read()
    assert process.returncode == 1 and "roken" not in said and "error" not in said, said


def test_too_little_memory_is_a_sentence(simulated, tmp_path):
    training = ["train", "--data", simulated, "--preset", "baseline", "--run", tmp_path / "run", "--steps", "1"]
    large = ["--set", "model.d_model=8", "--set", "model.dim_feedforward=58000000"]  # 986 million numbers, 3.9 GB
    limited = ["import resource, runpy", "resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)"]
    start = "; ".join([*limited, "runpy.run_module('speaker_lib', run_name='__main__')"])
    done = subprocess.run([sys.executable, "-c", start, *training, *large], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("error: ") == 1 and "more memory than there is" in done.stderr
