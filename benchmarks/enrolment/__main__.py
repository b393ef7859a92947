"""How well people are recognised by a few recordings, without training on them: the table of docs/enrolment.md.

    python -m benchmarks.enrolment --train speech-many --people speech   # two folders of recordings, a folder per speaker
    python -m benchmarks.enrolment --report                              # only the tables, of the committed results

Trains `laptop_best` for 800 steps and three seeds on the first folder's people, some three minutes a seed on 2 cores, and enrols
and recognises those of the second.  What is finished is kept (build/enrolment, results/enrolment): started again, only what is
missing is done.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speaker_lib import Corpus
from speaker_lib.data.recordings import prepare
from speaker_lib.experiments.published import read_rows

from .measure import MODELS, measure
from .report import enrolment_table, threshold_table

ROWS = Path(__file__).parents[1] / "results" / "enrolment" / "rows.jsonl"
SEEDS = 3
CHUNK = 2.0  # seconds, of the recordings to train on


def main() -> None:
    options = parse_args()
    if not options.report:
        work, rows = options.work, options.out
        rows.parent.mkdir(parents=True, exist_ok=True)
        rows.touch()
        corpora = [
            _prepared(options.train, work / "train", CHUNK, options.workers),
            _prepared(options.people, work / "people", None, options.workers),
        ]
        done = {(row["model"], row["seed"]) for row in read_rows(rows)}
        for seed in range(options.seeds):
            for model in MODELS:
                if (model, seed) not in done:
                    found = measure(model, seed, *corpora, work, options.steps)
                    with rows.open("a", encoding="utf-8") as file:
                        file.write("".join(json.dumps(row) + "\n" for row in found))
    rows = read_rows(options.out)
    print(f"{enrolment_table(rows)}\n\n{threshold_table(rows)}")


def _prepared(audio: Path, folder: Path, chunk: float | None, workers: int | None) -> Corpus:
    if not folder.exists():
        prepare(audio, folder, chunk, workers=workers)
    return Corpus.open(folder)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, metavar="AUDIO_DIR", help="recordings of the people to train on")
    parser.add_argument("--people", type=Path, metavar="AUDIO_DIR", help="recordings of ten people or more to enrol, six of each")
    parser.add_argument("--report", action="store_true", help="the tables of the committed results")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (%(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="of training (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes that read recordings (one per core)")
    parser.add_argument("--work", type=Path, default=Path("build/enrolment"), help="for data and runs (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROWS, help="the file of results (%(default)s)")
    options = parser.parse_args()
    if not options.report and None in (options.train, options.people):
        parser.error("name two folders of recordings, --train and --people, or --report")
    return options


if __name__ == "__main__":
    main()
