"""Several processes that train one model, as a user starts them: torchrun, here with gloo on a CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from speaker_lib import Corpus, Run, TrainConfig
from speaker_lib.data.batches import get_dataloader
from speaker_lib.data.splits import split_utterances
from speaker_lib.training.loop import valid

from .conftest import call, wait_for, write_corpus

SETTINGS = ["--preset", "laptop_baseline"]
for setting in ("model.dropout=0", "train.segment_len=48", "train.save_steps=7", "train.warmup_steps=2"):
    SETTINGS += ["--set", setting]
MORE = ["--set", "train.total_steps=16", "--set", "train.valid_steps=8"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("distributed") / "corpus", n_speakers=3, n_utterances=41, shortest=40)


SPEAKER_LIB = ("-m", "--", "speaker_lib")


def torchrun(n: int, *program: object) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}", *map(str, program)]


def several(n: int, *program: object) -> subprocess.CompletedProcess:
    return subprocess.run(torchrun(n, *program), capture_output=True, text=True, timeout=300)


def assert_close(one: Path, other: Path) -> None:
    weights = [safetensors.torch.load_file(run / "model.safetensors") for run in (one, other)]
    for name, tensor in weights[0].items():
        mine, theirs = tensor, weights[1][name]
        if name.endswith("in_proj_bias"):  # softmax does not see the keys' bias: its gradient is rounding, which Adam scales up
            (queries, keys, values), others = mine.chunk(3), theirs.chunk(3)
            torch.testing.assert_close(others[1], keys, atol=1e-3, rtol=0)
            mine, theirs = torch.cat([queries, values]), torch.cat([others[0], others[2]])
        torch.testing.assert_close(theirs, mine, atol=1e-5, rtol=0)


def test_two_processes_train_the_same_weights_as_one(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert call("train", "--data", data, "--run", one, *SETTINGS, *MORE).returncode == 0
    done = several(2, *SPEAKER_LIB, "train", "--data", data, "--run", two, *SETTINGS, *MORE)
    assert done.returncode == 0, done.stderr
    assert_close(one, two)
    assert done.stdout.count("Best validation accuracy") == done.stdout.count("2 processes") == 1
    for mine, theirs in zip(Run.open(one).metrics(), Run.open(two).metrics(), strict=True):
        assert theirs["valid_accuracy"] == mine["valid_accuracy"]  # of 13 utterances: each counted once
        assert all(theirs[key] == pytest.approx(mine[key], abs=1e-5) for key in mine if key != "steps_per_second")

    again = several(2, *SPEAKER_LIB, "train", "--data", data, "--run", two, *SETTINGS, *MORE)
    assert again.returncode != 0 and again.stderr.count("error: ") == 1 and "holds a run already" in again.stderr


def test_the_saved_weights_are_the_validated_ones(data, tmp_path):
    """Each process has its own running statistics of BatchNorm: all must validate with those that the first one saves."""
    run, corpus = tmp_path / "run", Corpus.open(data)
    settings = ["--preset", "laptop_best", "--steps", "8", "--set", "train.segment_len=48", "--set", "train.valid_steps=8"]
    done = several(2, *SPEAKER_LIB, "train", "--data", data, "--run", run, *settings)
    assert done.returncode == 0, done.stderr
    run = Run.open(run)
    loader = get_dataloader(corpus, run.preset.train)[1]
    _, loss = valid(loader, run.load_model(), torch.nn.CrossEntropyLoss(), torch.device("cpu"))
    assert run.metrics()[-1]["valid_loss"] == pytest.approx(loss, abs=1e-5)


def test_a_run_of_two_processes_is_stopped_and_resumed_with_one(data, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    steps = ["--set", "train.total_steps=120", "--set", "train.valid_steps=120"]
    arguments = ["train", "--data", data, *SETTINGS, *steps]
    process = subprocess.Popen(
        torchrun(2, *SPEAKER_LIB, *arguments, "--run", run),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal does, send Ctrl-C to the processes and to torchrun, which passes it on
    )
    wait_for((run / "resume.pt").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    stopped = Run.open(run).load_resume()["step"]
    assert error.count(f"Stopped at step {stopped} of 120") == 1 and 0 < stopped < 120

    assert call("train", "--data", data, "--run", run, "--resume").returncode == 0
    assert call(*arguments, "--run", whole).returncode == 0
    for mine, theirs in zip(Run.open(whole).metrics(), Run.open(run).metrics(), strict=True):
        assert all(theirs[key] == pytest.approx(mine[key], rel=1e-3) for key in mine if key != "steps_per_second")


def test_a_batch_that_cannot_be_shared_begins_no_run(data, tmp_path):
    done = several(3, *SPEAKER_LIB, "train", "--data", data, "--run", tmp_path / "run", *SETTINGS, *MORE)
    assert done.returncode != 0 and "3 processes cannot divide a batch of 32 equally" in done.stderr
    assert not (tmp_path / "run").exists()
    done = several(2, *SPEAKER_LIB, "train", "--data", data, "--run", tmp_path / "run", *SETTINGS, *MORE, "--seeds", "0,1")
    assert "omit torchrun" in done.stderr and not (tmp_path / "run").exists()


SLOW_TO_JOIN = """
import os, pathlib, sys, time
import torch
from speaker_lib.training.distributed import joined

folder, join = pathlib.Path(sys.argv[1]), torch.distributed.init_process_group
def join_second(backend):
    join(backend)
    if os.environ["RANK"] == "1":
        (folder / "first").touch()
        return
    while not (folder / "first").exists():
        time.sleep(0.02)
    (folder / "second").touch()
torch.distributed.init_process_group = join_second
with joined(torch.device("cpu")):
    assert (folder / "second").exists(), "a process could leave before the other had joined"
"""


def test_no_process_starts_before_all_have_joined(tmp_path):
    """Else an early error in one process breaks the connection of another, and that error hides the first."""
    script = tmp_path / "script.py"
    script.write_text(SLOW_TO_JOIN)
    done = several(2, script, tmp_path)
    assert done.returncode == 0, done.stderr


ENDS = """
import os, torch
from speaker_lib.training.distributed import joined

with joined(torch.device("cpu")) as team:
    {end}
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ('if team.rank: raise torch.OutOfMemoryError("CUDA out of memory")', "OutOfMemoryError: CUDA out of memory"),
        ("team.wait() if team.rank else os._exit(0)", "process 1 lost the others ("),
    ],
)
def test_only_a_broken_connection_is_called_one(tmp_path, end, said):
    script = tmp_path / "script.py"
    script.write_text(ENDS.format(end=end))
    done = several(2, script)
    assert done.returncode != 0 and said in done.stderr, done.stderr
    assert ("lost the others" in said) == ("lost the others" in done.stderr), done.stderr


def test_processes_see_every_utterance_of_a_batch_once(data):
    corpus, config = Corpus.open(data), TrainConfig(batch_size=10, segment_len=48, total_steps=5, warmup_steps=1)
    alone = get_dataloader(corpus, config)
    parts_of_two = [get_dataloader(corpus, config, rank=rank, world_size=2) for rank in range(2)]
    for whole, *parts in zip(alone[0], *(loaders[0] for loaders in parts_of_two), strict=True):
        for name in ("mels", "lengths", "labels"):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    whole, *parts = [
        torch.cat([batch.mels for batch in loaders[1]]) for loaders in (alone, *parts_of_two)
    ]  # (utterances, 48, 40)
    assert len(parts[0]) == len(parts[1]) + 1 and len(whole) == len(split_utterances(corpus.labelled, config)[1])
    assert sorted(map(bytes_of, torch.cat(parts))) == sorted(map(bytes_of, whole))


def bytes_of(mel: torch.Tensor) -> bytes:
    return mel.numpy().tobytes()
