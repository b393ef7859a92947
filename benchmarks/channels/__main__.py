"""Recognition across channels: people enrolled clean, recognised through noise, telephone, room, tilt, babble and codec.

    python -m benchmarks.channels --train recordings/many --enrol recordings/few    # 3 seeds: some 40 minutes of one core
    python -m benchmarks.channels --train … --enrol … --quick      # one seed, a tenth of the steps, results in build/channels
    python -m benchmarks.channels --report                         # only the table, of the committed results

Both folders hold ``<speaker>/*.flac`` as LibriSpeech has them, of different people.  Every finished model is a line of
``results/channels/rows.jsonl``.  Started again, only what is missing there is trained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from speaker_lib import Corpus
from speaker_lib.data.recordings import prepare
from speaker_lib.experiments.published import read_rows

from .conditions import write_test_set
from .report import channel_table
from .tasks import KEY, run_task, tasks_of

RESULTS = Path(__file__).parents[1] / "results" / "channels" / "rows.jsonl"
CHUNK, COPIES, SEEDS = 2.0, 4, (0, 1, 2)


def main() -> None:
    options = parse_args()
    if options.report:
        print(channel_table(read_rows(RESULTS)))
        return
    out = Path("build/channels/rows.jsonl") if options.quick else RESULTS
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()
    seeds, fraction = (SEEDS[:1], 0.1) if options.quick else (SEEDS, 1.0)
    measure(options.train, options.enrol, out, seeds, fraction)
    print(channel_table(read_rows(out)))


def measure(training: Path, enrolled: Path, out: Path, seeds: tuple[int, ...], fraction: float) -> None:
    """Adds the rows that are missing in ``out``, one after the other as they are done."""
    done = {tuple(row[name] for name in KEY) for row in read_rows(out)}
    every = sorted((task for seed in seeds for task in tasks_of(seed)), key=lambda task: task.seconds)  # stable: by seed
    waiting = [task for task in every if task.key not in done]
    with tempfile.TemporaryDirectory() as scratch:
        clean, augmented, test = (Path(scratch) / name for name in ("clean", "augmented", "test"))
        prepare(training, clean, CHUNK, workers=1)
        prepare(training, augmented, CHUNK, workers=1, augment=COPIES)
        write_test_set(enrolled, training, test)
        corpora = [Corpus.open(folder) for folder in (clean, augmented, test)]
        for task in waiting:
            row = run_task(task, *corpora, fraction)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, help="a folder of people to train on")
    parser.add_argument("--enrol", type=Path, help="a folder of other people, of each more than three recordings of 6 s")
    parser.add_argument("--quick", action="store_true", help="one seed and a tenth of the steps, to see that all of it runs")
    parser.add_argument("--report", action="store_true", help="the table of the committed results")
    options = parser.parse_args()
    if not options.report and not (options.train and options.enrol):
        parser.error("name both --train and --enrol, or --report")
    return options


if __name__ == "__main__":
    main()
