"""Checks of the lessons' exercises: ``check.attention(attention)`` tries a student's function and says what is wrong with it."""

from ...utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "lesson1": "attention loss_of_guessing mean_over_frames",
        "lesson2": "attention_parameters sigmoid_slope residual",
        "lesson3": "paired_t surplus",
        "lesson4": "people_reached pool lower_logit",
        "lesson5": "equal_error_rate enrol",
    },
)
