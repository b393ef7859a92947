"""HW4 in one command: the report's two numbers, its four changes, and the presets above them.

    python -m benchmarks.hw4 --data data/Dataset             # on a GPU; docs/hw4.md says how long
    python -m benchmarks.hw4 --data data/Dataset --quick     # a thousandth of the steps, to see that all of it runs
    python -m benchmarks.hw4 --report                        # only writes the table of docs/hw4.md

Every finished model is a line of ``results/hw4/rows.jsonl``, and the table of docs/hw4.md is written anew after each.  Started
again, an interrupted run is resumed, and only what is missing is trained.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from pathlib import Path

from speaker_lib import PRESETS, Corpus, Preset, Run
from speaker_lib.experiments.ablation import planned_variants
from speaker_lib.experiments.classical import classical_baselines
from speaker_lib.experiments.published import read_rows
from speaker_lib.experiments.seeds import Job, train_jobs
from speaker_lib.models.cost import parameters_of
from speaker_lib.utils.device import get_device

from .machine import device_name
from .tables import markdown, write_between

RESULTS = Path(__file__).parent / "results" / "hw4" / "rows.jsonl"
PAGE = Path(__file__).parents[1] / "docs" / "hw4.md"
BEGIN, END = "<!-- the table of `python -m benchmarks.hw4` begins -->", "<!-- it ends -->"
PARTS = {
    "report": ("baseline", "seed_tuned_as_run"),
    "further": ("baseline_relu", "tuned", "conformer", "strong", "best"),
    "ablation": (),  # the report's four changes between `baseline` and `tuned`, alone and added in both orders
}
PUBLISHED = {  # crop and full on the same split; docs/accuracy.md says by whom
    "baseline": ("0.4834", ""),
    "seed_tuned_as_run": ("0.7599", ""),
    "baseline_relu": ("0.6859", "0.857"),
    "conformer": ("0.865", "0.953"),
}


def main() -> None:
    options = parse_args()
    if not options.report:
        quick = Path("build/hw4")  # with its own runs, because a full run does not resume a quick one
        out, runs, fraction = (quick / "rows.jsonl", quick / "runs", 0.001) if options.quick else (RESULTS, options.runs, 1.0)
        for rows in measure(Corpus.open(options.data), runs, out, options.parts, fraction):
            if not options.quick:
                write_between(PAGE, BEGIN, END, table(rows))
        if options.quick:
            print(table(read_rows(out)))
            return
    write_between(PAGE, BEGIN, END, table(read_rows(RESULTS) if RESULTS.exists() else []))


def measure(corpus: Corpus, runs: Path, out: Path, parts: list[str], fraction: float) -> Iterator[list[dict[str, object]]]:
    """Adds the rows that are missing in ``out``, one after the other as they are done; yields all rows after each model."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()
    done = {row["model"] for row in read_rows(out)}
    if "report" in parts and not any(name.startswith("LDA") for name in done):
        for found in classical_baselines(corpus, PRESETS["baseline"].train):
            _add(out, {"model": found.name, "crop": found.crop, "full": found.full, "seconds": found.cpu_seconds}, corpus)
        yield read_rows(out)
    for name, preset in presets(corpus, parts):
        if name not in done:
            train = preset.train.with_total_steps(max(2, round(preset.train.total_steps * fraction)))
            (run,) = train_jobs([Job.of(runs / name, Preset(preset.model, train), corpus)], name, workers=1)
            _add(out, row_of(name, run), corpus)
            yield read_rows(out)


def presets(corpus: Corpus, parts: list[str]) -> Iterator[tuple[str, Preset]]:
    """What the parts train, by name. The first and the last variant of the ablation are in the other parts."""
    for part in parts:
        for name in PARTS[part]:
            yield name, PRESETS[name]
    if "ablation" in parts:
        for variant in planned_variants(PRESETS["baseline"], PRESETS["tuned"], corpus):
            preset = variant.preset(PRESETS["baseline"])
            if preset not in (PRESETS["baseline"], PRESETS["baseline_relu"], PRESETS["tuned"]):
                yield variant.name, preset


def row_of(name: str, run: Run) -> dict[str, object]:
    found, seconds = run.evaluation(), run.training_seconds()
    steps = run.preset.train.total_steps
    reached = {kind: found[kind]["accuracy"] for kind in ("crop", "full")}
    row = {"model": name, "parameters": parameters_of(run.preset.model), "steps": steps}
    return row | {"step_per_s": steps / seconds, "seconds": seconds} | reached


def _add(out: Path, row: dict[str, object], corpus: Corpus) -> None:
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
    about = {"data": corpus.source, "device": device_name(get_device()), "date": datetime.date.today().isoformat()}
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded | about) + "\n")


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: a line per model, with what others published on the same split; a sentence where nothing is measured yet."""
    if not rows:
        return "Not measured yet: the data set was not at hand."
    lines = []
    for row in rows:
        name, speed = str(row["model"]), f"{row['step_per_s']:.0f}" if "step_per_s" in row else ""
        minutes, reached = f"{row['seconds'] / 60:.1f}", [f"{row[kind]:.4f}" for kind in ("crop", "full")]
        lines.append([name if name.startswith("LDA") else f"`{name}`", speed, minutes, *reached, *PUBLISHED.get(name, ("", ""))])
    heads = ["model", "step/s", "minutes", "crop", "full", "crop, published", "full, published"]
    where = sorted({f"{row['device']}, {row['date']}" for row in rows})
    return f"{markdown(heads, lines)}\n\n*{'; '.join({row['data'] for row in rows})}; one seed; {'; '.join(where)}.*"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="the folder of HW4")
    what.add_argument("--report", action="store_true", help="only the table of docs/hw4.md, of the committed results")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to measure (all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/hw4"), help="where the runs are kept (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a thousandth of the steps, all of it in build/hw4")
    return parser.parse_args()


if __name__ == "__main__":
    main()
