"""Checks on a GPU that a replayed CUDA graph gives the numbers of a step launched kernel by kernel.

    python -m benchmarks.check_cuda

Trains each preset both ways from the same weights on the same batches, in each precision, with and without padding, but without
dropout, whose random numbers differ.  Also checks that a stopped run resumes, and that dropout changes from replay to replay.
The exit code is 1 if something differs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from speaker_lib import PRESETS, Preset, Run, train
from speaker_lib.data.batches import Batch, get_dataloader
from speaker_lib.training.cuda_graph import choose_capture
from speaker_lib.training.loop import StopTraining
from speaker_lib.training.run import fit_to_data
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep

from .hw4_standin.corpus import lengths_like_hw4
from .machine import corpus_in_memory, device_name

STEPS = 60
# After so many steps, relative to the loss; bfloat16 keeps 8 bits, and two ways round differently.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}


def main() -> int:
    if not torch.cuda.is_available():
        print("error: there is no GPU here, and nothing else to check.", file=sys.stderr)
        return 1
    device, failed = torch.device("cuda", 0), []
    corpus = corpus_in_memory(lengths_like_hw4(2_000))
    settings = {"model.dropout": 0.0, "model.attention_dropout": 0.0, "train.warmup_steps": 10, "train.total_steps": STEPS}
    for name in ("baseline", "tuned"):
        preset = fit_to_data(PRESETS[name], corpus).override(settings)
        batches = list(get_dataloader(corpus, preset.train, device=device)[0])
        for dtype, tolerance in TOLERANCE.items():
            for padded in (False, True):
                losses = [trained(preset, with_padding(batches, padded), device, dtype, graph)[1] for graph in ("off", "auto")]
                difference = float(((losses[0] - losses[1]).abs() / losses[0]).max())
                verdict = "ok" if difference <= tolerance else "DIFFERS"
                label = f"{name}, {str(dtype).removeprefix('torch.')}{', padded' * padded}"
                print(f"{label:<32} largest difference of a loss {difference:.1e}   {verdict}")
                failed += [label] * (difference > tolerance)
    failed += [name for name, check in CHECKS.items() if not check(corpus, device)]
    print(f"{device_name(device)}, PyTorch {torch.__version__}: {f'failed: {failed}' if failed else 'all as it should be'}")
    return 1 if failed else 0


def with_padding(batches: list[Batch], padded: bool) -> list[Batch]:
    """If ``padded``, declares the last 30 frames of each batch's first utterance padding."""
    if not padded:
        return batches
    lengths = batches[0].lengths.clone()
    lengths[0] -= 30
    return [batch._replace(lengths=lengths) for batch in batches]


def trained(
    preset: Preset, batches: list[Batch], device: torch.device, dtype: torch.dtype, graph: str
) -> tuple[TrainState, torch.Tensor]:
    """The state after these batches, and the loss of each, (batches,)."""
    preset = preset.override({"train.graph": graph})
    state, capture, losses, captured = TrainState(preset, device, dtype), choose_capture(device, graph), [], []

    def counted(function):
        captured.append(capture(function))
        return captured[-1]

    step = TrainStep(preset, state, capture=counted if capture else None)
    for batch in batches:
        losses.append(step(batch)[0].clone())  # a replay overwrites it
    if graph == "auto" and not captured:
        raise SystemExit("error: the step was not captured; see the line above.")
    return state, torch.stack(losses).cpu()


def dropout_changes(corpus: object, device: torch.device) -> bool:
    """With a learning rate of zero only dropout moves the loss of one and the same batch."""
    preset = fit_to_data(PRESETS["baseline"], corpus).override({"train.learning_rate": 0.0, "train.weight_decay": 0.0})
    batch = next(iter(get_dataloader(corpus, preset.train, device=device)[0]))
    _, losses = trained(preset, [batch] * 20, device, torch.float32, "auto")
    return len(losses[5:].unique()) > 10


def a_saved_run_goes_on(corpus: object, device: torch.device) -> bool:
    """A stopped and resumed run against one that was never stopped, within rounding: a GPU adds in no fixed order."""
    steps = {"train.total_steps": 40, "train.valid_steps": 20, "train.warmup_steps": 5, "train.precision": "float32"}
    preset = PRESETS["baseline"].override(steps | {"model.dropout": 0.0, "model.attention_dropout": 0.0})
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = (Run.create(Path(folder) / name, preset, corpus) for name in ("whole", "parts"))
        train(whole, corpus, device)
        train(parts, corpus, device, callbacks=[_stop])
        train(parts, corpus, device)
        losses = [[row["valid_loss"] for row in run.metrics()] for run in (whole, parts)]
    return len(losses[1]) == 2 and all(abs(a - b) < 1e-3 * a for a, b in zip(*losses, strict=True))


def _stop(row: dict[str, float]) -> None:
    raise StopTraining


CHECKS = {"dropout changes from replay to replay": dropout_changes, "a saved run goes on": a_saved_run_goes_on}


if __name__ == "__main__":
    sys.exit(main())
