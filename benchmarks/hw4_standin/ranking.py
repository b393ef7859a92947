"""Tests whether the stand-in ranks models as HW4 does: trains models on it that have published accuracies on HW4.

    python -m benchmarks.hw4_standin.ranking --steps 10000        # minutes on a GPU; the published runs took 70,000 steps

Writes ``results/hw4_standin/ranking-<device>.json`` and prints a table: accuracy here beside accuracy on HW4, each with its rank.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from pathlib import Path

from speaker_lib import Corpus, Preset
from speaker_lib.experiments.seeds import Job, train_jobs
from speaker_lib.utils.device import get_device

from ..machine import device_name, write_rows
from ..tables import markdown
from .corpus import StandIn, write_standin
from .features import Variability
from .search import add_spreads

RESULTS = Path(__file__).parents[1] / "results" / "hw4_standin"
_D160 = {"model.d_model": 160, "model.nhead": 4, "model.dim_feedforward": 512, "model.num_layers": 2}
_D256 = {"model.d_model": 256, "model.nhead": 8, "model.dim_feedforward": 1024, "model.num_layers": 3}
_CONFORMER = _D160 | {"model.encoder": "conformer"}
_POOLED = _CONFORMER | {"model.pooling": "self_attention"}
# Models of a public study, and their accuracies on HW4's own split: on random crops and on whole utterances.
PUBLISHED: dict[str, tuple[dict[str, object], float, float]] = {
    "sample code of 2022": ({}, 0.686, 0.857),
    "2 layers": ({"model.num_layers": 2}, 0.741, 0.897),
    "d160, 4 heads, 2 layers": (_D160, 0.796, 0.918),
    "d256, 3 layers, post-norm": (_D256, 0.554, 0.521),
    "d256, 3 layers, pre-norm": (_D256 | {"model.norm": "pre"}, 0.860, 0.951),
    "d256, 3 layers, post-norm, lr 3e-4": (_D256 | {"train.learning_rate": 3e-4}, 0.864, 0.949),
    "Conformer d160 x 2": (_CONFORMER, 0.830, 0.937),
    "Conformer d160 x 2, self-attention pooling": (_POOLED, 0.865, 0.953),
    "Conformer d160 x 2, pooling, margin 0.2": (_POOLED | {"model.head": "cosine", "train.margin": 0.2}, 0.866, 0.949),
}


def main() -> None:
    options = parse_args()
    names = options.only
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch) / "data"
        write_standin(folder, StandIn(speakers=options.speakers, spreads=Variability(*options.spreads)))
        corpus = Corpus.open(folder)
        presets = [Preset().override({"model.activation": "relu"} | PUBLISHED[name][0]) for name in names]
        presets = [Preset(preset.model, preset.train.with_total_steps(options.steps)) for preset in presets]
        jobs = [Job.of(Path(scratch) / f"run{i}", preset, corpus) for i, preset in enumerate(presets)]
        runs = train_jobs(jobs, workers=options.workers)
        rows = [
            {
                "model": name,
                "crop": run.evaluation()["crop"]["accuracy"],
                "full": run.evaluation()["full"]["accuracy"],
                "hw4_crop": PUBLISHED[name][1],
                "hw4_full": PUBLISHED[name][2],
                "seconds": round(run.training_seconds(), 1),
                "steps": options.steps,
                "data": corpus.source,
                "spreads": list(options.spreads),
                "device": device_name(get_device()),
                "date": datetime.date.today().isoformat(),
            }
            for name, run in zip(names, runs, strict=True)
        ]
    print(table(rows))
    write_rows(options.out / f"ranking-{device_name(get_device())}.json", rows)


def table(rows: list[dict[str, object]]) -> str:
    """The results in Markdown, with ranks by whole utterances in brackets."""
    ours, theirs = (_ranks([row[key] for row in rows]) for key in ("full", "hw4_full"))
    lines = []
    for row, rank, rank_there in zip(rows, ours, theirs, strict=True):
        full, full_there = f"{row['full']:.3f} ({rank})", f"{row['hw4_full']:.3f} ({rank_there})"
        lines.append([str(row["model"]), f"{row['crop']:.3f}", full, f"{row['hw4_crop']:.3f}", full_there])
    return markdown(["model", "crop", "full", "crop on HW4", "full on HW4"], lines)


def _ranks(values: list[float]) -> list[int]:
    return [1 + sum(other > value for other in values) for value in values]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000, help="of each run (%(default)s)")
    every = list(PUBLISHED)
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="MODEL", help=f"some of: {'; '.join(every)}")
    parser.add_argument("--speakers", type=int, default=600, help="fewer for a trial (%(default)s)")
    add_spreads(parser)
    parser.add_argument("--workers", type=int, help="runs side by side (two on a GPU)")
    parser.add_argument("--scratch", help="where temporary files go (the system's folder for them)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are written (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
