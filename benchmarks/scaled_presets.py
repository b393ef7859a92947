"""Whether `laptop_best`, the scaled-down version of `best`, is ahead of `laptop_tuned` in the same time, over three seeds.

    python -m benchmarks.scaled_presets --data data/simulated --name simulated --steps 250
    python -m benchmarks.scaled_presets --data data/standin --name standin --presets tuned best --steps 20000    # on a GPU

Both train side by side, one core each, so load on the machine affects both alike; each takes the same fraction of its own
recipe's steps.  Evaluation is on unseen sessions, unless ``--split random``.  Writes ``results/scaled_presets/<name>.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from pathlib import Path

from speaker_lib import PRESETS, Corpus, Preset, Run
from speaker_lib.experiments.seeds import Job, results_of, spread, train_jobs
from speaker_lib.utils.device import get_device

from .machine import device_name, write_rows
from .tables import markdown

RESULTS = Path(__file__).parent / "results" / "scaled_presets"


def main() -> None:
    options = parse_args()
    corpus = Corpus.open(options.data)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.runs or Path(scratch)
        jobs = [
            Job.of(folder / name / f"seed{seed}", of_seed(name, seed, options), corpus)
            for seed in range(options.seeds)
            for name in options.presets
        ]
        train_jobs(jobs, workers=2)
        rows = []
        for name in options.presets:
            runs = [Run.open(job.folder) for job in jobs if job.folder.parent.name == name]
            results = results_of(runs, corpus)
            row = {"preset": name, "steps": results.steps, "parameters": results.cost.parameters}
            values = {"crop": results.crop, "full": results.full, "seconds": results.seconds}
            row |= {key: [round(float(v.mean()), 4), round(spread(v), 4)] for key, v in values.items()}
            row |= {"seeds": options.seeds, "held_out": runs[0].evaluation()["n_utterances"], "data": corpus.source}
            rows.append(row | {"device": device_name(get_device()), "date": datetime.date.today().isoformat()})
            print(json.dumps(rows[-1]))
    write_rows(options.out / f"{options.name}.json", rows)


def of_seed(name: str, seed: int, options: argparse.Namespace) -> Preset:
    """The preset over as much of its own number of steps as `--steps` is of the first preset's."""
    train = PRESETS[name].train
    shorter = train.with_total_steps(round(train.total_steps * options.steps / PRESETS[options.presets[0]].train.total_steps))
    settings = {"train.seed": seed, "train.split": options.split, "train.valid_fraction": options.valid_fraction}
    return Preset(PRESETS[name].model, shorter).override(settings)


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: two presets in the same time, mean and standard deviation over the seeds."""
    lines = []
    for row in rows:
        accuracies = [f"{row[key][0]:.3f} ± {row[key][1]:.3f}" for key in ("crop", "full")]
        seconds = f"{row['seconds'][0]:.0f} ± {row['seconds'][1]:.0f}"
        lines.append([f"`{row['preset']}`", f"{row['steps']:,}", *accuracies, seconds])
    return markdown(["preset", "steps", "crop", "full", "seconds of training"], lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder in the layout of HW4")
    parser.add_argument("--name", required=True, help="of the file of results")
    scaled = ["laptop_tuned", "laptop_best"]
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=scaled, help="what trains (%(default)s)")
    parser.add_argument("--steps", type=int, default=1_000, help="of the first of them (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (%(default)s)")
    parser.add_argument("--split", choices=["random", "session"], default="session", help="what is held out (%(default)s)")
    parser.add_argument("--valid-fraction", type=float, default=0.1, help="of what is held out (%(default)s)")
    parser.add_argument("--runs", type=Path, help="where runs are kept, to be resumed (a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are written (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
