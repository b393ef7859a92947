"""Everything that only a GPU can measure, in one command: at most nine minutes, and what is left the next time.

    python -m benchmarks.gpu                # on a GPU
    python -m benchmarks.gpu --quick        # a few steps of small models on any machine, in build/gpu, to see that all of it runs
    python -m benchmarks.gpu --report       # only writes the table of docs/performance.md

Every result is a line of ``results/gpu/<device>.jsonl``, written when it is there.  Started again, only what is missing is
measured.  Needs PyTorch, numpy, tqdm and safetensors; the last part also what the lessons need.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from speaker_lib.experiments.published import read_rows
from speaker_lib.utils.device import get_device

from ..machine import device_name
from ..tables import markdown, write_between
from .parts import PARTS, Size, Task

RESULTS = Path(__file__).parents[1] / "results" / "gpu"
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MARKS = "<!-- the table of `python -m benchmarks.gpu` begins -->", "<!-- it ends -->"
MINUTES = 9.0


def main() -> int:
    options = parse_args()
    if options.report:
        write_between(PAGE, *MARKS, table([row for path in sorted(RESULTS.glob("*.jsonl")) for row in read_rows(path)]))
        return 0
    device = get_device()
    if device.type != "cuda" and not options.quick:
        print("error: there is no GPU here: use --quick to see that all of it runs.", file=sys.stderr)
        return 2
    out = (Path("build/gpu") if options.quick else RESULTS) / f"{device_name(device)}.jsonl"
    left = measure(list(tasks(options.parts, Size(options.quick), device)), out, options.minutes)
    print(f"{table(read_rows(out))}\n\n{out}: {f'{left} left: run the same command again' if left else 'all is measured'}.")
    return 0


def tasks(parts: list[str], size: Size, device: torch.device) -> Iterator[Task]:
    """What the parts measure, in their order."""
    for part in parts:
        yield from PARTS[part](size, device)


def measure(tasks: list[Task], out: Path, minutes: float) -> int:
    """Adds the lines that are missing in ``out``, as long as there is time for them; returns how many are left."""
    began, left = time.monotonic(), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()
    done = {(row["part"], row["what"]) for row in read_rows(out)}
    for task in (task for task in tasks if (task.part, task.what) not in done):
        if time.monotonic() - began + task.seconds > 60 * minutes:
            left += 1
            continue
        row = {"part": task.part, "what": task.what, **task.measure()}
        row |= {"device": device_name(get_device()), "torch": torch.__version__, "date": datetime.date.today().isoformat()}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{time.monotonic() - began:4.0f} s  {task.part}: {task.what}: {_said(row)}", flush=True)
    return left


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: a line per result."""
    if not rows:
        return "Not measured yet: no GPU was at hand."
    where = sorted({f"{row['device']}, PyTorch {row['torch']}, {row['date']}" for row in rows})
    lines = [[str(row["part"]), str(row["what"]), _said(row)] for row in rows]
    return f"{markdown(['part', 'what', 'result'], lines)}\n\n*{'; '.join(where)}.*"


def _said(row: dict[str, object]) -> str:
    numbers = {key: value for key, value in row.items() if key not in ("part", "what", "device", "torch", "date")}
    return ", ".join(f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in numbers.items())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of small models, on any machine")
    parser.add_argument("--report", action="store_true", help="only the table of docs/performance.md, of the committed results")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="what to measure (all)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what would take longer is left (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
