from dataclasses import replace

import pytest
import torch

from speaker_lib import PRESETS, Classifier, ModelConfig
from speaker_lib.models.classifier import count_parameters
from speaker_lib.models.pooling import mean_pooling, padding_mask

SMALL = ModelConfig(d_model=32, nhead=4, num_layers=2, dim_feedforward=48, n_speakers=7)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("baseline", 125_896),
        ("baseline_relu", 125_896),
        ("seed_tuned_as_run", 1_907_032),
        ("seed_tuned", 8_484_952),
        ("tuned", 8_485_976),
    ],
)
def test_parameters_are_as_many_as_published(preset, expected):
    assert count_parameters(Classifier(PRESETS[preset].model)) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_of_every_preset_gets_a_gradient(preset):
    torch.manual_seed(0)
    model = Classifier(replace(PRESETS[preset].model, n_speakers=5))
    model(torch.randn(2, 16, 40)).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []  # in the report's model, five of six layers would be listed here


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(norm, activation, training):
    torch.manual_seed(0)
    model = Classifier(replace(SMALL, norm=norm, activation=activation, dropout=0.0, attention_dropout=0.0)).train(training)
    lengths = torch.tensor([50, 17, 33, 1])
    mels = torch.randn(4, 50, 40)
    padded = mels.masked_fill(padding_mask(lengths, 50)[:, :, None], -20.0)
    together = model(padded, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = model(mels[i : i + 1, :length])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    unmasked = model(padded)
    assert (unmasked[1] - together[1]).abs().max() > 1e-3  # without the mask it would


def test_mean_pooling_leaves_padding_out():
    hidden = torch.arange(12.0).reshape(1, 4, 3)
    assert mean_pooling(hidden, None).tolist() == [[4.5, 5.5, 6.5]]
    padding = padding_mask(torch.tensor([2]), 4)
    hidden[0, 2:] = torch.nan
    assert padding.tolist() == [[False, False, True, True]]
    assert mean_pooling(hidden, padding).tolist() == [[1.5, 2.5, 3.5]]


def test_settings_reach_the_layers():
    model = Classifier(replace(SMALL, dropout=0.3, attention_dropout=0.2, activation="relu", norm="pre"))
    assert len(model.encoder.layers) == 2
    for layer in model.encoder.layers:
        assert layer.norm_first and layer.dropout.p == 0.3 and layer.self_attn.dropout == 0.2
    assert isinstance(model.pred_layer[1], torch.nn.ReLU)
