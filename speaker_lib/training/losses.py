"""Training losses: cross-entropy, optionally with an AM-softmax or ArcFace margin.

In: logits (batch, n_speakers) and labels (batch,).  Out: the mean loss, a scalar in nats.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..config.schema import Preset

_EDGE = 1e-6  # keeps a cosine from 1 and -1, where the gradient of its angle is infinite


class TrainingLoss(nn.Module):
    """Cross-entropy with the margin and the label smoothing of a preset; both are off by default.

    AM-softmax subtracts the margin from the cosine (Wang et al. 2018, arXiv 1801.05599, equation 6), ArcFace adds it to the
    angle (Deng et al. 2019, arXiv 1801.07698, equation 3).  A model may not learn with a large margin from the start, so the
    margin can grow with the step.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.train_config, self.scale = preset.train, preset.model.scale
        self.has_margin = max(preset.train.margin, preset.train.final_margin) > 0
        self.register_buffer("margin", torch.zeros(()), persistent=False)  # a CUDA graph reads tensors at each replay

    def set_margin(self, step: int) -> None:
        """Sets the margin of this step."""
        if self.has_margin:
            self.margin.fill_(self.train_config.margin_at(step))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar in nats, of logits (batch, n_speakers) against labels (batch,)."""
        if self.has_margin:
            logits = with_margin(logits, labels, self.margin, self.train_config.margin_kind, self.scale)
        return F.cross_entropy(logits, labels, label_smoothing=self.train_config.label_smoothing)


def with_margin(logits: torch.Tensor, labels: torch.Tensor, margin: torch.Tensor, kind: str, scale: float) -> torch.Tensor:
    """The logits (batch, n_speakers) of a cosine head, with the right speaker's lowered by the margin."""
    right = labels[:, None]  # (batch, 1)
    cosine = logits.gather(1, right) / scale  # (batch, 1)
    if kind == "cosine":
        lowered = cosine - margin
    else:
        angle = cosine.clamp(-1 + _EDGE, 1 - _EDGE).acos()  # (batch, 1) radians
        lowered = (angle + margin).clamp(max=math.pi).cos()  # beyond a half turn the cosine would rise again
    return logits.scatter(1, right, scale * lowered)  # (batch, n_speakers)
