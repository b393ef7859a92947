"""The rows of ``results/channels`` as the table of docs/channels.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speaker_lib.experiments.seeds import spread

from ..tables import markdown

Rows = Sequence[dict[str, object]]


def channel_table(rows: Rows) -> str:
    """A line per model and training data, a column per condition: mean and standard deviation over the seeds."""
    conditions = list(dict.fromkeys(name for row in rows for name in row["accuracy"]))
    groups: dict[tuple, Rows] = {}
    for row in rows:
        groups.setdefault((row["model"], row["normalised"], row["trained_on"]), []).append(row)
    lines = [
        [f"{model}{', CMN' if normalised else ''}", str(data), str(len(found)), *(_cell(found, name) for name in conditions)]
        for (model, normalised, data), found in groups.items()
    ]
    return markdown(["model", "trained on", "seeds", *conditions], lines)


def _cell(rows: Rows, condition: str) -> str:
    values = np.array([row["accuracy"][condition] for row in rows if condition in row["accuracy"]])
    several = f" ± {spread(values):.3f}" * (len(values) > 1)
    return f"{values.mean():.3f}{several}" if len(values) else ""
