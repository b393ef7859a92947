"""The kit's dropout against PyTorch's: the same fraction of zeros, the same scale, gradients through the same mask."""

import pytest
import torch
from torch import nn

from speaker_lib import Classifier, ModelConfig
from speaker_lib.models.transformer import Dropout, SelfAttention, dropout


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
@pytest.mark.parametrize("p", [0.0, 1e-9], ids=["fused", "by hand"])
def test_attention_is_pytorchs_own(padded, p):
    """In evaluation it is PyTorch's fused kernel; in training with dropout on a CPU it is written out (here p drops nothing)."""
    torch.manual_seed(0)
    attention, reference = SelfAttention(24, 4, dropout=p), nn.MultiheadAttention(24, 4, batch_first=True)
    reference.load_state_dict(attention.state_dict())
    x = torch.randn(3, 11, 24)
    padding = torch.arange(11) >= torch.tensor([11, 7, 2])[:, None] if padded else None  # (batch, frames)
    results = []
    for attend in (attention, lambda x, padding: reference(x, x, x, padding, need_weights=False)[0]):
        hidden = x.clone().requires_grad_()
        out = attend(hidden, padding)  # (batch, frames, d_model)
        (gradient,) = torch.autograd.grad(out.square().sum(), hidden)
        results.append((out, gradient))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = reference(x, x, x, average_attn_weights=False)[1]
    torch.testing.assert_close(attention.weights(x), weights, atol=1e-6, rtol=1e-5)


def test_attention_drops_in_training_alone():
    attention, x = SelfAttention(24, 4, dropout=0.5), torch.randn(3, 11, 24)
    assert not torch.allclose(attention(x), attention(x), atol=1e-2)
    assert torch.equal(attention.eval()(x), attention(x))


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
