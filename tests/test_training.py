"""Training: what is learned, what is saved, and that an interruption changes nothing."""

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from speaker_lib import (
    Corpus,
    CorpusWriter,
    ModelConfig,
    Preset,
    Run,
    TrainConfig,
    get_cosine_schedule_with_warmup,
    set_seed,
    split_utterances,
    train,
)
from speaker_lib.data.batches import Batch
from speaker_lib.training import loop as training
from speaker_lib.training.diagnostics import chance_warning, check_finite
from speaker_lib.training.loop import StopTraining
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import model_fn
from speaker_lib.utils.errors import CorpusError, RunError, TrainingDiverged

from .conftest import command_line, wait_for
from .runs import PRESET, assert_equal, assert_same_outcome, last_weights, weights, without_speed


@pytest.fixture
def copied(uninterrupted, tmp_path) -> Run:
    """A copy of the run, for tests that change it."""
    return Run.open(shutil.copytree(uninterrupted.folder, tmp_path / "copied"))


def test_a_run_learns_and_is_a_folder(uninterrupted, corpus):
    rows = uninterrupted.metrics()
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["valid_loss"] < rows[0]["valid_loss"] < math.log(3) + 0.2
    assert rows[-1]["valid_accuracy"] > 0.6  # three speakers, chance 0.33
    names = sorted(p.name for p in uninterrupted.folder.iterdir() if not p.name.startswith("."))
    assert names == ["config.json", "metrics.jsonl", "model.safetensors", "resume.pt"]
    again = Run.open(uninterrupted.folder)
    assert again.preset == uninterrupted.preset and again.preset.model.n_speakers == 3
    assert again.data.speakers == corpus.speakers and again.data.source == corpus.source


def test_the_same_seed_gives_the_same_weights_twice(uninterrupted, corpus, tmp_path):
    again = Run.create(tmp_path / "again", PRESET, corpus)
    train(again, corpus)
    assert_equal(weights(again), weights(uninterrupted))
    other = Run.create(tmp_path / "other", PRESET.override({"train.seed": 1}), corpus)
    train(other, corpus)
    assert not torch.equal(weights(other)["prenet.weight"], weights(again)["prenet.weight"])


@pytest.mark.parametrize("step", [20, 40, 60])
@pytest.mark.parametrize("by", ["exception", "event"])
def test_a_stopped_run_resumes_bit_for_bit(uninterrupted, corpus, tmp_path, capsys, by, step):
    run, event, seen = Run.create(tmp_path / "stopped", PRESET, corpus), threading.Event(), []

    def stop(row):
        seen.append(row)
        if row["step"] == step:
            event.set()
            if by == "exception":
                raise StopTraining

    assert train(run, corpus, callbacks=[stop], stop=event).step == step
    assert ("Stopped at step" in capsys.readouterr().err) == (step < 60)
    torch.manual_seed(12345)  # whatever happens in between
    assert train(Run.open(run.folder), corpus, callbacks=[seen.append]).step == 60
    assert_same_outcome(run, uninterrupted)
    assert without_speed(run.metrics()) == without_speed(seen)


KILLED_AT_25 = """
import os, signal, sys
from speaker_lib import Corpus, Run, train
from speaker_lib.training import step as training
steps, model_fn = 0, training.model_fn
def count_then_die(batch, model, *rest):
    global steps
    steps += model.training
    if model.training and steps == 26:
        os.kill(os.getpid(), signal.{signal})
    return model_fn(batch, model, *rest)
training.model_fn = count_then_die
train(Run.open(sys.argv[1]), Corpus.open(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("name", "last", "code", "saved_at"),
    [("SIGKILL", 26, -9, 20), ("SIGINT", 26, 0, 26), ("SIGTERM", 26, 0, 26), ("SIGINT", 40, 0, 40)],
)
def test_60_steps_at_once_equal_25_a_kill_and_35(uninterrupted, corpus, tmp_path, name, last, code, saved_at):
    run = Run.create(tmp_path / "killed", PRESET, corpus)
    script = KILLED_AT_25.replace("{signal}", name).replace("26", str(last))
    died = subprocess.run([sys.executable, "-c", script, run.folder, corpus.folder], capture_output=True, text=True)
    assert died.returncode == code, died.stderr
    assert run.load_resume()["step"] == saved_at
    assert ("resume with --resume" in died.stderr) == (code == 0)
    train(Run.open(run.folder), corpus)
    assert_same_outcome(run, uninterrupted)


def test_ctrl_c_on_the_command_line_saves_and_says_how_to_resume(corpus_folder, tmp_path):
    run = tmp_path / "run"
    arguments = ["train", "--data", corpus_folder, "--preset", "laptop_baseline", "--run", run]
    arguments += ["--steps", "100000", "--set", "train.save_steps=1"]
    process = subprocess.Popen(command_line(*arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for((run / "resume.pt").exists, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Stopped at step" in error and "--resume" in error and "Traceback" not in error
    assert Run.open(run).load_resume()["step"] > 0


def test_what_is_saved_as_best_is_a_copy_of_the_best(corpus, tmp_path):
    """The sample code keeps a reference to the weights, and so saves the last ones under the best one's name."""
    preset = PRESET.override({"train.learning_rate": 0.3, "train.valid_steps": 5})  # jumps about: the best is not the last
    run, models = Run.create(tmp_path / "run", preset, corpus), []
    state = train(run, corpus, callbacks=[lambda row: models.append(weights(run))])
    accuracies = [row["valid_accuracy"] for row in run.metrics()]
    best = accuracies.index(max(accuracies))
    assert state.best_accuracy == accuracies[best] and best < len(accuracies) - 1
    assert_equal(weights(run), models[best])
    assert not torch.equal(weights(run)["prenet.weight"], last_weights(run)["prenet.weight"])


@pytest.mark.parametrize(("ema", "kept"), [(0.0, "model"), (0.5, "average")])
def test_a_run_may_keep_its_last_weights(corpus, tmp_path, capsys, ema, kept):
    """Then the evaluated utterances have not chosen the weights."""
    settings = {"train.learning_rate": 0.3, "train.valid_steps": 5, "train.keep": "last", "train.ema": ema}
    run, models = Run.create(tmp_path / "run", PRESET.override(settings), corpus), []
    train(run, corpus, callbacks=[lambda row: models.append(weights(run))])
    accuracies = [row["valid_accuracy"] for row in run.metrics()]
    assert accuracies.index(max(accuracies)) < len(accuracies) - 1
    assert_equal(weights(run), {name: tensor.contiguous() for name, tensor in run.load_resume()[kept].items()})
    assert all(not torch.equal(a["prenet.weight"], b["prenet.weight"]) for a, b in pairwise(models))
    said = capsys.readouterr().err
    assert "best" not in said and f"Step 60, model saved. (accuracy={accuracies[-1]:.4f})" in said


def test_a_finished_run_stays_as_it_is(copied, corpus):
    before = {p.name: p.read_bytes() for p in copied.folder.iterdir()}
    assert train(copied, corpus).step == 60
    assert {p.name: p.read_bytes() for p in copied.folder.iterdir()} == before


@pytest.mark.parametrize("valid_steps", [1, 10])
def test_a_stop_button_ends_training_and_loses_no_validation(corpus, tmp_path, valid_steps):
    """Pressed before the first step, which is the last before a validation or not."""
    preset = PRESET.override({"train.total_steps": 20, "train.valid_steps": valid_steps})
    whole, run = (Run.create(tmp_path / name, preset, corpus) for name in ("whole", "run"))
    train(whole, corpus)
    stop = threading.Event()
    stop.set()
    assert train(run, corpus, stop=stop).step == 1
    assert [row["step"] for row in run.metrics()] == ([1] if valid_steps == 1 else [])
    assert train(run, corpus).step == 20
    assert_same_outcome(run, whole)


def test_stopping_never_saves_a_state_with_nan(corpus, tmp_path):
    """Step 1 makes the weights so large that step 2 loses them."""
    run = Run.create(tmp_path / "run", PRESET.override({"train.learning_rate": 1e6, "train.warmup_steps": 0}), corpus)
    stop = threading.Event()
    stop.set()
    train(run, corpus, stop=stop)
    with pytest.raises(TrainingDiverged, match="diverged to NaN at step 2"):
        train(run, corpus, stop=stop)
    assert run.load_resume()["step"] == 1


def test_nan_in_the_weights_is_found_before_it_is_in_the_loss():
    state = TrainState(PRESET, torch.device("cpu"))
    check_finite(1.0, state, PRESET)
    with torch.no_grad():
        next(state.model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingDiverged):
        check_finite(1.0, state, PRESET)


def test_gradients_are_clipped_to_clip_norm(corpus, tmp_path):
    """Adam's steps hardly depend on the length of a gradient, so the gradients themselves are measured."""
    preset = PRESET.override({"train.clip_norm": 1e-3, "train.total_steps": 2, "train.warmup_steps": 1})
    state = train(Run.create(tmp_path / "run", preset, corpus), corpus)
    norm = torch.cat([p.grad.flatten() for p in state.model.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_training_works_away_from_the_main_thread(corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET.override({"train.total_steps": 10}), corpus)
    thread = threading.Thread(target=train, args=(run, corpus))
    thread.start()
    thread.join(timeout=60)
    assert [row["step"] for row in run.metrics()] == [10]


def test_a_run_that_cannot_begin_leaves_nothing_in_its_way(tmp_path):
    with CorpusWriter(tmp_path / "corpus", "no sessions") as writer:
        for i in range(40):
            writer.add(np.zeros((40, 40), dtype=np.float32), f"speaker{i % 2}")
    corpus = Corpus.open(tmp_path / "corpus")
    with pytest.raises(CorpusError, match=r"train with train\.split=random"):
        Run.create(tmp_path / "run", PRESET.override({"train.split": "session"}), corpus)
    assert not (tmp_path / "run").exists()
    assert Run.create(tmp_path / "run", PRESET, corpus).metrics() == []


def test_one_of_many_threads_that_begin_a_run_at_once_succeeds(corpus, tmp_path):
    begun, refused, barrier = [], [], threading.Barrier(8)

    def begin_run(seed: int) -> None:
        barrier.wait()
        try:
            begun.append(Run.create(tmp_path / "run", PRESET.override({"train.seed": seed}), corpus))
        except RunError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin_run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == [Run.open(tmp_path / "run")]
    assert len(refused) == 7 and all("holds a run already" in error for error in refused)


def test_a_validation_with_nan_is_not_recorded(uninterrupted, corpus, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    with monkeypatch.context() as patch, pytest.raises(TrainingDiverged, match="diverged to NaN at step 20"):
        patch.setattr(training, "valid", lambda *_: (0.3, math.nan))
        train(run, corpus)
    assert run.metrics() == [] and run.load_resume()["step"] == 10
    train(run, corpus)
    assert_equal(weights(run), weights(uninterrupted))


@pytest.mark.parametrize(("saved_in", "resumed_in"), [(torch.float32, torch.float16), (torch.float16, torch.float32)])
def test_a_machine_of_another_precision_resumes(saved_in, resumed_in):
    """A state of a CPU or of a card with bfloat16, on a card without: it alone scales the loss."""
    device = torch.device("cpu")
    saved, other = TrainState(PRESET, device, saved_in), TrainState(PRESET, device, resumed_in)
    saved.step = saved.scheduler.last_epoch = 7
    other.load_state_dict(saved.state_dict())
    assert other.step == 7 and other.scaler.is_enabled() == (resumed_in == torch.float16)


def test_a_nan_loss_ends_training_and_keeps_the_last_save(uninterrupted, corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET.override({"train.learning_rate": 2e9, "train.warmup_steps": 0}), corpus)
    with pytest.raises(TrainingDiverged, match=r"diverged to NaN at step \d+, likely because train.learning_rate = 2e\+09"):
        train(run, corpus)
    assert run.load_resume() is None or all(t.isfinite().all() for t in last_weights(run).values())
    with pytest.raises(TrainingDiverged, match=r"at step 7, likely because .* train\.clip_norm=5, or"):
        check_finite(math.nan, SimpleNamespace(step=7), Preset(ModelConfig(encoder="conformer")))


def rows(*accuracies: float) -> list[dict[str, float]]:
    return [{"step": 2_000.0 * (i + 4), "valid_accuracy": a} for i, a in enumerate(accuracies)]


def test_guessing_is_reported_once_with_its_likely_cause():
    preset = Preset(ModelConfig(num_layers=6), TrainConfig())
    chance = 1 / 600
    assert chance_warning(rows(0.3), 5667, preset) is None
    warning = chance_warning(rows(0.3, chance), 5667, preset)
    assert "0.0017, no better than guessing among 600 speakers" in warning and "6 post-norm layers collapse" in warning
    assert chance_warning(rows(0.3, chance, chance), 5667, preset) is None  # said before
    early = [{"step": 1_000, "valid_accuracy": chance}]
    assert chance_warning(early, 5667, preset) is None
    short = preset.override({"train.total_steps": 300, "train.warmup_steps": 10})
    assert chance_warning([{"step": 60, "valid_accuracy": chance}], 120, short) is None  # may only be slow
    assert "no better than guessing" in chance_warning([{"step": 300, "valid_accuracy": chance}], 120, short)
    assert "Sigmoid" in chance_warning(rows(chance), 5667, Preset())
    three = Preset(ModelConfig(n_speakers=3), TrainConfig())
    assert chance_warning(rows(1.0), 3, three) is None and chance_warning(rows(0.8), 20, three) is None  # few, but learned
    relu = Preset(ModelConfig(activation="relu"))
    assert "`check`" in chance_warning(rows(chance), 5667, relu)
    assert "too high" in chance_warning(rows(chance), 5667, relu.override({"train.learning_rate": 0.1}))
    conformer = Preset(ModelConfig(encoder="conformer", num_layers=6, head="linear"))  # has neither post-norm nor a Sigmoid
    assert "`check`" in chance_warning(rows(chance), 5667, conformer)


def test_guessing_is_reported_in_training(tmp_path, capsys):
    """A model that cannot learn: every speaker has the same features."""
    with CorpusWriter(tmp_path / "corpus", "noise") as writer:
        for i in range(200):
            writer.add(np.full((40, 40), -3.0, dtype=np.float32), f"speaker{i % 5}")
    corpus = Corpus.open(tmp_path / "corpus")
    train(Run.create(tmp_path / "run", PRESET, corpus), corpus)
    assert capsys.readouterr().err.count("no better than guessing among 5 speakers") == 1


def test_a_finished_run_says_that_nothing_is_trained_and_how_to_train_anew(corpus, tmp_path, capsys):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    train(run, corpus)
    assert "nothing is trained" not in capsys.readouterr().err
    rows, closed = run.metrics(), []
    callback = SimpleNamespace(close=lambda: closed.append(True))
    assert repr(train(run, corpus, callbacks=[callback])) == "TrainState at step 60"
    said = capsys.readouterr().err
    assert f"{run.folder} holds all 60 steps of this run, so nothing is trained: rename or delete it to train anew" in said
    assert run.metrics() == rows and closed == [True]


@pytest.mark.parametrize("split_seed", range(4))
def test_a_speaker_with_nothing_to_train_on_is_named_with_what_that_costs(tmp_path, capsys, split_seed):
    with CorpusWriter(tmp_path / "corpus", "random numbers") as writer:
        for i in range(12):  # the split is random, so that some of six speakers lose both utterances
            writer.add(np.random.default_rng(i).normal(size=(40, 40)).astype(np.float32), f"speaker{i % 6}")
    corpus = Corpus.open(tmp_path / "corpus")
    preset = PRESET.override({"train.valid_fraction": 0.6, "train.split_seed": split_seed})
    training_set, heldout = (corpus.labelled.labels[part] for part in split_utterances(corpus.labelled, preset.train))
    missing = [label for label in range(6) if label not in training_set]
    expected = np.mean([label in training_set for label in heldout])
    train(Run.create(tmp_path / "run", preset, corpus), corpus)
    said = capsys.readouterr().err
    assert missing and f"of {len(missing)} speakers is left" in said and f"speaker{missing[0]}" in said
    assert f"cannot exceed {expected:.4f}" in said


def test_progress_bars_look_as_in_the_report(capsys, corpus, tmp_path):
    train(Run.create(tmp_path / "run", PRESET, corpus), corpus)
    error = capsys.readouterr().err
    assert "Train: 100%" in error and "60/60" in error and "step/s, accuracy=" in error and "step=60" in error
    assert "20/20" not in error  # one bar to the last step, not one to each validation
    assert "Valid" not in error  # a second bar below the first is for terminals: a log file cannot move up a line
    assert "best model saved. (accuracy=" in error


def test_the_schedule_rises_and_falls():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup_steps=1_000, total_steps=70_000)
    found = {}
    for step in range(70_001):
        found[step] = scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
    assert found[0] == 0.0 and found[500] == pytest.approx(5e-4) and found[1_000] == pytest.approx(1e-3)
    assert found[35_500] == pytest.approx(5e-4) and found[70_000] == pytest.approx(0.0, abs=1e-12)


def test_set_seed_decides_weights_and_dropout():
    def draw():
        layer = nn.Linear(4, 4)
        return torch.cat([layer.weight.flatten(), nn.functional.dropout(torch.ones(50))])

    set_seed(1)
    one = draw()
    set_seed(1)
    assert torch.equal(one, draw())
    set_seed(2)
    assert not torch.equal(one, draw())


def test_model_fn_gives_loss_and_accuracy():
    class AlwaysFirst(nn.Module):
        def forward(self, mels, lengths=None):
            assert lengths is None or lengths.tolist() == [4, 2]
            return torch.tensor([[9.0, 0.0], [9.0, 0.0]])

    batch = Batch(torch.zeros(2, 4, 40), torch.tensor([4, 2]), torch.tensor([0, 1]))
    ordinary = [batch.mels, batch.labels]  # as the sample code's DataLoader gives it
    for given in (batch, batch._replace(lengths=torch.tensor([4, 4])), ordinary):
        loss, accuracy = model_fn(given, AlwaysFirst(), nn.CrossEntropyLoss(), torch.device("cpu"))
        assert accuracy == 0.5 and loss.item() == pytest.approx((math.log1p(math.exp(-9)) + 9 + math.log1p(math.exp(-9))) / 2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_trains_too(corpus, tmp_path, precision):
    run = Run.create(tmp_path / "run", PRESET.override({"train.precision": precision, "train.total_steps": 20}), corpus)
    state = train(run, corpus)
    assert state.step == 20 and math.isfinite(run.metrics()[-1]["train_loss"])
    assert all(t.dtype == torch.float32 for t in weights(run).values())


def spoil_validation(run: Path, **values: float) -> None:
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    (run / "metrics.jsonl").write_text(json.dumps(row | values) + "\n")


DAMAGES = {
    "is missing: name the folder": lambda r: (r / "config.json").unlink(),
    "not the settings of a run": lambda r: (r / "config.json").write_text("{}"),
    "choose one of sigmoid, relu": lambda r: (r / "config.json").write_text(
        (r / "config.json").read_text().replace("relu", "gelu")
    ),
    "lists 3 speakers": lambda r: (r / "config.json").write_text(
        (r / "config.json").read_text().replace('"n_speakers": 3', '"n_speakers": 4')
    ),
    "resume.pt cannot be read": lambda r: (r / "resume.pt").write_bytes(b"no"),
    "resume.pt does not fit": lambda r: torch.save({"step": 3}, r / "resume.pt"),
    "resume.pt cannot be read (IndexError)": lambda r: torch.save(torch.zeros(3), r / "resume.pt"),
    "metrics.jsonl cannot be read": lambda r: (r / "metrics.jsonl").write_text("{"),
    "metrics.jsonl cannot be read ('train_accuracy')": lambda r: (r / "metrics.jsonl").write_text('{"step": 1}\n'),
    "metrics.jsonl cannot be read (a number is NaN": lambda r: spoil_validation(r, valid_loss=math.nan),
    "metrics.jsonl cannot be read (a step took no time": lambda r: spoil_validation(r, steps_per_second=0.0),
    "metrics.jsonl cannot be read (int too large": lambda r: spoil_validation(r, train_loss=10**400),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_run_is_refused_in_one_sentence(copied, corpus, said):
    DAMAGES[said](copied.folder)
    with pytest.raises(RunError) as problem:
        train(Run.open(copied.folder), corpus)
    assert said in str(problem.value) and str(copied.folder) in str(problem.value)


def test_weights_that_do_not_fit_are_refused(copied):
    path = copied.folder / "model.safetensors"
    safetensors.torch.save_file({"prenet.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(RunError, match="does not fit the model"):
        copied.load_model()
    path.write_bytes(b"pickle")
    with pytest.raises(RunError, match="not a safetensors file"):
        copied.load_model()
    path.unlink()
    with pytest.raises(RunError, match="is missing"):
        copied.load_model()


def test_other_settings_are_refused(uninterrupted):
    with pytest.raises(RunError, match=r"train.learning_rate was 0.005 and is now 0.0001"):
        uninterrupted.check_same(uninterrupted.preset.override({"train.learning_rate": 1e-4}), uninterrupted.data.digest)


@pytest.mark.parametrize(
    ("n_speakers", "name", "said"),
    [
        (3, "speaker1", "the same speakers with other utterances (another metadata.json)"),
        (4, "speaker1", "4 speakers instead of 3"),
        (3, "bo", "other speakers, or in another order"),
    ],
)
def test_other_data_are_refused_with_what_differs(uninterrupted, tmp_path, n_speakers, name, said):
    """The source is the same, and the folder may be: what differs must be in the sentence."""
    with CorpusWriter(tmp_path / "other", uninterrupted.data.source) as writer:
        for i in range(24):
            writer.add(np.zeros((90, 40), dtype=np.float32), ["speaker0", name, "speaker2", "speaker3"][i % n_speakers])
    with pytest.raises(RunError, match=r"was trained on random numbers \(") as problem:
        train(uninterrupted, Corpus.open(tmp_path / "other"))
    assert str(problem.value).endswith(f"holds random numbers, {said}: give it the data it was trained on.")
