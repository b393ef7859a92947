"""Accuracy on recorded people, beside a baseline that needs no network: what docs/accuracy.md opens with.

    python -m benchmarks.people --data data/people             # 120 speakers x 100 utterances, 3 seeds: some 2 hours on 2 cores
    python -m benchmarks.people --data data/people --quick     # one seed, a tenth of the steps, the results in build/people
    python -m benchmarks.people --report                       # only the tables, of the committed results

Every finished run is a line of ``results/people/<part>.jsonl``.  Started again, only what is missing there is trained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from speaker_lib import Corpus
from speaker_lib.data.writer import write_subset
from speaker_lib.experiments.published import PEOPLE, people_results, read_rows
from speaker_lib.utils.parallel import parallel_map

from .report import amount_table, draw, gain_table, ladder_table, time_table, together_table
from .tasks import KEY, PARTS, SEEDS, Task, run_task

OTHERS = ("ablation", "ladder", "together", "equal_time")  # parts that only docs/accuracy.md shows


def main() -> None:
    options = parse_args()
    if options.report:
        time, amount = (people_results(part)[0] for part in ("time", "amount"))
        ablation, ladder, together, equal = (read_rows(PEOPLE / f"{part}.jsonl") for part in OTHERS)
        tables = time_table(time), amount_table(amount), gain_table(ablation, "baseline"), ladder_table(ladder, time)
        print(*tables, together_table(together), time_table(equal), sep="\n\n")
        draw(PEOPLE.parents[2] / "docs" / "figures")
        return
    corpus = Corpus.open(options.data)
    out = Path("build/people") if options.quick else options.out
    out.mkdir(parents=True, exist_ok=True)
    seeds, fraction = (SEEDS[:1], 0.1) if options.quick else (SEEDS[: options.seeds], 1.0)
    # All parts for one seed, then for the next: what is interrupted can be shown.
    tasks = [task for seed in seeds for part in options.parts for task in PARTS[part](corpus, seed, fraction)]
    measure(tasks, corpus, out, options.workers)


def measure(tasks: list[Task], corpus: Corpus, out: Path, workers: int | None) -> None:
    """Adds the rows that are missing in ``out/<part>.jsonl``, one after the other as they are done."""
    done = set()
    for part in {task.part for task in tasks}:
        (out / f"{part}.jsonl").touch()
        done |= {(part, *(row[name] for name in KEY)) for row in read_rows(out / f"{part}.jsonl")}
    waiting = [task for task in tasks if (task.part, *task.key) not in done]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {amount: Path(scratch) / "{}-{}".format(*amount) for amount in {(t.people, t.utterances) for t in waiting}}
        for (people, utterances), folder in folders.items():
            write_subset(corpus, folder, people, utterances)
            Corpus.open(folder)  # packs it, once for all workers
        jobs = [(task, folders[task.people, task.utterances]) for task in waiting]
        for task, row in zip(waiting, parallel_map(run_task, jobs, "people", "run", workers, ahead=0), strict=True):
            with (out / f"{task.part}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="a folder in the layout of HW4")
    what.add_argument(
        "--report", action="store_true", help="the tables of the committed results, and the figures in docs/figures"
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to measure (all)")
    parser.add_argument("--quick", action="store_true", help="one seed and a tenth of the steps, to see that all of it runs")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many (%(default)s)")
    parser.add_argument("--workers", type=int, help="runs side by side (one per core)")
    parser.add_argument("--out", type=Path, default=PEOPLE, help="where the results are written (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
