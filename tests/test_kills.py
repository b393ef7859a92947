"""Fifty kills (kill -9) during one training, some of them with the loss of the disk."""

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from speaker_lib import Corpus, Run, train

from .conftest import command, command_line, write_corpus
from .runs import PRESET, assert_same_outcome

KILLS = 50
LONG = PRESET.override({"train.total_steps": 6_000, "train.valid_steps": 50, "train.save_steps": 7})


def last_write(run: Path) -> int:
    resume = run / "resume.pt"
    return resume.stat().st_mtime_ns if resume.exists() else 0


def train_and_kill(arguments: list[object], run: Path, chance: random.Random, early: bool) -> int:
    """Starts the command and kills it: while it starts, or else some time after it has saved something. Returns its id."""
    before, began = last_write(run), time.monotonic()
    with subprocess.Popen(command_line(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        if early:
            time.sleep(chance.uniform(0, 2.5))
        else:
            while last_write(run) == before and process.poll() is None:
                assert time.monotonic() - began < 120, "it never saved anything"
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.3))
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    return process.pid


@pytest.mark.long
def test_fifty_kills_over_one_training_change_nothing(tmp_path, capsys):
    corpus = Corpus.open(write_corpus(tmp_path / "corpus"))
    undisturbed = Run.create(tmp_path / "undisturbed", LONG, corpus)
    train(undisturbed, corpus)

    folder, drive, chance = tmp_path / "here" / "run", tmp_path / "drive", random.Random(0)
    Run.create(folder, LONG, corpus)
    arguments = ["train", "--data", corpus.folder, "--run", folder, "--backup", drive, "--resume"]
    torn = lost = 0
    for kill in range(KILLS):
        process_id = train_and_kill(arguments, folder, chance, early=kill % 5 == 4)
        torn += bool([*tmp_path.rglob(f".*.{process_id}.partial")])
        if kill % 10 == 9:  # the machine's disk is lost, too
            shutil.rmtree(folder)
            lost += 1
    left = Run.open(drive / "run").load_resume()["step"]
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert left < LONG.train.total_steps
    assert_same_outcome(Run.open(folder), undisturbed)
    assert_same_outcome(Run.open(drive / "run"), undisturbed)
    with capsys.disabled():
        print(
            f"\n{KILLS} kills over {left:,} steps, {torn} of them in the middle of a write, {lost} with the disk lost: "
            "the same weights, validations and state, bit for bit."
        )
