"""The helper library of a course on speaker identification. Names are imported at their first use.

>>> from speaker_lib import PRESETS
>>> PRESETS["tuned"].model.num_layers
6
"""

from .utils.lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "config.presets": "PRESETS get_preset",
        "config.schema": "ModelConfig Preset TrainConfig",
        "data.batches": "SpeakerDataset get_dataloader",
        "data.corpus": "Corpus",
        "data.splits": "split_utterances",
        "data.writer": "CorpusWriter",
        "models.classifier": "Classifier",
        "training.loop": "train valid",
        "training.run": "Run",
        "training.schedule": "get_cosine_schedule_with_warmup",
        "training.state": "set_seed",
        "training.step": "model_fn",
        "evaluation.embeddings": "embed",
        "evaluation.ensemble": "predict",
        "evaluation.identification": "evaluate",
        "evaluation.verification": "verify",
        "utils.errors": "SpeakerError",
    },
)
