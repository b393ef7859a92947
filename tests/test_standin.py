"""The stand-in for HW4: its size and lengths, its values, its determinism, and that it is written whole or not at all."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import astuple

import numpy as np
import pytest

from benchmarks.hw4_standin import search
from benchmarks.hw4_standin.__main__ import main
from benchmarks.hw4_standin.corpus import StandIn, lengths_like_hw4, make_standin, plan, write_standin
from benchmarks.hw4_standin.features import FLOOR, Variability
from speaker_lib import Corpus
from speaker_lib.config.schema import TrainConfig
from speaker_lib.data.check import check_corpus
from speaker_lib.data.splits import split_utterances
from speaker_lib.utils.errors import ConfigError

from .conftest import call

COMMAND = [sys.executable, "-m", "benchmarks.hw4_standin"]
TINY = StandIn(speakers=4, utterances=40, test_utterances=3, sessions=3, seed=1)


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    out = tmp_path_factory.mktemp("standin") / "tiny"
    write_standin(out, TINY)
    return out


def test_the_lengths_are_those_of_hw4():
    labelled, test = plan(StandIn())
    assert len(labelled) == 56_666 and len(test) == 8_000
    quantiles = np.quantile(labelled.lengths, [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0])
    np.testing.assert_array_equal(quantiles, [91, 368, 441, 541, 740, 1_338, 7_193])
    assert labelled.lengths.sum() == pytest.approx(37_291_397, rel=1e-3) and (labelled.lengths < 128).sum() == 2
    assert (test.lengths.min(), test.lengths.max()) == (214, 4_940) and np.median(test.lengths) == pytest.approx(538, abs=5)
    counts = np.bincount(labelled.people)
    assert len(counts) == 600 and (counts.min(), counts.max()) == (80, 111)


def test_a_few_on_average_are_dealt_out():
    labelled = plan(StandIn(speakers=10, utterances=1.2, test_utterances=0))[0]
    assert len(labelled.lengths) == 12 and set(np.bincount(labelled.people)) == {1, 2}


def test_few_utterances_have_lengths_too():
    assert lengths_like_hw4(1, np.random.default_rng(0)).shape == (1,)
    assert lengths_like_hw4(0, np.random.default_rng(0)).shape == (0,)


def test_the_values_are_like_those_of_hw4():
    corpus = make_standin(StandIn(speakers=30, utterances=10))
    values = corpus.labelled.frames.astype(np.float32)
    assert np.isfinite(values).all() and values.min() == np.float32(np.float16(FLOOR)) and values.max() < 9
    assert values.mean() == pytest.approx(-2.0, abs=0.7)
    floored = np.mean([corpus.labelled.mel(i).min() < -20.7 for i in range(len(corpus.labelled))])
    assert 0.3 < floored < 0.65  # 47% of HW4's files touch it


def test_it_opens_splits_and_checks_without_feature_files(standin):
    assert sorted(p.name for p in standin.iterdir()) == ["mapping.json", "metadata.json", "packed", "testdata.json"]
    corpus = Corpus.open(standin)
    assert corpus.n_speakers == 4 and len(corpus.labelled) == 160 and len(corpus.test) == 12
    assert "not people" in corpus.source
    training, held_out = split_utterances(corpus.labelled, TrainConfig(split="session"))
    seen = {corpus.labelled.sessions[i] for i in training}
    assert len(seen) == 8 and not seen & {corpus.labelled.sessions[i] for i in held_out}
    summary, problems = check_corpus(standin)
    assert problems == [] and "12 sessions" in summary


def test_check_reads_the_pack(standin, tmp_path):
    write_standin(tmp_path / "spoilt", TINY)
    corpus = Corpus.open(tmp_path / "spoilt")
    path = next((tmp_path / "spoilt" / "packed").glob("labelled-*.npy"))
    frames = np.load(path, mmap_mode="r+")
    frames[corpus.labelled.offsets[7]] = np.nan
    frames.flush()
    _, problems = check_corpus(tmp_path / "spoilt")
    assert len(problems) == 1 and corpus.labelled.paths[7] in problems[0] and "not numbers" in problems[0]


def test_in_memory_it_is_what_it_is_on_disk(standin):
    corpus = Corpus.open(standin)
    made = make_standin(TINY)
    np.testing.assert_array_equal(made.labelled.frames, corpus.labelled.frames)
    np.testing.assert_array_equal(made.labelled.labels, corpus.labelled.labels)
    assert made.labelled.paths == corpus.labelled.paths and made.labelled.sessions == corpus.labelled.sessions


def test_the_seed_decides_everything_and_the_number_of_processes_nothing(standin, tmp_path):
    write_standin(tmp_path / "two", TINY, workers=2)
    for path in (p for p in standin.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(standin)).read_bytes()
    other = make_standin(StandIn(speakers=4, utterances=40, sessions=3, seed=2))
    assert other.labelled.lengths.tolist() != Corpus.open(standin).labelled.lengths.tolist()


def test_people_differ_by_as_much_as_asked():
    def apart(speaker: float) -> float:
        quiet = Variability(speaker, mood=0.0, session=0.0, token=0.5)
        labelled = make_standin(StandIn(speakers=8, utterances=6, spreads=quiet)).labelled
        means = [np.mean([labelled.mel(i).mean(axis=0) for i in np.flatnonzero(labelled.labels == s)], axis=0) for s in range(8)]
        return float(np.std(means, axis=0).mean())

    assert apart(0.0) < 0.8 * apart(1.0) < 0.4 * apart(4.0)


def test_some_utterances_are_clear_and_some_hopeless():
    def from_clear_to_hopeless(variety: float) -> float:
        moody = Variability(speaker=0.0, mood=4.0, session=0.0, token=0.0, variety=variety)
        labelled = make_standin(StandIn(speakers=4, utterances=50, spreads=moody)).labelled
        typical = np.array([np.median(labelled.mel(i).astype(np.float32), axis=0) for i in range(len(labelled))])
        off = np.linalg.norm(typical - np.median(typical, axis=0), axis=1)
        return float(np.quantile(off, 0.95) / np.quantile(off, 0.05))

    assert from_clear_to_hopeless(1.0) > 2 * from_clear_to_hopeless(0.0)


def test_the_widest_spreads_still_make_utterances():
    widest = Variability(speaker=10.0, mood=10.0, session=10.0, token=10.0, variety=1.0)
    labelled = make_standin(StandIn(speakers=8, utterances=200, spreads=widest)).labelled
    assert np.isfinite(labelled.frames).all()


def test_the_command_line_makes_one_and_trains_on_it(tmp_path):
    out = tmp_path / "standin"
    command = [*COMMAND, out, "--speakers", "3", "--utterances", "8", "--test-utterances", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "simulated features like HW4's" in done.stdout and "not people" in done.stdout
    assert len(json.loads((out / "testdata.json").read_text())["utterances"]) == 3
    done = call("check", out)
    assert done.returncode == 0 and "3 speakers, 24 labelled utterances, 3 for the test set" in done.stdout
    done = call("train", "--data", out, "--preset", "baseline_relu", "--steps", "5", "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_other_spreads_are_other_data(standin, tmp_path, capsys):
    words = "--speakers 4 --utterances 40 --test-utterances 3 --sessions 3 --seed 1 --spreads 3 1 1 1 0"
    assert main([str(tmp_path / "far"), *words.split()]) == 0
    assert "spreads 3.0 1.0 1.0 1.0 0.0" in capsys.readouterr().out
    near, far = Corpus.open(standin), Corpus.open(tmp_path / "far")
    assert near.digest != far.digest and near.labelled.lengths.tolist() == far.labelled.lengths.tolist()
    assert not np.array_equal(near.labelled.frames, far.labelled.frames)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert " ".join(map(str, astuple(Variability()))) in " ".join(capsys.readouterr().out.split())


def test_what_is_there_is_not_written_over(standin, capsys):
    before = sorted(standin.rglob("*"))
    assert main([str(standin)]) == 1
    assert "is there already" in capsys.readouterr().err and sorted(standin.rglob("*")) == before


def test_killed_in_the_middle_it_leaves_no_half_corpus(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, tmp_path / "out", "--workers", "1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not any(p.stat().st_size > 10_000_000 for p in tmp_path.rglob("labelled-*.npy")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert not any(tmp_path.iterdir())


def test_settings_that_make_no_sense_are_refused(tmp_path, capsys):
    assert main([str(tmp_path / "out"), "--speakers", "0"]) == 2
    assert "error: speakers is 0" in capsys.readouterr().err and not any(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="mood spread is nan"):
        Variability(mood=float("nan"))
    with pytest.raises(ConfigError, match="token spread is 11: choose a number from 0 to 10"):
        Variability(token=11)
    with pytest.raises(ConfigError, match="variety spread is 4: choose a number from 0 to 1"):
        Variability(variety=4)


def test_the_search_for_its_knobs_prints_lines_of_json(monkeypatch, capsys):
    words = "search --speakers 3 --speaker-spread 2 --steps 20 --every --set train.warmup_steps=2 --set train.valid_steps=10"
    monkeypatch.setattr(sys, "argv", words.split())
    search.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["made", "crop", "crop", "end"]
    assert all(line["speaker"] == 2.0 for line in lines) and 0.0 <= lines[-1]["full"] <= 1.0
