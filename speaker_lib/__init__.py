"""The helper library of a course on speaker identification. Start at `config`, then `corpus`, `data`, `model`, `training`.

>>> from speaker_lib import PRESETS
>>> PRESETS["tuned"].model.num_layers
6
"""

from .config.presets import PRESETS, get_preset
from .config.schema import ModelConfig, Preset, TrainConfig
from .data.batches import SpeakerDataset, get_dataloader
from .data.corpus import Corpus, CorpusWriter
from .models.classifier import Classifier
from .training.loop import train, valid
from .training.run import Run
from .training.schedule import get_cosine_schedule_with_warmup
from .training.state import set_seed
from .training.step import model_fn
from .utils.errors import SpeakerError

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
