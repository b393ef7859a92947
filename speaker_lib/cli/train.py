"""``train``: one run, in one or several processes, or a run per seed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.fields import split_settings
from ..config.presets import PRESETS, get_preset
from ..config.schema import Preset
from ..utils.errors import ConfigError, RunError, escape_controls, short_repr
from .options import add_data

if TYPE_CHECKING:
    from ..data.corpus import Corpus
    from ..training.distributed import Team


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--run", metavar="DIR", required=True, help="the folder of the run")
    parser.add_argument("--preset", metavar="NAME", help="the preset to train; may be omitted if a run is resumed")
    parser.add_argument("--steps", type=int, metavar="N", help="train N steps, with warmup and intervals of at most N / 10")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change one setting; may be repeated")
    parser.add_argument("--resume", action="store_true", help="resume the run from its last checkpoint, or begin it")
    parser.add_argument("--backup", metavar="DIR", help="copy every saved file to DIR; --resume restores the run from there")
    parser.add_argument("--seeds", metavar="N,N,…", help="train and evaluate a run per seed in parallel, in DIR/seedN")


def run(options: Namespace) -> int:
    from ..data.corpus import Corpus
    from ..training.backup import backup_of
    from ..training.distributed import joined
    from ..training.run import Run
    from ..utils.device import get_device

    preset = _chosen_preset(options)
    presets = [preset.override({"train.seed": seed}) for seed in _seeds(options)]
    backup = backup_of(options.run, options.backup)
    known = Run.exists(options.run) or (backup is not None and Run.exists(backup))
    if preset is None and not (options.resume and known):
        raise ConfigError(f"--preset is missing: choose one of {', '.join(PRESETS)}.")
    with joined(get_device()) as team:
        corpus = Corpus.open(options.data)
        if presets and team.size > 1:
            raise ConfigError("--seeds starts its own processes: omit torchrun.")
        return _train_seeds(options, presets, corpus) if presets else _train_one(options, preset, corpus, team, backup)


def _chosen_preset(options: Namespace) -> Preset | None:
    """The preset with the changes of --steps and --set; None without --preset."""
    if options.preset is None:
        if options.set or options.steps is not None:
            raise ConfigError("--set and --steps change a preset: name it with --preset.")
        return None
    preset = get_preset(options.preset)
    if options.steps is not None:
        preset = Preset(preset.model, preset.train.with_total_steps(options.steps))
    return preset.override(split_settings(options.set))


def _seeds(options: Namespace) -> list[int]:
    if options.seeds is None:
        return []
    if options.preset is None:
        raise ConfigError("--seeds trains a preset anew for each seed: name it with --preset.")
    if "train.seed" in split_settings(options.set):
        raise ConfigError("--seeds and --set train.seed both choose the seed: omit one of them.")
    try:
        seeds = [int(text) for text in options.seeds.split(",")]
    except ValueError:
        advice = "write whole numbers with commas between them, like 0,1,2"
        raise ConfigError(f"--seeds is {short_repr(options.seeds)}: {advice}.") from None
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds names a seed twice ({short_repr(options.seeds)}): name each once.")
    return seeds


def _train_one(options: Namespace, preset: Preset | None, corpus: Corpus, team: Team, backup: Path | None) -> int:
    from ..data.batches import shared_batch
    from ..data.splits import split_utterances
    from ..training.backup import fetch_backup
    from ..training.loop import train
    from ..training.run import Run, fit_to_data

    if team.first and options.resume:
        fetch_backup(options.run, backup)
    team.wait()
    resumed = options.resume and Run.exists(options.run)
    if resumed:
        run = Run.open(options.run)
        if preset is not None:
            run.check_same(fit_to_data(preset, corpus), run.data.digest)
        preset = run.preset
    n_training = len(split_utterances(corpus.labelled, preset.train)[0])
    shared_batch(preset.train, n_training, team.rank, team.size)  # raises unless the processes can divide a batch equally
    team.wait()  # no process creates the run before all have checked whether it exists
    if team.first and not resumed:
        Run.create(options.run, preset, corpus)
    team.wait()
    run = Run.open(options.run)
    total = run.preset.train.total_steps
    if team.first:
        processes = f", {team.size} processes" * (team.size > 1)
        print(f"Training {run.name} on {corpus.source}, {total:,} steps on {team.device.type}{processes}.")
    state = train(run, corpus, team.device, team=team, backup=backup)
    if state.step < total:
        return 1
    if team.first:
        best = run.preset.train.keep == "best"
        accuracy = state.best_accuracy if best else run.metrics()[-1]["valid_accuracy"]
        after = f"after {state.step:,} steps; the run is in {escape_controls(str(run.folder))}"
        print(f"{'Best' if best else 'Last'} validation accuracy {accuracy:.4f} {after}.")
    return 0


def _train_seeds(options: Namespace, presets: list[Preset], corpus: Corpus) -> int:
    from ..experiments.seeds import Job, train_jobs
    from ..experiments.tables import comparison_table, seeds_summary
    from ..training.backup import backup_of, fetch_backup
    from ..training.run import Run

    backups = backup_of(options.run, options.backup)
    folders = [Path(options.run) / f"seed{preset.train.seed}" for preset in presets]
    jobs = [Job.of(folder, preset, corpus, backup_of(folder, backups)) for folder, preset in zip(folders, presets, strict=True)]
    for job in jobs:
        if options.resume:
            fetch_backup(job.folder, job.backup)
        elif Run.exists(job.folder):
            raise RunError(f"{job.folder} holds a run already: resume it with --resume or name another folder (--run).")
    print(f"Training {len(presets)} seeds on {corpus.source}, {presets[0].train.total_steps:,} steps each.")
    runs = train_jobs(jobs)
    print(comparison_table(runs))
    print(seeds_summary(runs))
    return 0
