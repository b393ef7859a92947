"""All parts of a model mask padding, and no utterance influences another."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speaker_lib import Classifier, ModelConfig
from speaker_lib.models.conformer import ConformerLayer
from speaker_lib.models.encoders import Encoder
from speaker_lib.models.pooling import AttentiveStatisticsPooling, SelfAttentionPooling, frame_weights, make_pooling, padding_mask
from speaker_lib.utils.errors import ConfigError

from .reference import conformer as reference

SMALL = ModelConfig(
    d_model=16, nhead=2, num_layers=2, dim_feedforward=24, kernel_size=5, n_speakers=7, dropout=0.0, attention_dropout=0.0
)
ENCODERS = ("transformer", "conformer", "mfa_transformer", "mfa_conformer")
POOLINGS = ("mean", "self_attention", "attentive_statistics")
HEADS = ({}, {"head": "linear"}, {"head": "cosine", "d_embedding": 12})
# Not every combination, which would be too many: each encoder with each stride, each pooling with each head.
BELOW = [
    replace(SMALL, encoder=encoder, subsampling=stride, norm=norm)
    for encoder, stride, norm in itertools.product(ENCODERS, (1, 2, 3), ("post", "pre"))
    if norm == "post" or encoder == "transformer"
] + [replace(SMALL, input_norm=norm) for norm in ("mean", "global")]
ABOVE = [
    replace(SMALL, encoder=encoder, pooling=pooling, pooling_norm=norm, **head)
    for encoder, pooling, norm, head in itertools.product(ENCODERS[::2], POOLINGS, ("none", "batch"), HEADS)
]


def name_of(config: ModelConfig) -> str:
    """The settings in which it differs from the small one."""
    return "-".join(str(value) for name, value in vars(config).items() if value != getattr(SMALL, name)) or "plain"


def of(config: ModelConfig) -> Classifier:
    """In evaluation, with running averages that are not those of a new model."""
    torch.manual_seed(0)
    model = Classifier(config)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 30, 40) * 2 - 1)
    return model.eval()


@pytest.mark.parametrize("config", BELOW + ABOVE, ids=name_of)
def test_a_batch_gives_what_each_utterance_gives_alone(config):
    model, lengths = of(config), torch.tensor([50, 17, 33, 3])
    mels = torch.randn(4, 50, 40)
    padded = mels.masked_fill(padding_mask(lengths, 50)[:, :, None], -20.0)
    with torch.inference_mode():
        together = model(padded, lengths)
        for i, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(together[i : i + 1], model(mels[i : i + 1, :length]), atol=1e-5, rtol=1e-5)
        assert (model(padded)[1] - together[1]).abs().max() > 1e-4  # without the mask it would not


@pytest.mark.parametrize("pooling", POOLINGS[1:])
def test_frames_are_summed_in_full_precision_under_autocast(pooling):
    torch.manual_seed(0)
    part, hidden = make_pooling(replace(SMALL, pooling=pooling)), 5.0 + torch.randn(4, 30, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        low = part(hidden, None)
        weights = frame_weights(part.score(hidden), None)
    assert low.dtype == torch.float32
    mean = (weights.double()[:, :, None] * hidden.double()).sum(dim=1)
    torch.testing.assert_close(low[:, :16].double(), mean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", BELOW + ABOVE, ids=name_of)
def test_every_parameter_gets_a_gradient_and_utterances_do_not_mix(config):
    model, mels = of(config), torch.randn(3, 20, 40, requires_grad=True)
    model(mels)[0].sum().backward()
    assert mels.grad[0].abs().sum() > 0 and mels.grad[1:].abs().sum() == 0
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_swapped_axes_are_caught_by_the_test_above():
    """Several public solutions give (batch, frames) to an encoder for (frames, batch), or the other way round."""
    model, mels = of(replace(SMALL, encoder="conformer")), torch.randn(3, 20, 40, requires_grad=True)
    hidden = model.prenet(mels)  # (batch, frames, d_model)
    for layer in model.encoder.layers:
        hidden = layer(hidden.transpose(0, 1)).transpose(0, 1)  # (batch, frames, d_model)
    hidden[0].sum().backward()
    assert mels.grad[1:].abs().sum() > 0


def test_the_conformer_computes_what_torchaudios_does():
    kept_numbers = json.loads((Path(__file__).parent / "reference" / "conformer.json").read_text())
    config = ModelConfig(
        d_model=reference.D_MODEL,
        nhead=reference.HEADS,
        dim_feedforward=reference.HIDDEN,
        kernel_size=reference.KERNEL,
        num_layers=reference.LAYERS,
        encoder="conformer",
    )
    encoder = Encoder(config).eval()
    for layer in encoder.layers:
        reference.fill(layer, list(reference.NAMES.values()))
        named = set(reference.NAMES.values()) | {"convolution.batch_norm.num_batches_tracked"}
        assert named == set(layer.state_dict())
    with torch.inference_mode():
        answers = encoder(reference.frames())
    torch.testing.assert_close(answers, torch.tensor(kept_numbers["answers"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", ["transformer", "conformer"])
def test_mfa_concatenates_the_outputs_of_all_layers(encoder):
    torch.manual_seed(0)
    config = replace(SMALL, encoder=f"mfa_{encoder}")
    mfa, plain = Encoder(config).eval(), Encoder(replace(config, encoder=encoder)).eval()
    plain.layers.load_state_dict(mfa.layers.state_dict())
    hidden = torch.randn(2, 9, 16)
    with torch.inference_mode():
        first = plain.layers[0](hidden)
        expected = mfa.norm(torch.cat([first, plain(hidden)], dim=-1))
        torch.testing.assert_close(mfa(hidden), expected)


@pytest.mark.parametrize("encoder", ["transformer", "conformer"])
def test_the_order_of_the_frames_does_not_change_the_logits(encoder):
    """The Conformer's kernel is one frame wide here, because a wider one depends on the order."""
    mels, model = torch.randn(1, 20, 40), of(replace(SMALL, encoder=encoder, kernel_size=1))
    torch.testing.assert_close(model(mels), model(mels.flip(1)), atol=1e-5, rtol=1e-5)


def test_cmn_removes_a_constant_offset():
    mels, colour = torch.randn(1, 20, 40), torch.randn(40)
    for norm in ("none", "mean"):
        model = of(replace(SMALL, input_norm=norm))
        assert torch.allclose(model(mels), model(mels + colour), atol=1e-4) == (norm == "mean")


def test_equal_scores_make_the_mean_and_the_deviation():
    hidden, padding = torch.randn(2, 30, 6), padding_mask(torch.tensor([30, 12]), 30)
    pooling = AttentiveStatisticsPooling(6)
    torch.nn.init.zeros_(pooling.score[-1].weight)
    attentive = SelfAttentionPooling(6)
    torch.nn.init.zeros_(attentive.score.weight)
    for i, length in enumerate((30, 12)):
        real = hidden[i, :length]
        expected = torch.cat([real.mean(0), real.std(0, correction=0)])
        torch.testing.assert_close(pooling(hidden, padding)[i], expected)
        torch.testing.assert_close(attentive(hidden, padding)[i], real.mean(0))


def test_a_high_score_makes_a_frame_the_whole_utterance():
    hidden, pooling = torch.randn(1, 10, 6), SelfAttentionPooling(6)
    with torch.no_grad():
        pooling.score.weight.copy_(50 * hidden[:, 4] / hidden[:, 4].norm())
        winner = int((hidden[0] @ pooling.score.weight[0]).argmax())
        torch.testing.assert_close(pooling(hidden, None)[0], hidden[0, winner], atol=1e-2, rtol=1e-2)


def test_a_cosine_head_ignores_the_length_of_its_vectors():
    model = of(replace(SMALL, head="cosine"))
    embedding = model.embed(torch.randn(3, 20, 40))
    layer = model.pred_layer[-1]
    logits = layer(embedding)
    torch.testing.assert_close(layer(7 * embedding), logits)
    assert logits.abs().max() <= 30.0 + 1e-4
    with torch.no_grad():
        layer.weight *= torch.rand(7, 1) + 0.5
    torch.testing.assert_close(layer(embedding), logits)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kernel_size": 4}, "choose an odd number"),
        ({"d_embedding": 8}, "choose model.head = linear or cosine"),
        ({"encoder": "lstm"}, "choose one of transformer, conformer, mfa_transformer, mfa_conformer"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        replace(SMALL, **settings)


def test_a_conformer_layer_can_be_used_alone():
    layer = ConformerLayer(SMALL).eval()
    assert layer(torch.randn(9, 2, 16)).shape == (9, 2, 16)
