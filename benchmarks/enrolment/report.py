"""The rows of ``results/enrolment`` as the tables of docs/enrolment.md: means over seeds, with their standard deviations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from speaker_lib.experiments.seeds import spread

from ..tables import markdown

Rows = Sequence[dict[str, object]]


def enrolment_table(rows: Rows) -> str:
    """Closed-set accuracy, equal error rate, and who is right and accepted where a twentieth of the strangers is."""
    return _table(rows, {"closed": "accuracy", "eer": "EER", "accepted": "right and accepted"})


def threshold_table(rows: Rows) -> str:
    """The errors at the threshold that was calibrated on the people of the training data."""
    return _table(rows, {"false_accepts": "strangers accepted", "false_rejects": "enrolled rejected"})


def _table(rows: Rows, measures: dict[str, str]) -> str:
    """A line per model, kind of score and seconds; a column per measure and number of recordings to enrol by."""
    numbers = sorted({row["recordings"] for row in rows})
    header = ["model", "score", "each", *(f"{what}, {n}" for what in measures.values() for n in numbers)]
    cells = (
        [model, score, seconds, *(_mean(found, name, n) for name in measures for n in numbers)]
        for model, score, seconds, found in _groups(rows)
    )
    return markdown(header, cells)


def _groups(rows: Rows) -> Iterator[tuple[str, str, str, Rows]]:
    for key in dict.fromkeys((row["model"], row["score"], row["seconds"]) for row in rows):
        found = [row for row in rows if (row["model"], row["score"], row["seconds"]) == key]
        yield key[0], key[1], "whole" if key[2] is None else f"{key[2]} s", found


def _mean(rows: Rows, name: str, recordings: int) -> str:
    values = np.array([row[name] for row in rows if row["recordings"] == recordings])
    several = f" ± {spread(values):.3f}" * (len(values) > 1)
    return f"{values.mean():.3f}{several}"
