"""Every setting of an experiment as plain, frozen data: `ModelConfig`, `TrainConfig`, and a `Preset` of both.

In: defaults, overrides from ``--set``, or a run's config.json.  Out: checked settings.  All that the report did not have is off
by default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace

from ..utils.errors import ConfigError, short_repr
from .fields import bounded, check, choice, describe, field_types, fraction, parse

MOST_FRAMES = 10**7  # in a batch: a downloaded config.json must not fill the memory


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a `Classifier`. The defaults are the sample code's model with the Sigmoid head of 2023."""

    n_mels: int = bounded(1, 40, most=1_000, help="mel bands per frame; set by the data")
    input_norm: str = choice(
        *("none", "mean", "global"),
        help="of each mel band; mean: per utterance (CMN); global: mean and variance of the training set",
    )
    subsampling: int = bounded(1, 1, most=8, help="time subsampling factor, by a strided convolution")
    encoder: str = choice(
        *("transformer", "conformer", "mfa_transformer", "mfa_conformer"),
        help="mfa: multi-scale feature aggregation of all layers",
    )
    d_model: int = bounded(1, 80, most=16_384, help="width of each frame's vector inside the encoder")
    nhead: int = bounded(1, 2, help="attention heads; each works on d_model / nhead dimensions")
    num_layers: int = bounded(1, 1, most=1_000, help="encoder layers")
    dim_feedforward: int = bounded(1, 256, help="width of the hidden layer inside each encoder layer")
    kernel_size: int = bounded(1, 15, most=1_001, help="kernel size of a Conformer's convolution, in frames; odd")
    dropout: float = fraction(0.1, help="dropout of the sublayers' outputs")
    attention_dropout: float = fraction(0.1, help="dropout of the attention weights; 10 to 20 % slower on a CPU")
    norm: str = choice("post", "pre", help="a Transformer's LayerNorm after (post) or before (pre) each sublayer")
    pooling: str = choice("mean", "self_attention", "attentive_statistics", help="how frames become one vector")
    pooling_norm: str = choice("none", "batch", help="batch: BatchNorm of the pooled vector")
    head: str = choice("two_layer", "linear", "cosine", help="from the pooled vector to one logit per speaker")
    activation: str = choice("sigmoid", "relu", help="between the linear layers of a two_layer head")
    d_embedding: int = bounded(0, 0, most=16_384, help="embedding width of a linear or cosine head; 0: the pooled vector's")
    scale: float = bounded(1e-3, 30.0, help="factor of a cosine head's cosines, as in AM-softmax")
    n_speakers: int = bounded(1, 600, help="classes; set by the data")

    def __post_init__(self) -> None:
        check(self, "model")
        if self.d_model % self.nhead:
            divisors = ", ".join(str(n) for n in range(1, self.d_model + 1) if self.d_model % n == 0)
            raise ConfigError(f"model.nhead = {self.nhead} does not divide d_model = {self.d_model}: choose one of {divisors}.")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"model.kernel_size is {self.kernel_size}: choose an odd number.")
        if self.d_embedding and self.head == "two_layer":
            raise ConfigError(f"model.d_embedding is {self.d_embedding}: choose model.head = linear or cosine, or leave it at 0.")

    @property
    def frame_width(self) -> int:
        """Width of a frame's vector after the encoder."""
        return self.d_model * (self.num_layers if self.encoder.startswith("mfa_") else 1)

    @property
    def pooled_width(self) -> int:
        """Width of an utterance's vector after pooling."""
        return self.frame_width * (2 if self.pooling == "attentive_statistics" else 1)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the sample code's recipe for HW4."""

    seed: int = bounded(0, 87, help="decides initial weights, order of utterances, segments and dropout")
    split_seed: int = bounded(0, 87, help="decides what is held out; the same for all runs that are compared")
    batch_size: int = bounded(1, 32, help="utterances per step, in all processes together")
    segment_len: int = bounded(1, 128, most=10_000, help="frames of 10 ms that are cut from each utterance, also in validation")
    learning_rate: float = bounded(0.0, 1e-3, help="peak learning rate, reached after the warmup")
    weight_decay: float = bounded(0.0, 0.01, help="weight decay of AdamW")
    clip_norm: float = bounded(0.0, 0.0, help="gradient-norm clipping threshold; 0 for none")
    warmup_steps: int = bounded(0, 1_000, help="steps in which the learning rate rises")
    total_steps: int = bounded(1, 70_000, help="steps of training")
    final_steps: int = bounded(0, 0, help="steps of large-margin fine-tuning at the end")
    final_segment_len: int = bounded(1, 300, most=10_000, help="segment_len in the final steps")
    final_margin: float = bounded(0.0, 0.0, most=1.5, help="margin in the final steps; 0 for the same as before")
    margin: float = bounded(0.0, 0.0, most=1.5, help="margin of AM-softmax or ArcFace; needs model.head=cosine")
    margin_kind: str = choice("cosine", "angle", help="subtracted from the cosine (AM-softmax), or added to the angle (ArcFace)")
    margin_ramp_steps: int = bounded(0, 0, help="steps after the warmup in which the margin grows from 0")
    label_smoothing: float = fraction(help="label smoothing: fraction of the target spread over all speakers")
    ema: float = fraction(help="EMA decay of the weights; the EMA is validated and saved. 0 for none")
    freq_mask: int = bounded(0, 0, most=1_000, help="SpecAugment: largest frequency mask, in mel bands; 0 for none")
    time_mask: int = bounded(0, 0, most=10_000, help="SpecAugment: largest time mask, in frames; 0 for none")
    speed: float = fraction(help="speed perturbation: at most this fraction faster or slower")
    valid_steps: int = bounded(1, 2_000, help="steps between validations")
    save_steps: int = bounded(1, 10_000, help="steps between checkpoints")
    save_minutes: float = bounded(0.0, 5.0, help="longest time between checkpoints; 0 for no limit")
    keep: str = choice("best", "last", help="the weights that are saved: those of the best validation or of the last")
    split: str = choice("random", "session", help="what validation holds out: utterances, or whole sessions")
    valid_fraction: float = bounded(0.0, 0.1, help="fraction of the data that validation holds out")
    precision: str = choice("auto", "float32", "bfloat16", "float16", help="type of matrix products; auto: best for the device")
    graph: str = choice("auto", "off", help="auto: a GPU runs a step as a CUDA graph if it can")

    def __post_init__(self) -> None:
        check(self, "train")
        if not 0 < self.valid_fraction < 1:
            raise ConfigError(f"train.valid_fraction is {self.valid_fraction}: choose a number between 0 and 1.")
        for name in ("warmup_steps", "final_steps"):
            if (steps := getattr(self, name)) > self.total_steps:
                raise ConfigError(f"train.{name} is {steps}, more than train.total_steps = {self.total_steps}: lower it.")
        if self.final_margin and not self.final_steps:
            raise ConfigError(f"train.final_margin is {self.final_margin}, but train.final_steps is 0: choose how many.")
        longest = max(self.segment_len, self.final_segment_len if self.final_steps else 0)
        if self.batch_size * longest > MOST_FRAMES:
            size = f"train.batch_size = {self.batch_size} times segments of {longest} frames"
            raise ConfigError(f"{size} is more than {MOST_FRAMES:,} frames in a batch: lower one of them.")

    def segment_len_at(self, step: int) -> int:
        """Frames of a segment in step ``step``."""
        return self.final_segment_len if step >= self.total_steps - self.final_steps else self.segment_len

    def margin_at(self, step: int) -> float:
        """The margin in step ``step``. It can grow from 0 after the warmup, and change in the final steps."""
        if self.final_margin and step >= self.total_steps - self.final_steps:
            return self.final_margin
        if not self.margin_ramp_steps:
            return self.margin
        return self.margin * min(1.0, max(0.0, (step - self.warmup_steps) / self.margin_ramp_steps))

    def with_total_steps(self, total_steps: int) -> TrainConfig:
        """The same recipe over ``total_steps``: warmup and intervals are at most a tenth of them.

        The final steps and the ramp of the margin remain the same fraction of all steps.
        """
        tenth = max(1, total_steps // 10)
        changes = {name: min(getattr(self, name), tenth) for name in ("warmup_steps", "valid_steps", "save_steps")}
        for name in ("final_steps", "margin_ramp_steps"):
            if steps := getattr(self, name):
                changes[name] = max(1, round(steps * total_steps / self.total_steps))
        return replace(self, total_steps=total_steps, **changes)


# Settings of earlier versions with the value that had no effect: with this value, an old config.json is still valid.
_REMOVED = {"model.positions": "none", "model.stochastic_depth": 0.0, "train.accumulate": 1, "train.crop_len": 0}


@dataclass(frozen=True)
class Preset:
    """One experiment: a model and how it is trained."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if max(self.train.margin, self.train.final_margin) > 0 and self.model.head != "cosine":
            raise ConfigError(f"train.margin needs a cosine head, not {self.model.head}: choose model.head = cosine.")
        if self.model.pooling_norm == "batch" and self.train.batch_size < 2:
            raise ConfigError("model.pooling_norm = batch needs several utterances: choose train.batch_size of at least 2.")

    def override(self, settings: dict[str, object]) -> Preset:
        """A copy with other settings, such as ``{"model.d_model": 256}``; a string is read as the type of its setting.

        Raises ConfigError with the valid settings or values.
        """
        kinds = {"model": field_types(ModelConfig), "train": field_types(TrainConfig)}
        changes: dict[str, dict[str, object]] = {"model": {}, "train": {}}
        for name, value in settings.items():
            part, _, field_name = name.partition(".")
            if field_name not in kinds.get(part, {}):
                raise ConfigError(f"there is no setting {short_repr(name)}: choose one of {', '.join(setting_names())}.")
            changes[part][field_name] = parse(name, value, kinds[part][field_name])
        return Preset(replace(self.model, **changes["model"]), replace(self.train, **changes["train"]))

    def to_dict(self) -> dict[str, dict[str, object]]:
        """Nested dictionaries, the content of ``config.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, object]]) -> Preset:
        """The inverse of `to_dict`, also for a config.json of earlier versions. Raises ConfigError if it is not valid."""
        settings = {f"{part}.{name}": value for part in ("model", "train") for name, value in values[part].items()}
        for name, neutral in _REMOVED.items():
            if settings.pop(name, neutral) != neutral:
                raise ConfigError(f"{name} was removed from the library: use the release that made this run")
        settings.setdefault("train.split_seed", settings.get("train.seed", TrainConfig.seed))  # once one seed for both
        return cls().override(settings)

    def differences(self, other: Preset) -> dict[str, tuple[object, object]]:
        """The settings in which two presets differ: ``{"model.d_model": (80, 512)}``."""
        mine, theirs = _flat(self), _flat(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def setting_names() -> list[str]:
    """The names of all settings, for `Preset.override` and ``--set``."""
    return list(_flat(Preset()))


def describe_settings() -> str:
    """Every setting with its default and its help text, for ``train --help``."""
    model, train = describe(ModelConfig, "model"), describe(TrainConfig, "train")
    return f"settings of the model, with their defaults:\n{model}\n\nsettings of training:\n{train}"


def _flat(preset: Preset) -> dict[str, object]:
    return {f"{part}.{name}": value for part, values in preset.to_dict().items() for name, value in values.items()}
