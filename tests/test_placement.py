"""Where frames are kept while a GPU trains. Its memory is simulated here; that it can hold them, only a GPU shows."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speaker_lib.data.placement import place_frames

GPU = torch.device("cuda")


@pytest.fixture
def frames(tmp_path) -> np.ndarray:
    np.save(tmp_path / "frames.npy", np.ones((1000, 40), np.float16))
    return np.load(tmp_path / "frames.npy", mmap_mode="r")


def test_on_a_cpu_they_stay_mapped_and_nothing_is_said(frames, capsys):
    placed = place_frames(frames, torch.device("cpu"))
    assert placed.data_ptr() == frames.__array_interface__["data"][0] and capsys.readouterr().err == ""


@pytest.mark.parametrize("psutil_installed", [True, False])
@pytest.mark.parametrize(("room", "mapped", "said"), [(1e9, False, "kept in main memory"), (1e5, True, "kept on disk")])
def test_what_does_not_fit_on_the_gpu_is_kept_in_memory_or_on_disk(
    frames, capsys, monkeypatch, room, mapped, said, psutil_installed
):
    """The file cache counts as available, but only psutil tells its size; without it, only free memory counts."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2e9, 4e9))  # too little beside a model
    memory = SimpleNamespace(available=int(room), free=0)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(virtual_memory=lambda: memory) if psutil_installed else None)
    free_pages = 0 if psutil_installed else int(room) // 4096
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": free_pages, "SC_PAGE_SIZE": 4096}.__getitem__)
    placed = place_frames(frames, GPU)
    assert torch.equal(placed, torch.ones(1000, 40, dtype=torch.float16)) and placed.device.type == "cpu"
    assert (placed.data_ptr() == frames.__array_interface__["data"][0]) == mapped
    error = capsys.readouterr().err
    assert said in error and "do not fit beside a model on the GPU (2.0 GB free)" in error


def test_of_several_processes_the_first_one_speaks(frames, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2e9, 4e9))
    monkeypatch.setenv("RANK", "1")
    place_frames(frames, GPU)
    assert capsys.readouterr().err == ""
