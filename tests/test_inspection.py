"""Shapes, attention weights and gradients inside a classifier, and their tables and figures."""

from dataclasses import replace

import matplotlib.image
import pytest
import torch

from speaker_lib import PRESETS, Classifier, ModelConfig, TrainConfig
from speaker_lib.models.cost import parameters_of
from speaker_lib.models.inspect import attention_maps, head_signals, utterances_reached
from speaker_lib.models.summary import head_table, layer_table
from speaker_lib.plots import confusion_figure, save_figure
from speaker_lib.plots.model import activation_figure, attention_figure, cost_figure, schedule_figure
from speaker_lib.plots.speech import lengths_figure, utterance_figure, voices_figure

DEEP = ModelConfig(d_model=16, nhead=4, num_layers=2, dim_feedforward=16, activation="relu", norm="pre", n_speakers=5)


def is_drawn(figure, path) -> bool:
    save_figure(figure, path)
    drawn = all(axes.lines or axes.patches or axes.images or axes.collections for axes in figure.axes)
    return drawn and bool(matplotlib.image.imread(path).std() > 0.02)


def test_the_baseline_has_a_line_per_layer():
    table = layer_table(Classifier(PRESETS["baseline"].model), torch.zeros(32, 128, 40))
    assert "(32, 600)" in table and table.splitlines()[-1].split() == ["all", "125,896"]
    assert sum(int(line.split()[-1].replace(",", "")) for line in table.splitlines()[2:-1]) == 125_896


def test_a_pre_norm_model_shows_its_final_norm_and_every_layer():
    table = layer_table(Classifier(DEEP), torch.zeros(2, 7, 40))
    assert "encoder layer 2" in table and "encoder norm" in table and "(7, 2, 16)" in table


@pytest.mark.parametrize("encoder", ["transformer", "conformer"])
def test_a_layer_that_is_fed_the_wrong_way_round_reaches_other_utterances(encoder):
    layer = Classifier(replace(DEEP, encoder=encoder)).eval().encoder.layers[0]
    hidden = torch.randn(3, 20, 16)
    assert utterances_reached(layer, hidden) == 3
    assert utterances_reached(lambda hidden: layer(hidden.transpose(0, 1)).transpose(0, 1), hidden) == 1
    assert utterances_reached(lambda hidden: hidden + hidden.roll(1, dims=0), hidden) == 2
    assert hidden.grad is None and not hidden.requires_grad


def test_the_parts_of_a_rich_model_add_up():
    model = Classifier(PRESETS["laptop_best"].model)
    table = layer_table(model, torch.zeros(2, 12, 40))
    *parts, total = (int(line.split()[-1].replace(",", "")) for line in table.splitlines()[2:])
    assert sum(parts) == total == parameters_of(model.config)


def test_attention_maps_are_what_the_model_attends_with():
    torch.manual_seed(0)
    model, mel = Classifier(DEEP), torch.randn(9, 40)
    maps = attention_maps(model, mel)
    assert maps.shape == (2, 4, 9, 9) and torch.allclose(maps.sum(dim=-1), torch.ones(2, 4, 9), atol=1e-5)
    # By hand, for the first layer: softmax(q k / sqrt(d)) of the normed frames (Vaswani et al. 2017, equation 1).
    layer = model.encoder.layers[0]
    x = layer.norm1(model.prenet(mel))  # (frames, d_model)
    q, k, _ = (x @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    q, k = (part.view(9, 4, 4).transpose(0, 1) for part in (q, k))  # (heads, frames, d_model / heads)
    assert torch.allclose(maps[0], (q @ k.transpose(1, 2) / 2).softmax(dim=-1), atol=1e-5)


def test_looking_leaves_no_hook_behind():
    model = Classifier(DEEP)
    attention_maps(model, torch.randn(9, 40))
    layer_table(model, torch.randn(2, 9, 40))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.fixture
def signals():
    torch.manual_seed(0)
    model = Classifier(replace(DEEP, activation="sigmoid"))
    return model, head_signals(model, torch.randn(8, 12, 40), torch.arange(8) % 5)


def test_sigmoid_and_relu_get_the_same_inputs_and_give_their_own_slopes(signals):
    model, (sigmoid, relu) = signals
    assert (sigmoid.activation, relu.activation) == ("sigmoid", "relu")
    assert sigmoid.inputs.shape == (8 * 16,) and torch.equal(sigmoid.inputs, relu.inputs)
    s = sigmoid.inputs.sigmoid()
    assert torch.allclose(sigmoid.slopes, s * (1 - s), atol=1e-6) and sigmoid.slopes.max() <= 0.25
    assert torch.equal(relu.slopes, (relu.inputs > 0).float())
    outputs = relu.inputs.relu().view(8, 16)
    assert relu.output_spread == pytest.approx(float(outputs.std(dim=0).mean()))
    assert not any(p.grad is not None for p in model.parameters())  # the model itself stays as it was


def test_gradients_are_those_of_the_loss(signals):
    model, (sigmoid, _) = signals
    torch.manual_seed(0)
    Classifier(DEEP)  # draws what the fixture's model drew, so that the batch is the same
    mels, labels = torch.randn(8, 12, 40), torch.arange(8) % 5
    model.eval()
    torch.nn.functional.cross_entropy(model(mels), labels).backward()
    expected = torch.cat([p.grad.flatten() for p in model.prenet.parameters()]).norm()
    assert sigmoid.gradients["prenet"] == pytest.approx(float(expected), rel=1e-4)
    assert set(sigmoid.gradients) == {"prenet", "encoder 1", "encoder 2", "head, first", "head, last"}


def test_every_figure_is_drawn(signals, tmp_path):
    _, two = signals
    maps = attention_maps(Classifier(DEEP), torch.randn(20, 40))
    mel = torch.randn(300, 40).numpy()
    figures = {
        "activation": activation_figure(two, "a title"),
        "attention": attention_figure(maps[0], "a title"),
        "costs": cost_figure({"baseline": PRESETS["baseline"].model, "tuned": PRESETS["tuned"].model}),
        "schedule": schedule_figure(TrainConfig()),
        "confusion": confusion_figure(torch.randn(40, 5), torch.arange(40) % 5, tuple("abcde")),
        "voices": voices_figure([mel[:, 0], mel[:, 1]], [mel, mel], ["one", "two"]),
        "utterance": utterance_figure(mel, 100),
        "lengths": lengths_figure(torch.randint(100, 900, (50,)).numpy(), 128, "invented"),
    }
    assert [name for name, figure in figures.items() if not is_drawn(figure, tmp_path / f"{name}.png")] == []
    assert "head 4" in [axes.get_title() for axes in figures["attention"].axes]
    assert "a segment: 128 frames, 1.28 s" in figures["lengths"].axes[0].get_legend().get_texts()[0].get_text()


def test_the_head_table_has_a_line_per_activation():
    model = Classifier(replace(DEEP, activation="sigmoid"))
    table = head_table({"fresh": head_signals(model, torch.randn(8, 12, 40), torch.arange(8) % 5)})
    assert [line.split()[:2] for line in table.splitlines()[2:]] == [["fresh", "sigmoid"], ["fresh", "relu"]]


def test_the_confusion_figure_shows_who_is_mistaken_most():
    logits = torch.full((6, 4), -9.0)
    labels = torch.tensor([0, 0, 1, 1, 2, 3])
    logits[torch.arange(6), torch.tensor([1, 1, 1, 1, 2, 3])] = 9.0  # speaker a is taken for b, twice
    figure = confusion_figure(logits, labels, ("a", "b", "c", "d"), most=2)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {((1, 0), "2"), ((1, 1), "2")}
