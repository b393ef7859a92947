"""Searches for the variability of the stand-in at which the sample code of 2022 learns as fast as on HW4.

    python -m benchmarks.hw4_standin.search --speaker-spread 0.8 1.0 --until 10000    # two values, 10,000 of 70,000 steps
    python -m benchmarks.hw4_standin.search --speaker-spread 0.9                      # the whole recipe, then whole utterances

Prints a line of JSON per validation at a step of HW4's published curve, and one at the end of each run.  The data are in memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from dataclasses import astuple, fields, replace
from pathlib import Path

from speaker_lib import PRESETS, Run, train
from speaker_lib.config.fields import split_settings
from speaker_lib.evaluation.identification import evaluate
from speaker_lib.training.loop import StopTraining
from speaker_lib.utils.device import get_device

from ..tables import markdown
from .corpus import StandIn, make_standin
from .features import Variability

# Accuracy on HW4's held-out tenth: on random 128-frame crops by step, and on the whole utterances.
PUBLISHED = {2_000: 0.153, 10_000: 0.416, 30_000: 0.576, 70_000: 0.686}
PUBLISHED_FULL = 0.857
KNOBS = tuple(field.name for field in fields(Variability))


def main() -> None:
    options = parse_args()
    wanted = [getattr(options, f"{knob}_spread") for knob in KNOBS]
    for values in itertools.product(*wanted):
        spreads = Variability(*values)
        standin = replace(StandIn(), speakers=options.speakers, seed=options.seed, spreads=spreads)
        began = time.perf_counter()
        corpus = make_standin(standin)
        say(spreads, what="made", frames=len(corpus.labelled.frames), seconds=round(time.perf_counter() - began, 1))
        for name in options.presets:
            preset = PRESETS[name].override({"train.split": options.split, **split_settings(options.set)})
            if options.steps:
                preset = replace(preset, train=replace(preset.train, total_steps=options.steps))
            follow(preset, name, corpus, spreads, options)


def follow(preset, name: str, corpus, spreads: Variability, options: argparse.Namespace) -> None:
    """Trains a preset on a stand-in and prints its accuracies beside the published curve."""
    device, last = get_device(), options.until or preset.train.total_steps
    began, deviations = time.perf_counter(), []

    def note(row: dict[str, float]) -> None:
        step, accuracy = int(row["step"]), row["valid_accuracy"]
        published = PUBLISHED.get(step) if name == "baseline_relu" else None
        if published or step >= last or options.every:
            if published:
                deviations.append(accuracy - published)
            seconds = round(time.perf_counter() - began, 1)
            found = {"accuracy": accuracy, "loss": row["valid_loss"], "train_accuracy": row["train_accuracy"]}
            found = {name: round(value, 4) for name, value in found.items()}
            say(spreads, what="crop", preset=name, step=step, **found, published=published, seconds=seconds)
        if step >= last:
            raise StopTraining

    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        run = Run.create(Path(scratch) / name, preset, corpus)
        train(run, corpus, device, callbacks=[note])
        found = {"worst_deviation": round(max(map(abs, deviations)), 4)} if deviations else {}
        if options.full or last == preset.train.total_steps:
            result = evaluate(run, corpus, device)[0]
            found |= {"crop": round(result.crop.accuracy, 4), "full": round(result.full.accuracy, 4)}
            found["full_published"] = PUBLISHED_FULL if name == "baseline_relu" else None
        say(spreads, what="end", preset=name, split=options.split, **found, seconds=round(time.perf_counter() - began, 1))


def say(spreads: Variability, **found: object) -> None:
    """Prints a line of JSON that begins with the variability of the stand-in."""
    print(json.dumps({**{knob: getattr(spreads, knob) for knob in KNOBS}, **found}), flush=True)


def curve_table(rows: list[dict[str, object]]) -> str:
    """Markdown: crop accuracy by step and ``full`` at the end, for HW4 and for each stand-in."""
    header = [", ".join(KNOBS), *(f"{step:,}" for step in PUBLISHED), "full", "worst"]
    lines = [["HW4", *(f"{accuracy:.3f}" for accuracy in PUBLISHED.values()), f"{PUBLISHED_FULL:.3f}", ""]]
    for row in rows:
        spreads = ", ".join(str(row[knob]) for knob in KNOBS)
        found = [f"{row['crop_at_step'][str(step)]:.3f}" for step in PUBLISHED]
        lines.append([spreads, *found, f"{row['full']:.3f}", f"{row['worst_deviation']:.3f}"])
    return markdown(header, lines)


def add_spreads(parser: argparse.ArgumentParser) -> None:
    """``--spreads``, the numbers of a `Variability`."""
    default = astuple(Variability())
    help = f"variability between speakers, moods, sessions and sounds, and its variety ({' '.join(map(str, default))})"
    parser.add_argument(
        "--spreads", type=float, nargs=len(KNOBS), default=default, metavar=tuple(map(str.upper, KNOBS)), help=help
    )


def parse_args() -> argparse.Namespace:
    defaults = Variability()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for knob in KNOBS:
        default = [getattr(defaults, knob)]
        parser.add_argument(f"--{knob}-spread", type=float, nargs="+", default=default, help=f"values to try {default}")
    parser.add_argument("--presets", nargs="+", default=["baseline_relu"], choices=list(PRESETS), help="what to train")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the presets")
    parser.add_argument("--split", default="random", choices=["random", "session"], help="what is held out (%(default)s)")
    parser.add_argument("--steps", type=int, help="of the schedule (the preset's own)")
    parser.add_argument("--until", type=int, help="stop at this step of the schedule, as a short search does")
    parser.add_argument("--every", action="store_true", help="print every validation")
    parser.add_argument("--full", action="store_true", help="evaluate whole utterances even after a short search")
    parser.add_argument("--speakers", type=int, default=600, help="fewer for a trial (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the stand-in (%(default)s)")
    parser.add_argument("--scratch", help="folder of temporary files (the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
