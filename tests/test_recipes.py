"""Training beyond the report, off by default: margins, SpecAugment, speed perturbation, EMA, large-margin fine-tuning."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from speaker_lib import Classifier, ModelConfig, Preset, Run, TrainConfig, get_dataloader, split_utterances, train
from speaker_lib.data.batches import Batch, frames_to_cut
from speaker_lib.models.pooling import padding_mask
from speaker_lib.training.augment import augment, random_mask, speed_perturb
from speaker_lib.training.loop import StopTraining
from speaker_lib.training.losses import TrainingLoss, with_margin
from speaker_lib.training.state import TrainState
from speaker_lib.training.step import TrainStep
from speaker_lib.utils.errors import ConfigError

from .runs import assert_equal, weights
from .test_step import replayed

CPU = torch.device("cpu")
MODEL = ModelConfig(d_model=16, nhead=2, num_layers=2, dim_feedforward=16, n_speakers=3)
TRAIN = TrainConfig(batch_size=8, segment_len=32, warmup_steps=4, total_steps=24, valid_steps=8, save_steps=4, learning_rate=5e-3)
EVERYTHING = Preset(
    replace(
        MODEL,
        encoder="mfa_conformer",
        kernel_size=5,
        subsampling=2,
        input_norm="mean",
        pooling="attentive_statistics",
        pooling_norm="batch",
        head="cosine",
        d_embedding=8,
    ),
    replace(
        TRAIN,
        margin=0.2,
        margin_ramp_steps=6,
        margin_kind="angle",
        final_steps=8,
        final_segment_len=48,
        final_margin=0.3,
        label_smoothing=0.1,
        ema=0.9,
        freq_mask=6,
        time_mask=6,
        speed=0.1,
        clip_norm=1.0,
    ),
)


def cosines() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(6, 3) * 2 - 1, torch.tensor([0, 1, 2, 0, 1, 2])


def test_the_right_speaker_alone_is_lowered_by_the_margin():
    cosine, labels = cosines()
    logits, margin = 30 * cosine, torch.tensor(0.3)
    right = F.one_hot(labels, 3).bool()
    taken_off = with_margin(logits, labels, margin, "cosine", 30.0)
    torch.testing.assert_close(taken_off, torch.where(right, logits - 9.0, logits))
    turned = with_margin(logits, labels, margin, "angle", 30.0)
    torch.testing.assert_close(turned, torch.where(right, 30 * (cosine.acos() + 0.3).clamp(max=math.pi).cos(), logits))


@pytest.mark.parametrize("kind", ["cosine", "angle"])
def test_gradients_are_numbers_even_where_an_angle_has_none(kind):
    logits = torch.tensor([[30.0, -30.0], [-30.0, 30.0]], requires_grad=True)
    with_margin(logits, torch.tensor([0, 0]), torch.tensor(0.2), kind, 30.0).sum().backward()
    assert logits.grad.isfinite().all()


def test_without_margin_and_smoothing_the_loss_is_cross_entropy():
    logits, labels = cosines()
    assert torch.equal(TrainingLoss(Preset(MODEL, TRAIN))(logits, labels), F.cross_entropy(logits, labels))
    smoothed = TrainingLoss(Preset(MODEL, replace(TRAIN, label_smoothing=0.2)))(logits, labels)
    assert torch.equal(smoothed, nn.CrossEntropyLoss(label_smoothing=0.2)(logits, labels))


def test_the_margin_grows_after_the_warmup_and_has_a_last_value():
    loss, train_config = TrainingLoss(EVERYTHING), EVERYTHING.train
    seen = []
    for step in range(train_config.total_steps):
        loss.set_margin(step)
        seen.append(float(loss.margin))
    assert seen[:5] == [0.0] * 5 and seen[7] == pytest.approx(0.1) and seen[10:16] == pytest.approx([0.2] * 6)
    assert seen[16:] == pytest.approx([0.3] * 8)
    at_once = replace(train_config, margin_ramp_steps=0, final_steps=0, final_margin=0.0)
    assert at_once.margin_at(0) == at_once.margin_at(23) == 0.2
    assert replace(train_config, final_margin=0.1).margin_at(23) == 0.1  # it may be smaller


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train.margin": 0.2}, "choose model.head = cosine"),
        ({"train.final_margin": 0.2, "train.final_steps": 9}, "choose model.head = cosine"),
        ({"model.head": "cosine", "train.final_margin": 0.2}, "train.final_steps is 0"),
        ({"model.pooling_norm": "batch", "train.batch_size": 1}, "train.batch_size of at least 2"),
        ({"train.final_steps": 70_001}, "more than train.total_steps"),
        ({"train.ema": 1.0}, "not including, 1"),
        ({"train.margin_kind": "arc"}, "choose one of cosine, angle"),
        ({"train.batch_size": 100_000, "train.final_steps": 10}, "segments of 300 frames"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Preset().override(settings)


def test_a_shorter_run_keeps_the_fractions_of_its_phases():
    short = EVERYTHING.train.with_total_steps(12)
    assert (short.final_steps, short.margin_ramp_steps, short.warmup_steps) == (4, 3, 1)
    longer, shortest = EVERYTHING.train.with_total_steps(48), EVERYTHING.train.with_total_steps(2)
    assert (longer.final_steps, longer.margin_ramp_steps) == (16, 12)
    assert (shortest.final_steps, shortest.margin_ramp_steps) == (1, 1)


@pytest.mark.parametrize(("axis", "widest"), [(1, 12), (2, 7)])
def test_masks_are_intervals_of_every_width_and_at_every_place(axis, widest):
    torch.manual_seed(0)
    mels = torch.randn(4_000, 40, 30)
    hidden = random_mask(mels, axis, widest)
    assert hidden.shape == ((4_000, 40, 1) if axis == 1 else (4_000, 1, 30))
    widths, hidden = hidden.sum(dim=axis).flatten(), hidden.squeeze()  # (batch,), (batch, places)
    torch.testing.assert_close(widths.bincount() / 4_000, torch.full((widest + 1,), 1 / (widest + 1)), atol=0.02, rtol=0)
    assert hidden.int().diff(dim=1).abs().sum(dim=1).max() <= 2  # one interval each
    often = hidden.float().mean(dim=0)  # (places,)
    torch.testing.assert_close(often, often.flip(0), atol=0.03, rtol=0)
    assert often[0] > 0.02  # the first frame, the lowest band


def test_masks_do_not_count_padding():
    torch.manual_seed(0)
    lengths = torch.tensor([40, 15, 3]).repeat(500)
    hidden = random_mask(torch.randn(1_500, 40, 30), 1, 12, lengths)[:, :, 0]  # (batch, frames)
    assert not (hidden & padding_mask(lengths, 40)).any()
    widths = hidden.sum(dim=1).view(500, 3).float().mean(dim=0)
    torch.testing.assert_close(widths, torch.tensor([6.0, 6.0, 1.5]), atol=0.5, rtol=0)


def test_masked_values_become_the_mean_of_their_band():
    torch.manual_seed(0)
    lengths = torch.tensor([40, 25])
    mels = torch.randn(2, 40, 30).masked_fill(padding_mask(lengths, 40)[:, :, None], -20.0)
    batch = augment(Batch(mels, lengths, torch.tensor([0, 1])), 40, replace(TRAIN, freq_mask=10, time_mask=10))
    for i, length in enumerate(lengths.tolist()):
        mean = mels[i, :length].mean(dim=0)  # of each band
        changed = batch.mels[i] != mels[i]
        assert 0 < changed.sum() < changed.numel()
        torch.testing.assert_close(batch.mels[i][changed], mean.expand(40, 30)[changed])


def test_a_batch_passes_as_it_is_where_nothing_is_asked_for():
    mels = torch.randn(2, 40, 30)
    batch = augment(Batch(mels, torch.tensor([40, 40]), torch.tensor([0, 1])), 40, TRAIN)
    assert batch.mels is mels and batch.lengths is None


def test_an_utterance_is_played_faster_or_slower():
    torch.manual_seed(0)
    width = frames_to_cut(50, 0.2)
    ramp = torch.arange(width, dtype=torch.float32)[None, :, None].expand(2_000, width, 1)
    played = speed_perturb(Batch(ramp, None, torch.zeros(2_000, dtype=torch.long)), 50, 0.2).mels[..., 0]
    slopes = played.diff(dim=1)
    torch.testing.assert_close(slopes, slopes[:, :1].expand_as(slopes), atol=1e-3, rtol=0)
    assert slopes.min() == pytest.approx(0.8, abs=0.01) and slopes.max() == pytest.approx(1.2, abs=0.01)
    assert played.max() <= width - 1


def test_lengths_follow_the_speed():
    torch.manual_seed(0)
    width = frames_to_cut(50, 0.2)
    lengths = torch.full((2_000,), 30)
    mels = torch.arange(width, dtype=torch.float32)[None, :, None].expand(2_000, width, 1)
    played = speed_perturb(Batch(mels, lengths, torch.zeros(2_000, dtype=torch.long)), 50, 0.2)
    last = played.mels[torch.arange(2_000), played.lengths - 1, 0]  # the place of the last frame that counts
    assert last.max() <= 29.01 and last.min() > 29 - 1.3
    full = speed_perturb(Batch(mels, torch.full((2_000,), width), torch.zeros(2_000, dtype=torch.long)), 50, 0.2)
    assert (full.lengths == 50).all()


def test_the_final_steps_have_longer_segments_and_validation_has_not(corpus):
    config = EVERYTHING.train
    training, validation, _ = get_dataloader(corpus, config)
    widths = [batch.mels.shape[1] for batch in training]
    assert widths == [frames_to_cut(32, 0.1)] * 16 + [frames_to_cut(48, 0.1)] * 8
    assert {batch.mels.shape[1] for batch in validation} == {32}
    for first in (5, 20):
        later = get_dataloader(corpus, config, first)[0]
        for ours, theirs in zip(list(training)[first:], later, strict=True):
            assert torch.equal(ours.mels, theirs.mels) and torch.equal(ours.labels, theirs.labels)


def test_with_everything_on_a_stopped_run_goes_on_as_if_nothing_had_been(corpus, tmp_path):
    whole, parts = (Run.create(tmp_path / name, EVERYTHING, corpus) for name in ("whole", "parts"))
    state = train(whole, corpus)

    def stop(row):
        raise StopTraining

    assert train(parts, corpus, callbacks=[stop]).step == 8
    torch.manual_seed(12345)
    assert train(parts, corpus, callbacks=[stop]).step == 16  # where the last phase begins
    train(parts, corpus)
    saved = [run.load_resume() for run in (whole, parts)]
    assert_equal(saved[0]["model"], saved[1]["model"])
    assert_equal(saved[0]["average"], saved[1]["average"])
    assert_equal(weights(whole), weights(parts))
    assert not torch.equal(saved[0]["average"]["prenet.convolution.weight"], saved[0]["model"]["prenet.convolution.weight"])
    assert state.eval_model is state.ema.module
    assert whole.metrics()[-1]["valid_accuracy"] > 1 / 3


def test_what_is_kept_is_the_average(corpus, tmp_path):
    preset = EVERYTHING.override({"train.valid_steps": 24})
    run = Run.create(tmp_path / "run", preset, corpus)
    state = train(run, corpus)
    assert_equal(weights(run), {name: tensor.contiguous() for name, tensor in state.ema.module.state_dict().items()})
    run.load_model()


def test_the_average_is_the_one_of_the_textbook():
    preset = Preset(MODEL, replace(TRAIN, ema=0.8))
    state = TrainState(preset, CPU)
    step = TrainStep(preset, state)
    expected = state.model.prenet.weight.detach().clone()
    batch = Batch(torch.randn(8, 32, 40), torch.full((8,), 32), torch.arange(8) % 3)
    for n in range(1, 31):
        step(batch)
        decay = min(0.8, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * state.model.prenet.weight.detach()
    torch.testing.assert_close(state.ema.module.prenet.weight, expected)


def test_a_captured_step_reads_the_margin_anew():
    preset = Preset(replace(EVERYTHING.model, dropout=0.0, attention_dropout=0.0), EVERYTHING.train)
    preset = preset.override({"train.speed": 0.0, "train.freq_mask": 0, "train.time_mask": 0, "train.learning_rate": 0.0})
    batch = Batch(torch.randn(8, 32, 40), torch.full((8,), 32), torch.arange(8) % 3)
    losses = []
    for capture in (None, replayed):
        captured = TrainStep(preset, TrainState(preset, CPU), capture=capture)
        losses.append([])
        for _ in range(20):
            losses[-1].append(float(captured(batch)[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][9] > losses[0][3] + 1  # with a learning rate of 0 only the margin moves it


def test_training_and_validation_report_no_margin(corpus, tmp_path):
    """The loss in metrics.jsonl of validation is plain cross-entropy; with a margin of 1.5 it would be above 30."""
    settings = {"train.margin": 1.5, "train.margin_ramp_steps": 0, "train.total_steps": 8}
    preset = EVERYTHING.override(settings | {"train.final_steps": 0, "train.final_margin": 0.0})
    run = Run.create(tmp_path / "run", preset, corpus)
    train(run, corpus)
    row = run.metrics()[-1]
    assert row["train_loss"] > 5 * row["valid_loss"]


def test_global_normalisation_is_that_of_the_training_set_and_saved_with_the_run(corpus, tmp_path):
    run = Run.create(tmp_path / "run", Preset(replace(MODEL, input_norm="global"), replace(TRAIN, ema=0.9)), corpus)
    train(run, corpus, CPU)
    training, _ = split_utterances(corpus.labelled, run.preset.train)
    frames = torch.from_numpy(np.concatenate([corpus.labelled.mel(int(i)) for i in training]))  # (frames, 40)
    saved = run.load_model().eval()
    torch.testing.assert_close(saved.input_mean, frames.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(saved.input_std, frames.std(0, unbiased=False), atol=1e-3, rtol=1e-3)
    plain = Classifier(MODEL).eval()
    plain.load_state_dict({name: value for name, value in saved.state_dict().items() if not name.startswith("input_")})
    mels = frames[None, :50]  # (1, 50, 40)
    torch.testing.assert_close(saved(mels), plain((mels - saved.input_mean) / saved.input_std))
