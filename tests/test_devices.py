"""Which device is chosen. Other devices than a CPU are played here; that training runs on them, only they show."""

import os

import pytest
import torch

from speaker_lib import ModelConfig, Preset, Run, TrainConfig, train
from speaker_lib.evaluation.identification import FRAME_BUDGET
from speaker_lib.training.state import TrainState
from speaker_lib.utils.device import get_device, sum_dtype
from speaker_lib.utils.errors import ConfigError

CPU = torch.device("cpu")
PRESET = Preset(
    ModelConfig(d_model=16, nhead=2, dim_feedforward=16),
    TrainConfig(batch_size=8, segment_len=40, warmup_steps=2, total_steps=3, valid_steps=3, save_steps=2),
)


@pytest.fixture(autouse=True)
def outside_torchrun(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in {"RANK", "LOCAL_RANK", "WORLD_SIZE", "SPEAKER_DEVICE"} & os.environ.keys():
        monkeypatch.delenv(name)


@pytest.fixture
def gpu_without_kernels(monkeypatch) -> list[object]:
    """As Kaggle's P100: it is there, and the first operation fails. The list gets what was tried on it."""
    tried, ones = [], torch.ones

    def fail(*size: object, device: object = None, **options: object) -> torch.Tensor:
        if torch.device(device or "cpu").type == "cuda":
            tried.append(device)
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore lines")
        return ones(*size, device=device, **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla P100-PCIE-16GB")
    monkeypatch.setattr(torch, "ones", fail)
    return tried


def test_a_gpu_that_cannot_compute_is_named_once_and_left_alone(gpu_without_kernels, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "101")  # of a number that no other test of this process has tried
    assert [get_device(), get_device()] == [CPU, CPU] and len(gpu_without_kernels) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "Tesla P100-PCIE-16GB" in sentence and "no kernel image" in sentence and "more lines" not in sentence
    assert "trains on the CPU" in sentence and "on Kaggle choose the accelerator T4 x2" in sentence


def test_a_gpu_that_computes_is_taken(monkeypatch):
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *size, device=None: ones(*size))
    monkeypatch.setenv("LOCAL_RANK", "102")
    assert get_device() == torch.device("cuda", 102)


@pytest.fixture
def apple(monkeypatch) -> None:
    """A Mac whose GPU computes."""
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *size, device=None: ones(*size))


def test_apples_gpu_is_taken_only_where_it_is_asked_for(apple, monkeypatch):
    assert get_device() == CPU
    monkeypatch.setenv("SPEAKER_DEVICE", "mps")
    assert get_device().type == "mps" and get_device().type in FRAME_BUDGET
    monkeypatch.setenv("WORLD_SIZE", "2")  # there is one of it, and processes cannot exchange gradients there
    with pytest.raises(ConfigError, match="SPEAKER_DEVICE is mps, which PyTorch cannot use here"):
        get_device()


@pytest.mark.parametrize(("asked", "problem"), [("cuda", "PyTorch cannot use here"), ("tpu", "choose cpu, cuda or mps")])
def test_a_device_that_is_not_there_is_a_sentence(apple, monkeypatch, asked, problem):
    monkeypatch.setenv("SPEAKER_DEVICE", asked)
    with pytest.raises(ConfigError, match=problem):
        get_device()


def test_the_cpu_can_be_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("SPEAKER_DEVICE", "cpu")
    assert get_device() == CPU


def test_a_gpu_without_a_name_is_a_sentence_too(gpu_without_kernels, monkeypatch, capsys):
    def no_name(device=None):
        raise RuntimeError("CUDA driver initialization failed")

    monkeypatch.setattr(torch.cuda, "get_device_name", no_name)
    monkeypatch.setenv("LOCAL_RANK", "103")
    assert get_device() == CPU
    assert "PyTorch cannot use the GPU cuda:103" in capsys.readouterr().err


def test_apples_gpu_has_no_float64():
    assert sum_dtype(torch.device("mps")) == torch.float32
    assert sum_dtype(CPU) == sum_dtype(torch.device("cuda", 0)) == torch.float64


def test_a_run_that_was_saved_there_goes_on_here(corpus, tmp_path):
    """Its sums of loss and accuracy are in the file what they are on every other device."""
    run = Run.create(tmp_path / "run", PRESET, corpus)
    state = train(run, corpus)
    state.meter.sums = torch.tensor([3.0, 1.0], dtype=torch.float32)
    state.meter.count = 4
    saved = state.state_dict()
    assert saved["meter"][0].dtype == torch.float64
    again = TrainState(run.preset, CPU)
    again.load_state_dict(saved)
    assert again.meter.sums.dtype == torch.float64 and again.meter.loss == 0.75
