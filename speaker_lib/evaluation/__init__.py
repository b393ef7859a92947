"""Accuracy, ensembles, embeddings and verification of trained models."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "embeddings": "embed",
        "enrolment": "calibrate make_reference",
        "ensemble": "predict",
        "grading": "Key grade",
        "identification": "crop_draws evaluate full_outputs heldout_indices",
        "mistakes": "find_mistakes",
        "text": "evaluation_text verification_table verification_text",
        "trials": "draw_trials",
        "verification": "verify",
    },
)
