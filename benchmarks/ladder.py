"""Measures the ladder of docs/accuracy.md: every rung, three seeds, evaluated on seen and on unseen recordings.

    python -m benchmarks.ladder --data data/simulated --name simulated              # the first 20 speakers, as in lesson 4
    python -m benchmarks.ladder --data data/standin --name standin --profile full --steps 6000 --seeds 1
    python -m benchmarks.ladder --data data/simulated --name simulated-further --further    # what lesson 4 has no time for

Writes ``results/ladder/<name>.json``; docs/accuracy.md shows it.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from speaker_lib import Corpus
from speaker_lib.config.fields import split_settings
from speaker_lib.course.profiles import PROFILES
from speaker_lib.data.writer import write_subset
from speaker_lib.experiments.ladder import LADDER, Ladder, LadderStep, run_ladder
from speaker_lib.experiments.seeds import spread
from speaker_lib.utils.device import get_device

from .machine import device_name, write_rows
from .tables import markdown

RESULTS = Path(__file__).parent / "results" / "ladder"
SPLITS = ("random", "session")
_KEPT = tuple(setting for step in LADDER if step.kept for setting in step.settings)
_MARGIN = next(step.settings for step in LADDER if step.name == "margin")
_LONG = (("train.final_steps", 100), ("train.final_segment_len", 150))
_TRANSFORMER = ("model.encoder", "transformer")
# What else the kit has, tried on the last rung that is kept; steps and frames suit runs of the profile `laptop`.
FURTHER = (
    LadderStep("kept", "all rungs that are kept", "", _KEPT),
    LadderStep("smoothing", "tried: label smoothing of 0.1", "Szegedy et al. 2016", (("train.label_smoothing", 0.1),), False),
    LadderStep("long", "tried: segments of 150 frames in the last 100 steps", "Thienpondt et al. 2021", _LONG, False),
    LadderStep(
        "angle",
        "tried: ArcFace, margin 0.2",
        "Deng et al. 2019",
        (*_MARGIN, ("train.margin_kind", "angle")),
        False,
    ),
    LadderStep(
        "long_margin",
        "tried: AM-softmax, then large-margin fine-tuning (0.4, 150 frames)",
        "Thienpondt et al. 2021",
        (*_MARGIN, *_LONG, ("train.final_margin", 0.4)),
        False,
    ),
    # Where the Conformer's gain comes from: from the outputs of all blocks (MFA), or from its size, in depth or in width.
    LadderStep("last_block", "instead: Conformer without MFA", "Gulati et al. 2020", (("model.encoder", "conformer"),), False),
    LadderStep("mfa", "instead: Transformer with MFA", "Zhang et al. 2022", (("model.encoder", "mfa_transformer"),), False),
    LadderStep("deep", "instead: a Transformer of 6 layers", "", (_TRANSFORMER, ("model.num_layers", 6)), False),
    LadderStep(
        "wide", "instead: a Transformer with dim_feedforward 832", "", (_TRANSFORMER, ("model.dim_feedforward", 832)), False
    ),
)


def main() -> None:
    options = parse_args()
    profile = PROFILES[options.profile]
    start = profile.tuned.override(split_settings(options.set))
    train = replace(profile.ladder.train, valid_fraction=options.valid_fraction)
    train = train.with_total_steps(options.steps) if options.steps else train
    plan = replace(profile.ladder, train=train, seeds=profile.ladder.seeds[: options.seeds])
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Corpus.open(options.data)
        speakers = options.speakers or profile.ladder.speakers or corpus.n_speakers
        if speakers < corpus.n_speakers:
            write_subset(corpus, f"{scratch}/few", speakers)
            corpus = Corpus.open(f"{scratch}/few")
        folder = options.runs or Path(scratch)
        rungs = FURTHER if options.further else LADDER
        ladders = {
            split: run_ladder(start, plan, corpus, folder / split, options.workers, split, rungs) for split in options.splits
        }
    rows = rows_of(ladders, plan.train.total_steps)
    print(table(rows))
    write_rows(options.out / f"{options.name}.json", rows)


def rows_of(ladders: dict[str, Ladder], steps: int) -> list[dict[str, object]]:
    """A row per rung, with mean and standard deviation over the seeds; its speed is that of the last split."""
    *_, timed = ladders.values()
    rows = []
    for step, results in timed.results.items():
        row = {"rung": step.label, "source": step.source, "parameters": results.cost.parameters}
        row["step_per_s"] = round(steps / results.seconds.mean(), 2)
        for split, ladder in ladders.items():
            for protocol in ("crop", "full"):
                values = getattr(ladder.results[step], protocol)
                row[f"{split}_{protocol}"] = [round(float(values.mean()), 4), round(spread(values), 4)]
                row[f"{split}_{protocol}_by_seed"] = [round(float(value), 4) for value in values]
        row |= {"seeds": len(results.full), "steps": steps, "data": timed.source, "device": device_name(get_device())}
        rows.append(row | {"date": datetime.date.today().isoformat()})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: each rung, its cost, its accuracy by each protocol, and its paired difference to the first row.

    Runs of one seed see the same segments in the same order, so their difference has a smaller SD than their accuracies.
    """
    names = {"random_crop": "crop", "random_full": "full", "session_crop": "crop, unseen", "session_full": "full, unseen"}
    shown = [key for key in names if key in rows[0]]
    lines = [
        [
            str(row["rung"]),
            f"{row['parameters']:,}",
            f"{row['step_per_s']:.1f}" if row["step_per_s"] else "",
            *(f"{row[k][0]:.3f}{_spread_of(row, row[k][1])}" for k in shown),
        ]
        for row in rows
    ]
    heads = ["rung", "parameters", "step/s", *(names[key] for key in shown)]
    last = f"{shown[-1]}_by_seed"
    if last in rows[0]:  # older results keep mean and deviation only
        heads.append(f"{names[shown[-1]]}, over the first row")
        for line, row in zip(lines, rows, strict=True):
            gain = np.subtract(row[last], rows[0][last])  # (seeds,)
            line.append(f"{gain.mean():+.3f}{_spread_of(row, spread(gain))}" if row is not rows[0] else "")
    return markdown(heads, lines)


def _spread_of(row: dict[str, object], deviation: float) -> str:
    return f" ± {deviation:.3f}" if row["seeds"] > 1 else ""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder in the layout of HW4")
    parser.add_argument("--name", required=True, help="of the file of results")
    parser.add_argument("--speakers", type=int, help="the first so many (the profile's)")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="what is held out (%(default)s)")
    parser.add_argument("--valid-fraction", type=float, default=0.1, help="of what is held out (%(default)s)")
    parser.add_argument("--profile", choices=list(PROFILES), default="laptop", help="whose plan is run (%(default)s)")
    parser.add_argument("--steps", type=int, help="of each run (the profile's)")
    parser.add_argument("--seeds", type=int, help="runs of each rung (the profile's)")
    parser.add_argument("--further", action="store_true", help="other rungs, on top of those that are kept")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="begin with another model")
    parser.add_argument("--workers", type=int, help="runs side by side (one per core, two on a GPU)")
    parser.add_argument("--runs", type=Path, help="where runs are kept, to be resumed (a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are written (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
