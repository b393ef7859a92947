"""The validation accuracy and loss that the report prints, on 600 VoxCeleb2 speakers.

Random 128-frame crops of the validation set, as the sample code takes them. Its log begins at step 52,000.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedCurve:
    """One model's validations as the report prints them."""

    name: str
    best_accuracy: float
    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    loss: tuple[float, ...]


_STEPS = tuple(range(52_000, 70_001, 2_000))
# Accuracies as its validations print them; the best of each model is printed to four digits where it was saved.
REPORT_BASELINE = PublishedCurve(
    name="report, baseline",
    best_accuracy=0.4834,
    steps=_STEPS,
    accuracy=(0.47, 0.47, 0.47, 0.47, 0.48, 0.48, 0.48, 0.48, 0.48, 0.47),
    loss=(2.44, 2.45, 2.41, 2.42, 2.39, 2.36, 2.39, 2.40, 2.37, 2.42),
)
REPORT_TUNED = PublishedCurve(
    name="report, tuned",
    best_accuracy=0.7599,
    steps=_STEPS,
    accuracy=(0.74, 0.74, 0.74, 0.75, 0.75, 0.75, 0.76, 0.76, 0.76, 0.76),
    loss=(1.42, 1.40, 1.41, 1.42, 1.41, 1.41, 1.39, 1.36, 1.38, 1.38),
)
