"""The classifier and its parts."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "classifier": "Classifier count_parameters",
        "cost": "cost_of",
        "inspect": "attention_maps head_signals loudness_correlation pooling_weights utterances_reached",
        "pooling": "frame_weights mean_pooling weighted_sum",
        "summary": "cost_table head_table layer_table",
    },
)
