"""The helper library of a course on speaker identification. Start at `config`, then `corpus`, `data`, `model`, `training`.

>>> from speaker_lib import PRESETS
>>> PRESETS["tuned"].model.num_layers
6
"""

from .checkpoint import Run
from .config import ModelConfig, Preset, TrainConfig
from .corpus import Corpus, CorpusWriter
from .data import SpeakerDataset, get_dataloader
from .errors import SpeakerError
from .model import Classifier
from .presets import PRESETS, get_preset
from .training import get_cosine_schedule_with_warmup, model_fn, set_seed, train, valid

__all__ = [
    "PRESETS",
    "Classifier",
    "Corpus",
    "CorpusWriter",
    "ModelConfig",
    "Preset",
    "Run",
    "SpeakerDataset",
    "SpeakerError",
    "TrainConfig",
    "get_cosine_schedule_with_warmup",
    "get_dataloader",
    "get_preset",
    "model_fn",
    "set_seed",
    "train",
    "valid",
]
