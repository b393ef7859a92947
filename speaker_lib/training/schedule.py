"""The learning-rate schedule: linear warmup, then a cosine down to zero.

In: an optimizer and two numbers of steps.  Out: a PyTorch scheduler, advanced once per step.
"""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def get_cosine_schedule_with_warmup(optimizer: torch.optim.Optimizer, warmup_steps: int, total_steps: int) -> LambdaLR:
    """The learning rate rises linearly for ``warmup_steps``, then falls along half a cosine to zero at ``total_steps``.

    Warmup: Vaswani et al. (2017), section 5.3. Cosine: Loshchilov & Hutter (2017), equation 5.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
