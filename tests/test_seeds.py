"""Runs trained side by side: which are finished, and what is said of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speaker_lib import Corpus, CorpusWriter, ModelConfig, Preset, Run, TrainConfig, train
from speaker_lib.evaluation.identification import evaluate
from speaker_lib.experiments.seeds import Job, train_jobs
from speaker_lib.training.loop import StopTraining
from speaker_lib.utils.errors import Interrupted
from speaker_lib.utils.progress import quietly

from .conftest import command, wait_for

DEVICE = torch.device("cpu")
REPO = Path(__file__).resolve().parents[1]
PRESET = Preset(
    ModelConfig(d_model=16, nhead=2, dim_feedforward=16, activation="relu"),
    TrainConfig(batch_size=8, segment_len=40, warmup_steps=2, total_steps=12, valid_steps=4, valid_fraction=0.25),
)


def stop(row: dict[str, float]) -> None:
    raise StopTraining


@pytest.fixture
def stopped(corpus: Corpus, tmp_path) -> Run:
    """At step 4 of 12."""
    run = Run.create(tmp_path / "run", PRESET, corpus)
    train(run, corpus, callbacks=[stop])
    assert run.metrics()[-1]["step"] == 4
    return run


def test_a_stopped_run_that_was_evaluated_is_not_finished(stopped, corpus):
    assert command("evaluate", "--data", corpus.folder, "--run", stopped.folder).returncode == 0
    assert stopped.evaluation() is not None
    (run,) = train_jobs([Job.of(stopped.folder, PRESET, corpus)], workers=1)
    assert run.metrics()[-1]["step"] == 12 and run.evaluation() is not None


def test_an_evaluation_of_older_weights_is_none(stopped, corpus):
    """As when training writes new weights between the evaluation and its saving."""
    result = evaluate(stopped, corpus, DEVICE)[0]
    train(stopped, corpus)
    stopped.save_evaluation(result.to_dict())
    assert stopped.evaluation() is None
    assert not Job.of(stopped.folder, PRESET, corpus).finished


def test_an_evaluation_that_does_not_name_its_weights_is_accepted(stopped, corpus):
    train(stopped, corpus)
    content = evaluate(stopped, corpus, DEVICE)[0].to_dict()
    del content["weights"]
    (stopped.folder / "evaluation.json").write_text(json.dumps(content))
    assert stopped.evaluation() == content and Job.of(stopped.folder, PRESET, corpus).finished


def noise(out: Path) -> Corpus:
    """Features that are the same for everybody: a model can only guess."""
    with CorpusWriter(out, "noise") as writer:
        for i in range(200):
            writer.add(np.full((40, 40), -3.0, dtype=np.float32), f"speaker{i % 5}")
    return Corpus.open(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_trained_side_by_side_warn_by_name_and_show_one_bar(tmp_path, capfd, workers):
    corpus = noise(tmp_path / "corpus")
    jobs = [Job.of(tmp_path / "guesses" / name, PRESET, corpus) for name in ("one", "two")]
    train_jobs(jobs, workers=workers)
    out, error = capfd.readouterr()
    assert out == "" and all(
        error.count(f"guesses/{name}: At step 12 the validation accuracy is ") == 1 for name in ("one", "two")
    )
    assert error.count("no better than guessing") == 2 and "2/2" in error
    assert not any(said in error for said in ("model saved", "step/s", "Valid", "Full", "Crop"))


@pytest.mark.parametrize(("workers", "interrupt"), [(1, os.killpg), (2, os.killpg), (2, os.kill)], ids=["one", "two", "parent"])
def test_an_interruption_ends_in_a_sentence_and_keeps_what_is_done(tmp_path, corpus_folder, workers, interrupt):
    """Ctrl-C reaches every process of a terminal: the workers, some of which still import, must say nothing.

    If it comes before a worker trains, or to the parent alone, the worker must stop all the same.
    """
    script = f"""
import dataclasses, sys
from pathlib import Path
from tests.test_seeds import Corpus, Job, PRESET, train_jobs
corpus, endless = Corpus.open(sys.argv[1]), PRESET.override({{"train.total_steps": 10**6, "train.warmup_steps": 2}})
presets = {{"one": PRESET, "two": endless, "three": endless}}
jobs = [Job.of(Path(sys.argv[2]) / name, preset, corpus) for name, preset in presets.items()]
train_jobs(jobs, "Ablation", workers={workers})
"""
    options = {"cwd": REPO, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-c", script, corpus_folder, tmp_path / "runs"], **options)
    begun = (tmp_path / "runs" / "one" / "evaluation.json", tmp_path / "runs" / "two" / "metrics.jsonl")
    wait_for(lambda: all(path.exists() for path in begun), process)
    interrupt(process.pid, signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert error.count("Traceback") == 1 and process.returncode != 0
    assert "Ablation interrupted: 1 of 3 runs are finished and kept, those that were training are saved; run the same" in error
    assert (tmp_path / "runs" / "two" / "resume.pt").exists()


def test_a_notebook_shows_the_sentence_of_an_interruption_and_no_traceback():
    assert Interrupted("so much is kept")._render_traceback_() == ["so much is kept"]


def test_a_run_may_be_trained_and_evaluated_without_bars(corpus, tmp_path, capfd):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    with quietly() as lines:
        train(run, corpus)
        evaluate(run, corpus, DEVICE)
    assert capfd.readouterr() == ("", "") and all(line.startswith("At step") for line in lines)
