"""Every figure of the course."""

from ..utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "architecture": "architecture_figure",
        "budget": "amount_figure time_figure",
        "embeddings": "map_figure verification_figure",
        "experiments": "ablation_figure generalisation_figure ladder_figure measuring_figure",
        "margin": "margin_figure",
        "mistakes": "mistake_figure",
        "model": "activation_figure attention_figure cost_figure pooling_figure schedule_figure speed_figure",
        "runs": "comparison_figure confusion_figure curves_figure",
        "speech": "lengths_figure utterance_figure voices_figure",
        "style": "save_figure",
    },
)
