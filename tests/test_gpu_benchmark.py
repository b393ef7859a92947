"""What `python -m benchmarks.gpu` measures: every candidate computes what the shipped step computes, and the command resumes."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.parts import Size
from benchmarks.gpu.seeds import StackedSteps, stack
from benchmarks.gpu.steps import CANDIDATES
from speaker_lib import PRESETS, ModelConfig, Preset, TrainConfig
from speaker_lib.data.batches import Batch
from speaker_lib.experiments.published import read_rows
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep

from .test_step import replayed

CPU = torch.device("cpu")
TRAIN = TrainConfig(warmup_steps=2, total_steps=12, learning_rate=1e-3, clip_norm=0.5)
PLAIN = Preset(ModelConfig(d_model=16, nhead=2, dim_feedforward=16, n_speakers=4), TRAIN)
RICH = Preset(
    replace(PRESETS["laptop_best"].model, d_model=16, nhead=2, dim_feedforward=16, n_speakers=4), replace(TRAIN, ema=0.9)
)


def batches(seed: int = 1) -> list[Batch]:
    generator, lengths = torch.Generator().manual_seed(seed), torch.full((8,), 20)
    made = []
    for _ in range(12):
        mels, labels = (torch.randn(8, 20, 40, generator=generator), torch.randint(0, 4, (8,), generator=generator))
        made.append(Batch(mels, lengths, labels))
    return made


def losses(make, preset: Preset, dtype: torch.dtype, capture=None) -> tuple[TrainState, torch.Tensor]:
    """The state after twelve steps, and the loss of each, (steps,)."""
    state = TrainState(preset, CPU, dtype)
    step = make(preset, state, capture)
    return state, torch.stack([step(batch)[0].clone() for batch in batches()])


@pytest.mark.parametrize("preset", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("capture", [None, replayed], ids=["eager", "replayed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "autocast"])
def test_flat_weights_give_the_shipped_steps_numbers(preset, capture, dtype):
    """With the same dropout masks. Losses are compared: some weights, as the bias of the keys, follow rounding alone."""
    _, expected = losses(CANDIDATES["as shipped"], preset, dtype, capture)
    _, found = losses(CANDIDATES["flat weights"], preset, dtype, capture)
    tolerance = (
        1e-5 if dtype == torch.float32 else 1e-2
    )  # bfloat16 keeps 8 bits, and another sum of the gradients rounds otherwise
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("preset", [PLAIN, RICH], ids=["plain", "rich"])
def test_a_bfloat16_copy_trains_the_float32_weights(preset):
    preset = preset.override({"model.dropout": 0.0, "model.attention_dropout": 0.0})
    _, expected = losses(CANDIDATES["as shipped"], preset, torch.float32)
    state, found = losses(CANDIDATES["flat weights, bfloat16 copy"], preset, torch.float32)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.03)
    assert all(weight.dtype == torch.float32 for weight in state.model.parameters())
    plain, _ = losses(CANDIDATES["as shipped"], preset, torch.float32)
    names = [name for name, _ in plain.model.named_buffers() if name.endswith("running_mean")]
    for name in names:  # the copy's BatchNorm writes the statistics of the weights that are kept
        assert state.model.state_dict()[name].abs().sum() > 0


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs g++")
def test_compiled_layers_give_the_shipped_steps_numbers():
    preset = PLAIN.override({"model.dropout": 0.0, "model.attention_dropout": 0.0})
    _, expected = losses(CANDIDATES["as shipped"], preset, torch.float32)
    _, found = losses(CANDIDATES["layers compiled"], preset, torch.float32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("default")  # on a CPU the fused attention is mapped slowly
@pytest.mark.parametrize("capture", [None, partial(replayed, size=3)], ids=["eager", "replayed"])
def test_stacked_seeds_train_as_each_would_alone(capture):
    preset = PLAIN.override({"model.dropout": 0.0, "model.attention_dropout": 0.0})
    presets = [preset.override({"train.seed": seed}) for seed in (0, 1, 2)]
    alone = []
    for seed, own in enumerate(presets):
        step = TrainStep(own, TrainState(own, CPU))
        alone.append(torch.stack([step(batch)[0].clone() for batch in batches(seed)[:6]]))
    together = StackedSteps(preset, [TrainState(own, CPU) for own in presets], capture)
    found = [together(*stack(of_each)).clone() for of_each in zip(*(batches(seed)[:6] for seed in (0, 1, 2)), strict=True)]
    torch.testing.assert_close(torch.stack(found, dim=1), torch.stack(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("default")
def test_the_command_measures_what_is_missing_and_leaves_what_takes_too_long(tmp_path):
    """The first task of each part but the lesson, which has tests of its own."""
    out, names = tmp_path / "cpu.jsonl", [name for name in gpu.PARTS if name != "lesson"]
    tasks = list({task.part: task for task in reversed(list(gpu.tasks(names, Size(quick=True), CPU)))}.values())
    assert len(tasks) == 6 and gpu.measure(tasks, out, minutes=0) == 6 and out.read_text() == ""
    assert gpu.measure(tasks[:2], out, minutes=60) == 0
    assert gpu.measure(tasks, out, minutes=60) == 0
    rows = read_rows(out)
    assert [(row["part"], row["what"]) for row in rows] == [(task.part, task.what) for task in tasks]
    assert gpu.measure(tasks, out, minutes=60) == 0 and read_rows(out) == rows
    assert all(value > 0 for row in rows for name, value in row.items() if name.endswith("/s"))
    assert "| steps | baseline, as shipped |" in gpu.table(rows) and gpu.table([]).startswith("Not measured yet")


def test_the_docs_show_what_is_measured_on_a_gpu():
    rows = [row for path in sorted(gpu.RESULTS.glob("*.jsonl")) for row in read_rows(path)]
    begin, end = gpu.MARKS
    assert f"{begin}\n{gpu.table(rows)}\n{end}" in gpu.PAGE.read_text(encoding="utf-8")
