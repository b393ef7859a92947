"""The training loop: `train` and `valid`, as the assignment names them.

In: a `Run`, new or half trained, and its `Corpus`.  Out: the files of the run: a line per validation, the weights, and the
state to resume from.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.batches import Batch, ValidBatches, get_dataloader
from ..data.corpus import Corpus
from ..data.statistics import band_statistics
from ..utils.device import get_autocast_dtype, get_device
from ..utils.language import translate
from ..utils.progress import in_notebook, log, progress_bar
from ..utils.signals import stop_on_interrupt
from .checkpoints import Checkpoints
from .cuda_graph import choose_capture
from .diagnostics import chance_warning, check_finite, split_warnings
from .distributed import ALONE, Team
from .run import Run, check_several_speakers
from .state import Meter, TrainState
from .step import TrainStep, model_fn

REFRESH_SECONDS = 0.5  # between updates of loss and accuracy in the bar, because each one waits for the device

Callback = Callable[[dict[str, float]], None]


class StopTraining(Exception):
    """Raise it in a callback to save the state and end training."""


def train(
    run: Run,
    corpus: Corpus,
    device: torch.device | None = None,
    callbacks: Iterable[Callback] = (),
    stop: threading.Event | None = None,
    team: Team = ALONE,
    backup: str | os.PathLike[str] | None = None,
    diagnose: bool | None = None,
) -> TrainState:
    """Trains a run to its last step, from its first step or from its last checkpoint.

    After every validation each callback gets the new line of ``metrics.jsonl``, a dictionary.  Ctrl-C, setting ``stop``, or
    a callback that raises StopTraining saves the state and ends training: call `train` again to resume, bit for bit on a CPU.
    At the end each callback that has a ``close`` is closed.  A finished run is not trained again.  ``diagnose`` says in a
    sentence if the model only guesses, and why; by default not in a notebook: the curves show it, and the reader asks why.
    ``backup`` is a folder on another disk that gets a copy of every file.  Several processes stop only by Ctrl-C.
    Raises TrainingDiverged if the loss is NaN, RunError if the data or the folders are not the run's, CorpusError for data of
    one speaker, and WriteError if the last files cannot be written.
    """
    run.check_same_data(corpus)
    check_several_speakers(corpus)
    config, device = run.preset.train, device or get_device()
    diagnose = not in_notebook() if diagnose is None else diagnose
    dtype = get_autocast_dtype(config.precision, device)
    with run.locked() if team.first else nullcontext() as lock, stop_on_interrupt(team.size) as interrupted:
        state = TrainState(run.preset, device, dtype)
        checkpoints = Checkpoints(run, team, backup, lock)
        checkpoints.restore(state)
        train_batches, valid_batches, _ = get_dataloader(corpus, config, state.step, device, team.rank, team.size)
        if run.preset.model.input_norm == "global" and state.step == 0:
            state.normalise_input(*band_statistics(corpus.labelled, train_batches.utterances))
        step = TrainStep(run.preset, state, team.wrap(state.model), choose_capture(device, config.graph, team.size))
        batches, criterion = iter(train_batches), nn.CrossEntropyLoss()
        parts = train_batches.utterances, valid_batches.utterances
        for warning in split_warnings(corpus, *parts, config.split) if team.first and state.step == 0 else ():
            log(warning)
        if state.step >= config.total_steps:
            done = "{folder} holds all {steps:,} steps of this run, so nothing is trained: rename or delete it to train anew."
            log(translate(done, folder=run.folder, steps=config.total_steps), routine=True)

        def stopping() -> bool:
            return team.any_at(state.step, interrupted() or (stop is not None and stop.is_set()))

        # One bar to the last step; without smoothing its time to the end includes the validations.
        bar = progress_bar(config.total_steps, "Train", "step", initial=state.step, smoothing=0, disable=not team.first)
        try:
            while state.step < config.total_steps:
                for batch in steps_to_validation(batches, state, checkpoints, stopping, bar):
                    step(batch)
                team.broadcast_buffers(state.eval_model)
                accuracy, loss = valid(valid_batches, state.eval_model, criterion, device, dtype, team)
                row = checkpoints.record(state, accuracy, loss)
                n_validated = valid_batches.n_utterances * team.size
                if team.first and diagnose and (warning := chance_warning(checkpoints.rows, n_validated, run.preset)):
                    log(warning)
                for callback in callbacks:
                    callback(row)
                if state.step == config.total_steps or checkpoints.due(state.step):
                    checkpoints.save(state)
                if stopping() and state.step < config.total_steps:
                    raise StopTraining
        except StopTraining:
            checkpoints.save(state)
        finally:
            bar.close()
            for callback in callbacks:
                getattr(callback, "close", lambda: None)()
        checkpoints.finish()
    if state.step < config.total_steps:
        further = "run this cell again to go on" if in_notebook() else "resume with --resume"
        log(f"Stopped at step {state.step:,} of {config.total_steps:,}; the state is saved in {run.folder}: {further}.")
    return state


@torch.no_grad()
def valid(
    loader: ValidBatches | DataLoader,
    model: nn.Module,
    criterion: nn.Module,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    team: Team = ALONE,
) -> tuple[float, float]:
    """Accuracy and mean loss (nats) over all utterances of the loader; in a team, over the loaders of all processes.

    ``loader`` comes from `get_dataloader`, or is an ordinary DataLoader.  Leaves the model in training mode.
    """
    model.eval()
    meter = Meter()
    count = getattr(loader, "n_utterances", None) or len(loader.dataset)
    with progress_bar(count, "Valid", "uttr", nested=True, disable=not team.first, leave=False) as bar:
        for batch in loader:
            loss, accuracy = model_fn(batch, model, criterion, device, dtype)
            meter.add(torch.stack([loss, accuracy]), len(batch[0]))
            bar.update(len(batch[0]))
        meter = team.sum_meter(meter)
        bar.set_postfix(meter.postfix())
    model.train()
    return meter.accuracy, meter.loss


def steps_to_validation(
    batches: Iterator[Batch], state: TrainState, checkpoints: Checkpoints, stopping: Callable[[], bool], bar: tqdm
) -> Iterator[Batch]:
    """The batches up to the next validation, each a step of the ``bar``; saves a checkpoint when one is due.

    Raises StopTraining if ``stopping()`` is true after a step (not the last one: the validation comes first), and
    TrainingDiverged before a state with NaN is saved.
    """
    preset, writes = checkpoints.run.preset, checkpoints.team.first
    first = state.step // preset.train.valid_steps * preset.train.valid_steps
    end = min(preset.train.total_steps, first + preset.train.valid_steps)
    read_at = time.perf_counter() + REFRESH_SECONDS
    while state.step < end:
        began = time.perf_counter()
        yield next(batches)
        bar.update()
        if writes and (state.step == end or began > read_at):
            check_finite(state.meter.loss, state, preset)
            bar.set_postfix(state.meter.postfix(step=state.step), refresh=False)
            read_at = time.perf_counter() + REFRESH_SECONDS
        state.seconds += time.perf_counter() - began
        if state.step < end and stopping():
            raise StopTraining
        if state.step < end and checkpoints.due(state.step):
            checkpoints.save(state)
