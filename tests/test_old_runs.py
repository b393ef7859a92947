"""Runs that the library of commit 8ce4d64 made, before it had packages, open, evaluate and resume as they did there."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from speaker_lib import Corpus, CorpusWriter, Run, evaluate, train
from speaker_lib.utils.errors import RunError

CPU = torch.device("cpu")
RUNS = ("plain", "all-rungs")


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    """The data of tests/fixtures/make_old_runs.py, made by today's code."""
    random = np.random.default_rng(0)
    with CorpusWriter(tmp_path / "data", "random numbers, a level per speaker", n_mels=8) as writer:
        for speaker in range(3):
            for utterance in range(6):
                mel = random.normal(3.0 * speaker - 3.0, 1.0, (20 + 3 * utterance, 8)).astype(np.float32)
                writer.add(mel, f"speaker{speaker}", session=f"{speaker}-{utterance % 3}")
    return Corpus.open(tmp_path / "data")


@pytest.fixture(params=RUNS)
def run(request, tmp_path) -> Run:
    with tarfile.open(Path(__file__).parent / "fixtures" / "old-runs.tar.xz") as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    return Run.open(tmp_path / "runs" / request.param)


def test_it_keeps_the_split_that_its_seed_decided(run):
    assert run.preset.train.split_seed == run.preset.train.seed == 5 and run.preset.train.keep == "best"


def test_its_evaluation_is_found_and_comes_out_again(run, corpus):
    before = run.evaluation()
    found, _, _ = evaluate(run, corpus, CPU)
    assert found.full.accuracy == pytest.approx(before["full"]["accuracy"])
    assert found.full.loss == pytest.approx(before["full"]["loss"], rel=1e-4)
    assert not run.finished


def test_it_resumes_and_ends_as_it_would_have_ended(run, corpus):
    state = train(run, corpus, CPU)
    expected = [json.loads(line) for line in (run.folder / "continued.jsonl").read_text().splitlines()]
    assert state.step == 12 and run.finished and len(run.metrics()) == len(expected) == 4
    for ours, theirs in zip(run.metrics(), expected, strict=True):
        for name in theirs.keys() - {"steps_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), (ours["step"], name)


def test_a_setting_that_was_removed_is_refused_where_it_did_something(run):
    path = run.folder / "config.json"
    content = json.loads(path.read_text())
    content["model"]["positions"] = "rotary"
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"model\.positions was removed from the library"):
        Run.open(run.folder)
