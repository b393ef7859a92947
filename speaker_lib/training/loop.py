"""Training, in the steps of the report: `set_seed`, `get_cosine_schedule_with_warmup`, `model_fn`, `valid`, `train`."""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from ..config.schema import Preset
from ..data.batches import Batch, get_dataloader
from ..data.corpus import Corpus
from ..models.classifier import Classifier
from ..utils.device import get_autocast_dtype, get_device
from ..utils.progress import log, progress_bar
from ..utils.signals import stop_on_interrupt
from .augment import Augmentation
from .diagnostics import chance_warning, check_finite
from .distributed import ALONE, Team
from .logbook import Logbook
from .losses import TrainingLoss
from .run import Run
from .state import Meter, TrainState
from .step import TrainStep, choose_capture, outcome_of

REFRESH_SECONDS = 0.5  # between readings of loss and accuracy: each waits for the device

Callback = Callable[[dict[str, float]], None]


class StopTraining(Exception):
    """Raise it in a callback to end training there, with everything saved."""


def train(
    run: Run,
    corpus: Corpus,
    device: torch.device | None = None,
    callbacks: Iterable[Callback] = (),
    stop: threading.Event | None = None,
    team: Team = ALONE,
    backup: str | os.PathLike[str] | None = None,
) -> TrainState:
    """Trains a run to its last step, from its first or from where it was left.

    After every validation each callback gets the new line of ``metrics.jsonl``, a dictionary.  Ctrl-C, setting ``stop``, or
    a callback that raises StopTraining ends training with the state saved: call `train` again to go on, bit for bit on a CPU.
    ``backup`` is a folder on another disk that gets a copy of all that is saved.
    In a team of processes only the first one writes, and Ctrl-C is the way to stop.
    Raises TrainingDiverged if the loss is no longer a number, RunError if the data or the folders are not the run's, and
    WriteError if the disk does not take what was still to be saved at the end.
    """
    run.check_same_data(corpus)
    config, device = run.preset.train, device or get_device()
    dtype = get_autocast_dtype(config.precision, device)
    with run.locked() if team.first else nullcontext(), stop_on_interrupt(team.size) as interrupted:
        state, logbook = begin(run.preset, device, dtype), Logbook(run, team, backup)
        logbook.restore(state)
        criterion = nn.CrossEntropyLoss()

        train_loader, valid_loader, _ = get_dataloader(corpus, config, state.step, device, team)
        run.preset.check_share(train_loader.batch_sampler.share)
        batches, step = iter(train_loader), train_step(run.preset, state, device, dtype, team)

        def stopping() -> bool:
            return team.any_now_and_then(interrupted() or (stop is not None and stop.is_set()), state.step)

        try:
            while state.step < config.total_steps:
                for batch in steps_to_validation(batches, state, logbook, stopping):
                    outcome = step(batch)
                    state.advance(outcome, len(batch.labels))
                team.agree(state.judged)
                accuracy, loss = valid(valid_loader, state.judged, criterion, device, dtype, team)
                row = logbook.record(state, accuracy, loss)
                n_validated = len(valid_loader.batch_sampler.utterances) * team.size
                if team.first and (warning := chance_warning(logbook.rows, n_validated, run.preset)):
                    log(warning)
                for callback in callbacks:
                    callback(row)
                if state.step == config.total_steps or logbook.due(state.step):
                    logbook.save(state)
                if stopping() and state.step < config.total_steps:
                    raise StopTraining
        except StopTraining:
            logbook.save(state)
        logbook.finish()
    if state.step < config.total_steps:
        log(
            f"Stopped at step {state.step} of {config.total_steps}; the state is saved in {run.folder}: "
            "go on with --resume, in a notebook by running the cell again."
        )
    return state


def begin(preset: Preset, device: torch.device, dtype: torch.dtype) -> TrainState:
    """A model with the weights that the seed gives it, and what trains it, at step 0."""
    config = preset.train
    set_seed(config.seed)
    model = Classifier(preset.model).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    scheduler = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.total_steps)
    # float16 loses small gradients unless the loss is scaled up first; for other types the scaler does nothing.
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    return TrainState(model, optimizer, scheduler, scaler, config)


def train_step(preset: Preset, state: TrainState, device: torch.device, dtype: torch.dtype, team: Team = ALONE) -> TrainStep:
    """What trains the state's model on one batch, as fast as the device can."""
    config = preset.train
    model, augment, criterion = team.wrap(state.model), Augmentation(config), TrainingLoss(preset).to(device)

    def loss_and_accuracy(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        batch = augment(batch, config.segment_len_at(state.step))
        return model_fn(batch, model, criterion, device, dtype)

    return TrainStep(state, loss_and_accuracy, device, choose_capture(device, config.graph, team.size), criterion.at)


def set_seed(seed: int) -> None:
    """Seeds every random generator that a model's weights or dropout could draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # the CPU's and every GPU's


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


def model_fn(
    batch: Batch, model: nn.Module, criterion: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs a batch through the model: its loss and its share of right answers, scalars on the device."""
    mels, lengths, labels = batch
    # Most batches hold no padding, and attention is faster without a mask. Only lengths on the CPU can be looked at for free.
    if lengths is not None and lengths.device.type == "cpu":
        lengths = lengths.to(device, non_blocking=True) if batch.padded else None
    mels, labels = mels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(mels, lengths)  # (batch, n_speakers)
    loss = criterion(logits.float(), labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return loss, accuracy


@torch.no_grad()
def valid(
    loader: DataLoader,
    model: nn.Module,
    criterion: nn.Module,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    team: Team = ALONE,
) -> tuple[float, float]:
    """Accuracy and loss over every utterance that the team's loaders yield. Leaves the model in training mode."""
    model.eval()
    meter = Meter()
    with progress_bar(len(loader.batch_sampler.utterances), "Valid", "uttr", disable=not team.first) as bar:
        for batch in loader:
            meter.add(outcome_of(*model_fn(batch, model, criterion, device, dtype)), len(batch.labels))
            bar.update(len(batch.labels))
        meter = meter.shared(team)
        bar.set_postfix(meter.postfix())
    model.train()
    return meter.accuracy, meter.loss


def steps_to_validation(
    batches: Iterator[Batch], state: TrainState, logbook: Logbook, stopping: Callable[[], bool]
) -> Iterator[Batch]:
    """The batches up to the next validation, with a bar; saves the state on the way when that is due.

    Raises StopTraining if ``stopping()`` is true after a step, but not after the last one: that validation would never be
    made up for.  Raises TrainingDiverged before a state that is not a number could be saved.
    """
    preset, first_process = logbook.run.preset, logbook.team.first
    config = preset.train
    end = min(config.total_steps, (state.step // config.valid_steps + 1) * config.valid_steps)
    first = end - (end - 1) % config.valid_steps - 1
    read_at = time.perf_counter() + REFRESH_SECONDS
    with progress_bar(end - first, "Train", "step", initial=state.step - first, disable=not first_process) as bar:
        while state.step < end:
            began = time.perf_counter()
            yield next(batches)
            bar.update()
            if first_process and (state.step == end or began > read_at):
                check_finite(state, preset)
                bar.set_postfix(state.meter.postfix(step=state.step), refresh=False)
                read_at = time.perf_counter() + REFRESH_SECONDS
            state.seconds += time.perf_counter() - began
            if state.step < end and stopping():
                raise StopTraining
            if state.step < end and logbook.due(state.step):
                logbook.save(state)
