"""Every setting of an experiment as plain, frozen data; no PyTorch. What is off by default is what the report did not have."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace

from ..utils.errors import ConfigError, short_repr
from .fields import bounded, check, choice, field_types, fraction, parse

# What a machine for this course can hold. Settings may come from a stranger's config.json.
MOST_PARAMETERS = 10**9  # numbers a model learns
MOST_FRAMES = 10**7  # in a batch
SCORING = 128  # width of the hidden layer that scores frames in attentive statistics pooling


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a `Classifier`. The defaults are the sample code's model with the Sigmoid head of 2023."""

    n_mels: int = bounded(1, 40, most=1_000)  # mel bands per frame
    input_norm: str = choice("none", "mean")  # whether each band's mean over the utterance, mostly the microphone's, is taken off
    subsampling: int = bounded(1, 1, most=8)  # frames that one vector inside the encoder stands for
    encoder: str = choice("transformer", "conformer", "mfa_conformer")  # mfa: the outputs of all layers side by side
    d_model: int = bounded(1, 80, most=16_384)  # width of every frame's vector inside the encoder
    nhead: int = bounded(1, 2)  # attention heads; each sees d_model / nhead dimensions
    num_layers: int = bounded(1, 1, most=1_000)  # encoder layers, all of which run
    dim_feedforward: int = bounded(1, 256)  # width of the hidden layer inside each encoder layer
    kernel_size: int = bounded(1, 15, most=1_001)  # frames that a Conformer's convolution sees; odd
    positions: str = choice("none", "rotary")  # whether attention knows how far apart two frames are
    dropout: float = fraction(0.1)  # of the sublayers' outputs
    attention_dropout: float = fraction(0.1)  # of the attention weights; a CPU then trains a tenth to a fifth slower
    stochastic_depth: float = fraction()  # how often the last layer is left out, the others the less the lower they are
    norm: str = choice("post", "pre")  # a Transformer's LayerNorm after (Vaswani et al. 2017) or before each sublayer
    pooling: str = choice("mean", "self_attention", "attentive_statistics")  # how frames become one vector
    pooling_norm: str = choice("none", "batch")  # BatchNorm of that vector
    head: str = choice("two_layer", "linear", "cosine")  # from that vector to a number per speaker
    activation: str = choice("sigmoid", "relu")  # between the two linear layers of the head
    d_embedding: int = bounded(0, 0, most=16_384)  # width to which a linear or cosine head first brings the vector; 0 leaves it
    scale: float = bounded(1e-3, 30.0)  # what a cosine head multiplies its cosines by
    n_speakers: int = bounded(1, 600)  # classes; training sets it to what the data hold

    def __post_init__(self) -> None:
        check(self, "model")
        if self.d_model % self.nhead:
            divisors = ", ".join(str(n) for n in range(1, self.d_model + 1) if self.d_model % n == 0)
            raise ConfigError(
                f"model.nhead is {self.nhead}, which does not divide model.d_model = {self.d_model}: choose one of {divisors}."
            )
        if self.positions == "rotary" and self.d_model // self.nhead % 2:
            raise ConfigError(
                f"model.positions = rotary turns pairs of numbers, but each head has {self.d_model // self.nhead}: "
                "choose model.d_model and model.nhead so that their quotient is even."
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError(
                f"model.kernel_size is {self.kernel_size}: choose an odd number, with as many frames on either side."
            )
        if self.d_embedding and self.head == "two_layer":
            raise ConfigError(
                f"model.d_embedding is {self.d_embedding}, but model.head = two_layer keeps model.d_model: "
                "choose model.head = linear or cosine, or leave d_embedding at 0."
            )
        if self.n_parameters > MOST_PARAMETERS:
            raise ConfigError(
                f"model.d_model, model.num_layers, model.dim_feedforward and model.n_speakers make {self.n_parameters:,} "
                f"parameters: lower them until there are at most {MOST_PARAMETERS:,}."
            )

    @property
    def frame_width(self) -> int:
        """Numbers in the vector that the encoder gives for a frame."""
        return self.d_model * (self.num_layers if self.encoder == "mfa_conformer" else 1)

    @property
    def pooled_width(self) -> int:
        """Numbers in the vector that pooling makes of an utterance."""
        return self.frame_width * (2 if self.pooling == "attentive_statistics" else 1)

    @property
    def n_parameters(self) -> int:
        """How many numbers the model learns, told without building it."""
        return self._below_the_head + 2 * self.pooled_width * (self.pooling_norm == "batch") + self._in_the_head

    @property
    def _below_the_head(self) -> int:
        d, width = self.d_model, self.frame_width
        prenet = _linear(self.n_mels * (1 if self.subsampling == 1 else 2 * self.subsampling + 1), d)
        attention, feedforward = 4 * _linear(d, d), _linear(d, self.dim_feedforward) + _linear(self.dim_feedforward, d)
        if self.encoder == "transformer":
            layer, after = attention + feedforward + 4 * d, 2 * d * (self.norm == "pre")
        else:
            convolution = _linear(d, 2 * d) + _linear(self.kernel_size, d) + _linear(d, d)
            layer, after = attention + 2 * feedforward + convolution + 12 * d, 2 * width * (self.encoder == "mfa_conformer")
        scores = {"self_attention": width, "attentive_statistics": _linear(width, SCORING) + _linear(SCORING, 1)}
        return prenet + self.num_layers * layer + after + scores.get(self.pooling, 0)

    @property
    def _in_the_head(self) -> int:
        d, n = self.d_model, self.n_speakers
        if self.head == "two_layer":
            return _linear(self.pooled_width, d) + _linear(d, n)
        first = _linear(self.pooled_width, self.d_embedding) if self.d_embedding else 0
        width = self.d_embedding or self.pooled_width
        return first + (width * n if self.head == "cosine" else _linear(width, n))


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are the sample code's recipe for HW4."""

    seed: int = bounded(0, 87)  # first weights, order of the utterances, crops, dropout; not what is held out
    batch_size: int = bounded(1, 32)  # utterances per step, over all processes
    accumulate: int = bounded(1, 1)  # parts of a batch, one after the other, where memory is short; BatchNorm sees each alone
    segment_len: int = bounded(1, 128, most=10_000)  # frames of 10 ms cut from each utterance; attention takes their square
    crop_len: int = bounded(0, 0, most=10_000)  # frames that validation and the protocol `crop` cut; 0 for segment_len
    learning_rate: float = bounded(0.0, 1e-3)  # the peak, reached after the warmup
    weight_decay: float = bounded(0.0, 0.01)
    clip_norm: float = bounded(0.0, 0.0)  # the longest that all gradients together may be; 0 leaves them as they are
    warmup_steps: int = bounded(0, 1_000)
    total_steps: int = bounded(1, 70_000)
    final_steps: int = bounded(0, 0)  # the last steps, with segments and margin of their own
    final_segment_len: int = bounded(1, 300, most=10_000)  # frames, in the last steps
    final_margin: float = bounded(0.0, 0.0, most=1.5)  # in the last steps
    margin: float = bounded(0.0, 0.0, most=1.5)  # by how much the right speaker must be ahead; needs model.head = cosine
    margin_kind: str = choice("cosine", "angle")  # subtracted from the cosine, or added to the angle, in radians
    margin_ramp_steps: int = bounded(0, 0)  # after the warmup, over which the margin grows from 0
    label_smoothing: float = fraction()  # share of the target that is spread over all speakers
    ema: float = fraction()  # decay of a running average of the weights, which is judged and kept in their place; 0 for none
    freq_mask: int = bounded(0, 0, most=1_000)  # widest stretch of mel bands to hide; 0 hides none
    time_mask: int = bounded(0, 0, most=10_000)  # longest stretch of frames to hide; 0 hides none
    speed: float = fraction()  # how much faster or slower an utterance may be played
    valid_steps: int = bounded(1, 2_000)  # steps between validations
    save_steps: int = bounded(1, 10_000)  # steps between saves of the state to go on from
    save_minutes: float = bounded(0.0, 5.0)  # the longest between two saves, for machines that may vanish; 0 for no limit
    split: str = choice("random", "session")  # what validation holds out: utterances or whole sessions
    split_seed: int = bounded(0, 87)  # which utterances or sessions are held out; one for all runs that are compared
    valid_fraction: float = bounded(0.0, 0.1)
    precision: str = choice("auto", "float32", "bfloat16", "float16")
    graph: str = choice("auto", "off")  # auto: a GPU runs each step as one graph where it can

    def __post_init__(self) -> None:
        check(self, "train")
        if not 0 < self.valid_fraction < 1:
            raise ConfigError(f"train.valid_fraction is {self.valid_fraction}: choose a number between 0 and 1.")
        for name in ("warmup_steps", "final_steps"):
            if getattr(self, name) > self.total_steps:
                raise ConfigError(
                    f"train.{name} is {getattr(self, name)}, more than train.total_steps = {self.total_steps}: "
                    "lower the first or raise the second."
                )
        if self.final_margin and not self.final_steps:
            raise ConfigError(
                f"train.final_margin is {self.final_margin}, but train.final_steps is 0: choose how many steps it is for."
            )
        longest = max(self.segment_len, self.final_segment_len if self.final_steps else 0)
        if self.batch_size * longest > MOST_FRAMES:
            raise ConfigError(
                f"train.batch_size = {self.batch_size} times segments of {longest} frames is more than "
                f"{MOST_FRAMES:,} frames in a batch: lower one of them."
            )

    def segment_len_at(self, step: int) -> int:
        """Frames of a segment that step number ``step`` trains on."""
        return self.final_segment_len if step >= self.total_steps - self.final_steps else self.segment_len

    def margin_at(self, step: int) -> float:
        """The margin of step number ``step``.

        ``margin`` from the start or, with ``margin_ramp_steps``, 0 in the warmup and rising from there; in the last steps
        ``final_margin``, where that is not 0.
        """
        if self.final_margin and step >= self.total_steps - self.final_steps:
            return self.final_margin
        risen = (step - self.warmup_steps) / max(1, self.margin_ramp_steps)
        return self.margin * min(1.0, max(0.0, risen)) if self.margin_ramp_steps else self.margin

    @property
    def judged_len(self) -> int:
        """Frames that validation and the protocol ``crop`` cut from each utterance."""
        return self.crop_len or self.segment_len

    def with_total_steps(self, total_steps: int) -> TrainConfig:
        """The same recipe over ``total_steps``: what no longer fits (warmup, intervals) shrinks to a tenth of them.

        The last steps and the margin's rise keep their share of the whole, if they have any.
        """
        tenth = max(1, total_steps // 10)

        def scaled(steps: int) -> int:
            return max(1, round(steps * total_steps / self.total_steps)) if steps else 0

        return replace(
            self,
            total_steps=total_steps,
            final_steps=scaled(self.final_steps),
            margin_ramp_steps=scaled(self.margin_ramp_steps),
            warmup_steps=min(self.warmup_steps, tenth),
            valid_steps=min(self.valid_steps, tenth),
            save_steps=min(self.save_steps, tenth),
        )


@dataclass(frozen=True)
class Preset:
    """One experiment: a model and how it is trained."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if max(self.train.margin, self.train.final_margin) > 0 and self.model.head != "cosine":
            raise ConfigError(
                f"train.margin lies between cosines, but model.head is {self.model.head}: "
                "choose model.head = cosine, or leave train.margin and train.final_margin at 0."
            )
        self.check_share(self.train.batch_size)

    def check_share(self, size: int) -> None:
        """Raises ConfigError if ``size`` utterances, worked through at once or in parts, are too few for BatchNorm."""
        if self.model.pooling_norm == "batch" and size // min(self.train.accumulate, size) < 2:
            raise ConfigError(
                "model.pooling_norm = batch compares utterances, but would see one at a time: choose train.batch_size at least "
                "twice as large as train.accumulate, times the number of processes."
            )

    def override(self, settings: dict[str, object]) -> Preset:
        """A copy with ``{"model.d_model": 256, "train.seed": 1}`` applied; strings are read as the field's type.

        Raises ConfigError naming the valid fields or values.
        """
        changes: dict[str, dict[str, object]] = {"model": {}, "train": {}}
        for name, value in settings.items():
            part, _, field_name = name.partition(".")
            types_ = field_types(type(getattr(self, part))) if part in changes else {}
            if field_name not in types_:
                raise ConfigError(f"there is no setting {short_repr(name)}: choose one of {', '.join(setting_names())}.")
            changes[part][field_name] = parse(name, value, types_[field_name])
        return Preset(replace(self.model, **changes["model"]), replace(self.train, **changes["train"]))

    def to_dict(self) -> dict[str, dict[str, object]]:
        """Plain nested dictionaries, as ``config.json`` keeps them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, object]]) -> Preset:
        """The inverse of `to_dict`. Raises ConfigError for a field or value that is not valid."""
        settings = {f"{part}.{name}": v for part in ("model", "train") for name, v in values[part].items()}
        if "train.seed" in settings:  # which decided the split, too, before ``train.split_seed`` was there
            settings.setdefault("train.split_seed", settings["train.seed"])
        return cls().override(settings)

    def differences(self, other: Preset) -> dict[str, tuple[object, object]]:
        """The settings in which two presets differ: ``{"model.d_model": (80, 512)}``."""
        mine, theirs = _flat(self), _flat(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def setting_names() -> list[str]:
    """Every name that `Preset.override` and ``--set`` take."""
    return list(_flat(Preset()))


def _flat(preset: Preset) -> dict[str, object]:
    return {f"{part}.{name}": value for part, values in preset.to_dict().items() for name, value in values.items()}


def _linear(inputs: int, outputs: int) -> int:
    """How many numbers a linear layer learns."""
    return inputs * outputs + outputs
