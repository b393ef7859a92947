"""The kit's dropout against PyTorch's: the same fraction of zeros, the same scale, gradients through the same mask."""

import pytest
import torch
from torch import nn

from speaker_lib import Classifier, ModelConfig
from speaker_lib.models.transformer import Dropout, EncoderLayer, SelfAttention, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_fraction_p_is_dropped_and_the_rest_is_scaled(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 999, requires_grad=True)
    y = dropout(x, p)
    dropped = (y == 0).float()
    assert float(dropped.mean()) == pytest.approx(p, abs=3e-3) and float(y.detach().mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.allclose(y[y != 0], torch.tensor(1 / (1 - p)), rtol=1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, y)
    lanes = dropped.flatten()[: 4 * 249_750].view(-1, 4).T  # (4, draws), the numbers that one draw decides over
    assert torch.corrcoef(lanes).fill_diagonal_(0).abs().max() < 0.01


@pytest.mark.parametrize("shape", [(0, 4), (1,), (3, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_shape_and_type_comes_back_as_it_went(shape, dtype):
    y = dropout(torch.ones(shape, dtype=dtype), 0.25)
    assert y.shape == shape and y.dtype == dtype and y.isfinite().all()
    assert dropout(torch.ones(100), 1 - 1e-9).isfinite().all()


def test_the_masks_come_from_the_global_stream():
    torch.manual_seed(3)
    one, other = dropout(torch.ones(50), 0.5), dropout(torch.ones(50), 0.5)
    assert not torch.equal(one, other)
    torch.manual_seed(3)
    assert torch.equal(dropout(torch.ones(50), 0.5), one)


def test_in_evaluation_and_at_zero_nothing_is_dropped():
    x = torch.ones(100)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_pytorchs_own(padded):
    """With a probability too small to drop anything, a CPU computes in training what PyTorch does in evaluation."""
    torch.manual_seed(0)
    attention, x = SelfAttention(24, 4, dropout=1e-9), torch.randn(11, 3, 24)
    padding = torch.zeros(3, 11).masked_fill(torch.arange(11) >= torch.tensor([11, 7, 2])[:, None], -torch.inf)
    arguments = (x, x, x, padding if padded else None)
    expected, _ = attention.eval()(*arguments, need_weights=False)
    found, _ = attention.train()(*arguments, need_weights=False)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    dropping = SelfAttention(24, 4, dropout=0.5)
    dropping.load_state_dict(attention.state_dict())
    assert not torch.allclose(dropping(*arguments, need_weights=False)[0], expected, atol=1e-2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_what_attention_does_not_support_is_refused_in_every_mode(training, need_weights):
    """It had an effect in evaluation and none in training on a CPU."""
    attention, x = SelfAttention(24, 4, dropout=0.5).train(training), torch.randn(11, 3, 24)
    causal = nn.Transformer.generate_square_subsequent_mask(11)
    for unsupported in ({"attn_mask": causal}, {"attn_mask": causal, "is_causal": True}, {"is_causal": True}):
        with pytest.raises(ValueError, match="causal"):
            attention(x, x, x, need_weights=need_weights, **unsupported)
    for others in ((x, torch.randn(5, 3, 24), torch.randn(5, 3, 24)), (x, x, torch.randn(11, 3, 24)), (x[:, 0],) * 3):
        with pytest.raises(ValueError, match="to itself"):
            attention(*others, need_weights=need_weights)
    with pytest.raises(TypeError):
        attention(x, x, x, need_weights=need_weights, window=5)
    attention(x, x, x, attn_mask=None, is_causal=False, key_padding_mask=None, need_weights=False)


def test_an_encoder_layer_refuses_a_causal_mask_in_training_too():
    layer, x = EncoderLayer(ModelConfig(d_model=24, nhead=4)), torch.randn(11, 3, 24)
    causal = nn.Transformer.generate_square_subsequent_mask(11)
    for training in (True, False):
        with pytest.raises(ValueError, match="causal"):
            layer.train(training)(x, src_mask=causal, is_causal=True)


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_mask_of_bools_is_the_mask_of_minus_infinity(need_weights):
    attention, x = SelfAttention(24, 4, dropout=0.5), torch.randn(11, 3, 24)
    padding = torch.arange(11) >= torch.tensor([11, 7, 2])[:, None]  # (batch, frames)
    found = []
    for mask in (padding, torch.zeros(3, 11).masked_fill(padding, -torch.inf)):
        torch.manual_seed(0)
        found.append(attention(x, x, x, key_padding_mask=mask, need_weights=need_weights)[0])
    assert torch.equal(*found)


def test_a_seed_gives_the_weights_that_pytorchs_own_layers_get_from_it():
    config = ModelConfig(d_model=24, nhead=4, dim_feedforward=32)
    torch.manual_seed(7)
    model = Classifier(config)
    torch.manual_seed(7)
    prenet, layer = nn.Linear(40, 24), nn.TransformerEncoderLayer(24, 4, 32)
    head = nn.Linear(24, 24)
    assert torch.equal(model.prenet.weight, prenet.weight) and torch.equal(model.pred_layer[0].weight, head.weight)
    for name, weight in layer.state_dict().items():
        assert torch.equal(model.encoder.layers[0].state_dict()[name], weight), name


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_without_dropout_the_encoder_is_pytorchs_own(norm):
    config = ModelConfig(d_model=24, nhead=4, num_layers=2, dim_feedforward=32, dropout=0.0, attention_dropout=0.0, norm=norm)
    model, mels = Classifier(config), torch.randn(5, 9, 40)
    layer = nn.TransformerEncoderLayer(24, 4, 32, dropout=0.0, norm_first=norm == "pre")
    plain = nn.TransformerEncoder(layer, 2, nn.LayerNorm(24) if norm == "pre" else None, enable_nested_tensor=False)
    plain.load_state_dict(model.encoder.state_dict())
    pooled = plain(model.prenet(mels).transpose(0, 1)).mean(dim=0)
    torch.testing.assert_close(model(mels), model.pred_layer(pooled), atol=1e-5, rtol=1e-5)
