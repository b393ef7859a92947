"""The experiments by name.

In: a name.  Out: a `Preset`.  The report's two models differ in four settings, so an ablation is one call:

>>> from dataclasses import replace
>>> replace(PRESETS["baseline"].model, activation="relu").activation
'relu'

The tuned preset has one setting more, ``norm="pre"``: six post-norm layers do not train at this learning rate.
"""

from __future__ import annotations

import types
import typing
from dataclasses import replace

from ..utils.errors import ConfigError
from .schema import ModelConfig, Preset, TrainConfig


def get_preset(name: str) -> Preset:
    """The preset of that name. Raises ConfigError with all names."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


# The settings that gain in lesson 4's ladder (`experiments.ladder`): four cost almost no time, then the others.
_CHEAP = {"model.head": "linear", "model.pooling_norm": "batch", "model.pooling": "attentive_statistics", "model.subsampling": 2}
_BEST = {**_CHEAP, "model.encoder": "mfa_conformer", "model.kernel_size": 7, "train.ema": 0.99}

_TUNED = ModelConfig(d_model=512, nhead=16, num_layers=6, activation="relu", norm="pre")
_LAPTOP_BASELINE = ModelConfig(d_model=64, nhead=2, num_layers=1, activation="sigmoid", attention_dropout=0.0)
_LAPTOP_TUNED = replace(_LAPTOP_BASELINE, d_model=128, nhead=8, num_layers=3, activation="relu", norm="pre")
_D160 = ModelConfig(d_model=160, nhead=4, num_layers=2, dim_feedforward=512, activation="relu")
_D256 = Preset(replace(_TUNED, d_model=256, nhead=8, num_layers=3, dim_feedforward=1024))
_LAPTOP_TRAIN = TrainConfig(warmup_steps=100, total_steps=1_000, valid_steps=100, save_steps=100)

PRESETS: typing.Mapping[str, Preset] = types.MappingProxyType(
    {
        "baseline": Preset(),
        "baseline_relu": Preset(ModelConfig(activation="relu")),
        "tuned": Preset(_TUNED),
        "seed_tuned": Preset(replace(_TUNED, norm="post")),
        "seed_tuned_as_run": Preset(replace(_TUNED, norm="post", num_layers=1)),
        "conformer": Preset(replace(_D160, encoder="conformer", pooling="self_attention")),
        "strong": _D256.override(_CHEAP),
        "best": Preset(_D256.model, replace(_D256.train, total_steps=140_000)).override(_BEST),
        "laptop_baseline": Preset(_LAPTOP_BASELINE, _LAPTOP_TRAIN),
        "laptop_tuned": Preset(_LAPTOP_TUNED, _LAPTOP_TRAIN),
        "laptop_best": Preset(
            replace(_LAPTOP_TUNED, num_layers=2), replace(_LAPTOP_TRAIN, total_steps=1_600, valid_steps=160, save_steps=160)
        ).override(_BEST),
    }
)
