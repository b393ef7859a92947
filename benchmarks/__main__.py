"""Measures the kit against the plain way, side by side in one run on this machine, and writes the results down.

Results go to ``benchmarks/results/<device>.json`` and ``<device>-growth.json``; docs/performance.md says how to read them.
Needs PyTorch, numpy, tqdm and safetensors alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from speaker_lib.utils.device import get_device
from speaker_lib.utils.parallel import available_cores

from . import tables
from .data_and_eval import bench_cutting, bench_packing, bench_seeds, bench_validation
from .growth import growth_with_frames, growth_with_processes, growth_with_utterances
from .hw4_standin.corpus import lengths_like_hw4
from .machine import Row, device_name, write_files, write_rows
from .steps import bench_steps

RESULTS = Path(__file__).parent / "results"
PARTS = ("steps", "cutting", "validation", "packing", "seeds", "growth")


def main() -> int:
    options = parse_args()
    device = get_device()
    if options.markdown:
        rows, growth = (read(f"{device_name(device)}{ending}") for ending in ("", "-growth"))
        print(f"{tables.steps_table(rows)}\n\n{tables.around_table(rows)}\n\n{tables.growth_tables(growth)}")
        return 0
    chosen = options.only.split(",") if options.only else list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        print(f"error: there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    print(f"Measuring {', '.join(chosen)} on {device_name(device)}, PyTorch {torch.__version__}.")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{scratch}/compiled"  # nothing compiled before may lie there already
        growth = measure(chosen, Path(scratch), device, options.files)
    if growth:
        print("\n".join(json.dumps(line) for line in growth))
        today = datetime.date.today().isoformat()
        write(f"{device_name(device)}-growth", [line | {"device": device_name(device), "date": today} for line in growth])
    return 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="PART,PART,…", help=f"measure some of {', '.join(PARTS)} (all)")
    parser.add_argument(
        "--files", type=int, default=24_000, metavar="N", help="utterance files to pack, 105 KB each (%(default)s)"
    )
    parser.add_argument("--markdown", action="store_true", help="measure nothing, print this device's results as tables")
    return parser.parse_args()


def measure(chosen: list[str], scratch: Path, device: torch.device, n_files: int) -> list[dict[str, object]]:
    gpu = device.type == "cuda"
    few, growth = scratch / "few", []
    write_files(few, lengths_like_hw4(2_000))
    models = ("baseline", "tuned") if gpu else ("baseline", "tuned", "laptop_baseline", "laptop_tuned")
    parts = []
    if "steps" in chosen:  # on a CPU the large model compiles for many minutes, and gains as little as the small one
        parts += [partial(bench_steps, name, few, device, compiled=gpu or name != "tuned") for name in models]
    if "cutting" in chosen:
        parts.append(partial(bench_cutting, few, device))
    if "validation" in chosen:
        parts += [partial(bench_validation, few, device, name, 40 if name == "tuned" and not gpu else 400) for name in models]
    if "packing" in chosen:
        parts.append(partial(bench_packing, scratch / "many", n_files))
    if "seeds" in chosen:
        model, steps = ("baseline", 5_000) if gpu else ("laptop_baseline", 500)
        parts.append(partial(bench_seeds, few, scratch / "seeds", device, model, steps))
    for part in parts:
        measured = part()
        print("\n" + table(measured), flush=True)
        write(device_name(device), [row.to_dict() for row in measured])  # now, because a later part may fail
    if "growth" in chosen:
        growth += growth_with_utterances(scratch / "growth")
        growth += growth_with_frames(device, "baseline")
        n_most = torch.cuda.device_count() if gpu else min(2, available_cores())
        growth += growth_with_processes(few, scratch / "processes", "baseline", 2_000 if gpu else 60, n_most)
    return growth


def table(rows: list[Row]) -> str:
    header = f"{'model':<16} {'way':<62} {'step/s':>9} {'uttr/s':>11} {'ratio':>7} {'of matmul':>10}"
    lines = [header, "-" * len(header)]
    for row in rows:
        fraction = "-" if row.fraction_of_matmul is None else f"{row.fraction_of_matmul:.1%}"
        numbers = ["-" if n is None else f"{n:,.1f}" for n in (row.step_per_s, row.utterances_per_s, row.ratio)]
        lines.append(f"{row.model:<16} {row.way:<62} {numbers[0]:>9} {numbers[1]:>11} {numbers[2]:>7} {fraction:>10}")
    return "\n".join(lines)


def write(name: str, rows: list[dict[str, object]]) -> None:
    """Replaces the rows that were measured again, and keeps the others."""
    path, kept = RESULTS / f"{name}.json", read(name)
    anew = {key_of(row) for row in rows}
    write_rows(path, [row for row in kept if key_of(row) not in anew] + rows)
    print(f"Written to {path}.")


def read(name: str) -> list[dict[str, object]]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def key_of(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row.get(key) for key in ("what", "size", "model", "way"))


if __name__ == "__main__":
    sys.exit(main())
