"""Training, in the steps of the report: `set_seed`, `get_cosine_schedule_with_warmup`, `model_fn`, `valid`, `train`."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from .checkpoint import Run
from .corpus import Corpus
from .data import Batch, get_dataloader
from .diagnosis import chance_warning, check_finite
from .errors import RunError
from .interrupt import stop_on_interrupt
from .model import Classifier
from .progress import progress_bar, say
from .state import Meter, TrainState

BAR_REFRESH = 20  # steps between readings of loss and accuracy: on a GPU each reading waits for the device

Callback = Callable[[dict[str, float]], None]


class StopTraining(Exception):
    """Raise it in a callback to end training there, with everything saved."""


def train(
    run: Run,
    corpus: Corpus,
    device: torch.device | None = None,
    callbacks: Iterable[Callback] = (),
    stop: threading.Event | None = None,
) -> TrainState:
    """Trains a run to its last step, from its first or from where it was left.

    After every validation each callback gets the new line of ``metrics.jsonl``, a dictionary.  Ctrl-C, setting ``stop``, or
    a callback that raises StopTraining ends training with the state saved: call `train` again to go on, bit for bit on a CPU.
    Raises TrainingDiverged if the loss is no longer a number, RunError if the data or the folder are not the run's.
    """
    run.check_same_data(corpus)
    config, device = run.preset.train, device or get_device()
    dtype = get_autocast_dtype(config.precision, device)
    with run.locked(), stop_on_interrupt() as interrupted:
        set_seed(config.seed)
        model = Classifier(run.preset.model).to(device)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        scheduler = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.total_steps)
        # float16 loses small gradients unless the loss is scaled up first; for other types the scaler does nothing.
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        state = TrainState(model, optimizer, scheduler, scaler)
        restore(state, run)

        train_loader, valid_loader, _ = get_dataloader(corpus, config, first_step=state.step)
        batches = iter(train_loader)

        def stopping() -> bool:
            return interrupted() or (stop is not None and stop.is_set())

        try:
            while state.step < config.total_steps:
                for batch in steps_to_validation(batches, state, run, stopping):
                    loss, accuracy = model_fn(batch, model, criterion, device, dtype)
                    state.update(loss)
                    state.meter.add(loss, accuracy, len(batch.labels))
                accuracy, loss = valid(valid_loader, model, criterion, device, dtype)
                rows = record(state, run, accuracy, loss)
                if warning := chance_warning(rows, len(valid_loader.batch_sampler.utterances), run.preset):
                    say(warning)
                for callback in callbacks:
                    callback(rows[-1])
                if state.step == config.total_steps or state.step % config.save_steps == 0:
                    save(state, run)
                if stopping() and state.step < config.total_steps:
                    raise StopTraining
        except StopTraining:
            save(state, run)
            say(
                f"Stopped at step {state.step} of {config.total_steps}; the state is saved in {run.folder}: "
                "go on with --resume, in a notebook by running the cell again."
            )
    return state


def set_seed(seed: int) -> None:
    """Seeds every random generator that a model's weights or dropout could draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # the CPU's and every GPU's


def get_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def get_cosine_schedule_with_warmup(optimizer: torch.optim.Optimizer, warmup_steps: int, total_steps: int) -> LambdaLR:
    """The learning rate rises linearly for ``warmup_steps``, then falls along half a cosine to zero at ``total_steps``.

    Warmup: Vaswani et al. (2017), section 5.3. Cosine: Loshchilov & Hutter (2017), equation 5.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def get_autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in: as asked, or bfloat16, float16 or float32, whichever suits the device."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def model_fn(
    batch: Batch, model: nn.Module, criterion: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs a batch through the model: its loss and its share of right answers, scalars on the device."""
    mels, lengths, labels = batch
    # Most batches hold no padding, and attention is faster without a mask. Here the lengths are still on the CPU.
    lengths = None if bool((lengths == mels.shape[1]).all()) else lengths.to(device)
    labels = labels.to(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(mels.to(device), lengths)  # (batch, n_speakers)
    loss = criterion(logits.float(), labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return loss, accuracy


@torch.no_grad()
def valid(
    loader: DataLoader, model: nn.Module, criterion: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Accuracy and loss over every utterance that the loader yields. Leaves the model in training mode."""
    model.eval()
    meter = Meter()
    with progress_bar(len(loader.batch_sampler.utterances), "Valid", "uttr") as bar:
        for batch in loader:
            loss, accuracy = model_fn(batch, model, criterion, device, dtype)
            meter.add(loss, accuracy, len(batch.labels))
            bar.update(len(batch.labels))
        bar.set_postfix(meter.postfix())
    model.train()
    return meter.accuracy, meter.loss


def restore(state: TrainState, run: Run) -> None:
    """Puts ``state`` where the run was left, and drops the validations after that point: they will come again."""
    saved = run.load_resume()
    if saved is not None:
        try:
            state.load_state_dict(saved)
        except (KeyError, IndexError, AttributeError, ValueError, TypeError, RuntimeError) as error:
            raise RunError(
                f"{run.folder}/resume.pt does not fit the run's settings ({type(error).__name__}): delete it to begin again."
            ) from error
    rows = run.metrics()
    if any(row["step"] > state.step for row in rows):
        run.write_metrics([row for row in rows if row["step"] <= state.step])


def steps_to_validation(batches: Iterator[Batch], state: TrainState, run: Run, stopping: Callable[[], bool]) -> Iterator[Batch]:
    """The batches up to the next validation, with a bar; saves the state on the way every ``save_steps``.

    Raises StopTraining if ``stopping()`` is true after a step, but not after the last one: that validation would never be
    made up for.  Raises TrainingDiverged before a state that is not a number could be saved.
    """
    config = run.preset.train
    end = min(config.total_steps, (state.step // config.valid_steps + 1) * config.valid_steps)
    first = end - (end - 1) % config.valid_steps - 1
    with progress_bar(end - first, "Train", "step", initial=state.step - first) as bar:
        while state.step < end:
            began = time.perf_counter()
            yield next(batches)
            state.seconds += time.perf_counter() - began
            bar.update()
            if state.step == end or state.step % BAR_REFRESH == 0:
                check_finite(state, run.preset)
                bar.set_postfix(state.meter.postfix(step=state.step), refresh=False)
            if state.step < end and stopping():
                raise StopTraining
            if state.step < end and state.step % config.save_steps == 0:
                save(state, run)


def save(state: TrainState, run: Run) -> None:
    """Saves the state to go on from. Raises TrainingDiverged, and keeps the one before, if it is not made of numbers."""
    check_finite(state, run.preset)
    run.save_resume(state.state_dict())


def record(state: TrainState, run: Run, accuracy: float, loss: float) -> list[dict[str, float]]:
    """Writes down a validation, and the weights if they are the best so far; returns all validations of the run."""
    row = {
        "step": state.step,
        "train_accuracy": state.meter.accuracy,
        "train_loss": state.meter.loss,
        "valid_accuracy": accuracy,
        "valid_loss": loss,
        "learning_rate": state.scheduler.get_last_lr()[0],
        "steps_per_second": state.meter.batches / state.seconds,
    }
    state.meter, state.seconds = Meter(), 0.0
    rows = [*run.metrics(), row]
    run.write_metrics(rows)
    if accuracy > state.best_accuracy:
        state.best_accuracy = accuracy
        run.save_weights(state.model)
        say(f"Step {state.step}, best model saved. (accuracy={accuracy:.4f})")
    return rows
