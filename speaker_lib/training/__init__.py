"""The training loop, and the run folder that it writes."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "loop": "train valid",
        "losses": "with_margin",
        "run": "Run fit_to_data",
        "schedule": "get_cosine_schedule_with_warmup",
        "state": "set_seed",
        "step": "model_fn",
    },
)
