"""Results that the lessons show and do not compute: the report's validation curves, and those of ``benchmarks.people``.

The report's: 600 VoxCeleb2 speakers, random 128-frame segments, steps 52,000 to 70,000.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import RunError

PEOPLE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "people"


@dataclass(frozen=True)
class PublishedCurve:
    """The printed validations of one model."""

    name: str
    best_accuracy: float  # printed to four digits
    accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    steps: tuple[int, ...] = tuple(range(52_000, 70_001, 2_000))


REPORT_BASELINE = PublishedCurve(
    name="report, baseline",
    best_accuracy=0.4834,
    accuracy=(0.47, 0.47, 0.47, 0.47, 0.48, 0.48, 0.48, 0.48, 0.48, 0.47),
    loss=(2.44, 2.45, 2.41, 2.42, 2.39, 2.36, 2.39, 2.40, 2.37, 2.42),
)
REPORT_TUNED = PublishedCurve(
    name="report, tuned",
    best_accuracy=0.7599,
    accuracy=(0.74, 0.74, 0.74, 0.75, 0.75, 0.75, 0.76, 0.76, 0.76, 0.76),
    loss=(1.42, 1.40, 1.41, 1.42, 1.41, 1.41, 1.39, 1.36, 1.38, 1.38),
)


def read_rows(path: Path) -> list[dict[str, object]]:
    """The rows of a file of ``benchmarks.people``, a JSON object per line. Raises OSError."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def people_results(part: str) -> tuple[list[dict[str, object]], str]:
    """The committed rows of ``time`` or ``amount``, a dictionary per run, and a line on where they come from.

    Those of ``amount`` include the runs of ``time`` with the same models, steps and seeds, on all people.  Raises RunError
    without the course's repository, because the library alone does not have them.
    """
    try:
        rows, everyone = (read_rows(PEOPLE / f"{name}.jsonl") for name in (part, "time"))
    except OSError:
        raise RunError(f"{PEOPLE / part}.jsonl is not there: get the course's repository, its benchmarks are in it.") from None
    if part != "time":
        shown = {(row["model"], row["steps"], row["seed"]) for row in rows}
        rows += [row for row in everyone if (row["model"], row["steps"], row["seed"]) in shown]
    first, seeds, dates = everyone[0], len({row["seed"] for row in rows}), sorted({row["date"] for row in rows})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    measured = f"{seeds} seed{'s' * (seeds > 1)}; {first['device']}, {when}"
    return rows, f"{first['people']} Korean speakers reading aloud, 2 s each time; {measured}"
