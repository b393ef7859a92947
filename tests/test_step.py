"""A training step as a CUDA graph, simulated on a CPU: each replay runs the captured function again.

`python -m benchmarks.check_cuda` tests on a GPU what needs one.
"""

import pytest
import torch

from speaker_lib import ModelConfig, Preset, TrainConfig
from speaker_lib.data.batches import Batch
from speaker_lib.training.cuda_graph import choose_capture
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep

CPU = torch.device("cpu")
PRESET = Preset(
    ModelConfig(d_model=16, nhead=2, dim_feedforward=16, n_speakers=4),
    TrainConfig(warmup_steps=2, total_steps=12, learning_rate=1e-2, clip_norm=0.5),
)


def replayed(function, size=2):
    """As `cuda_graph` does: captures without running, and each replay writes its result to the same place."""
    outcome = torch.zeros(size)
    return lambda: outcome.copy_(function()), outcome


def batches() -> list[Batch]:
    """Every second one has padding, and the last one is smaller."""
    generator, made = torch.Generator().manual_seed(1), []
    for i in range(12):
        size = 3 if i == 11 else 8
        lengths = torch.full((size,), 20)
        lengths[0] -= 5 * (i % 2)
        mels = torch.randn(size, 20, 40, generator=generator)
        made.append(Batch(mels, lengths, torch.randint(0, 4, (size,), generator=generator)))
    return made


def trained(capture, precision=torch.float32) -> tuple[TrainState, TrainStep]:
    state = TrainState(PRESET, CPU, precision)
    step = TrainStep(PRESET, state, capture=capture)
    for batch in batches():
        step(batch)
    return state, step


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_replayed_steps_give_the_numbers_of_eager_ones(precision):
    """The rate is a float for one and a float32 tensor for the other, and Adam makes much of little gradients."""
    eager, captured = trained(None, precision)[0], trained(replayed, precision)[0]
    for name, weight in eager.model.state_dict().items():
        found = captured.model.state_dict()[name]
        if name.endswith("in_proj_bias"):  # that of the keys changes no attention weight: its gradient is rounding alone
            (found, _, more), (weight, _, further) = found.chunk(3), weight.chunk(3)  # each (d_model,)
            found, weight = torch.cat([found, more]), torch.cat([weight, further])  # (2 * d_model,)
        torch.testing.assert_close(found, weight, atol=1e-5, rtol=1e-5)
    assert captured.meter.loss == pytest.approx(eager.meter.loss, rel=1e-5) and captured.meter.count == 8 * 11 + 3
    assert captured.meter.accuracy == eager.meter.accuracy
    assert float(captured.scheduler.get_last_lr()[0]) == pytest.approx(eager.scheduler.get_last_lr()[0], abs=1e-9)


def test_a_graph_serves_batches_of_one_kind():
    calls = []

    def counting(function):
        calls.append(function)
        return replayed(function)

    trained(counting)
    assert len(calls) == 2  # with padding and without; the small last batch is still being warmed up


def test_the_graph_reads_the_learning_rate_that_the_schedule_writes():
    """A graph that kept the rate it was captured with would still change the weights when the schedule has reached zero."""
    state, step = trained(replayed)
    assert float(state.optimizer.param_groups[0]["lr"]) == pytest.approx(0.0, abs=1e-9)
    before = {name: weight.clone() for name, weight in state.model.state_dict().items()}
    step(batches()[0])
    assert all(torch.allclose(weight, before[name], atol=1e-7) for name, weight in state.model.state_dict().items())


def test_a_state_saved_from_a_graph_resumes_without_one():
    state, _ = trained(replayed)
    saved = state.state_dict()
    again = TrainState(PRESET, CPU)
    again.load_state_dict(saved)
    group = again.optimizer.param_groups[0]
    assert isinstance(group["lr"], float) and not group["capturable"] and again.step == 12
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), state.model.parameters(), strict=True))


def test_a_device_that_refuses_a_graph_trains_eagerly(capsys):
    def refuses(function):
        raise RuntimeError("operation not permitted when stream is capturing\nand a long story")

    eager, refused = trained(None)[0], trained(refuses)[0]
    for mine, theirs in zip(eager.model.parameters(), refused.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    said = capsys.readouterr().err
    assert said.count("without a CUDA graph") == 1 and "stream is capturing)" in said and "long story" not in said


def test_the_reason_for_eager_steps_is_logged(capsys):
    gpu = torch.device("cuda")
    assert choose_capture(CPU, "auto") is None and capsys.readouterr().err == ""
    assert choose_capture(gpu, "auto") is not None and capsys.readouterr().err == ""
    assert choose_capture(gpu, "off") is None and "train.graph is off" in capsys.readouterr().err
    assert choose_capture(gpu, "auto", world_size=2) is None and "2 processes" in capsys.readouterr().err
