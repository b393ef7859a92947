"""Shapes, attention weights and gradients inside a classifier, and their tables and figures."""

from dataclasses import replace

import matplotlib.image
import pytest
import torch

from speaker_lib import PRESETS, Classifier, ModelConfig, TrainConfig
from speaker_lib.models.cost import cost_of, parameters_of
from speaker_lib.models.inspect import attention_maps, head_signals, loudness_correlation, utterances_reached
from speaker_lib.models.summary import head_table, layer_table
from speaker_lib.plots.architecture import architecture_figure, model_parts
from speaker_lib.plots.model import activation_figure, attention_figure, cost_figure, schedule_figure, speed_figure
from speaker_lib.plots.runs import confusion_figure
from speaker_lib.plots.speech import lengths_figure, utterance_figure, voices_figure
from speaker_lib.plots.style import WIDTH, description, save_figure
from speaker_lib.sound.features import mel_edges

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
    assert "encoder layer 2" in table and "encoder norm" in table and "(2, 7, 16)" in table


@pytest.mark.parametrize("encoder", ["transformer", "conformer"])
def test_a_layer_that_is_fed_the_wrong_way_round_reaches_other_utterances(encoder):
    layer = Classifier(replace(DEEP, encoder=encoder)).eval().encoder.layers[0]
    hidden = torch.randn(3, 20, 16)
    assert utterances_reached(layer, hidden) == 1
    assert utterances_reached(lambda hidden: layer(hidden.transpose(0, 1)).transpose(0, 1), hidden) == 3
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
        "attention": attention_figure(maps[0], torch.randn(20, 40), "a title"),
        "costs": cost_figure({"baseline": PRESETS["baseline"].model, "tuned": PRESETS["tuned"].model}),
        "speeds": speed_figure({"baseline": PRESETS["baseline"].model}, 44, 1e12, "a GPU"),
        "schedule": schedule_figure(TrainConfig()),
        "confusion": confusion_figure(torch.randn(40, 5), torch.arange(40) % 5, tuple("abcde")),
        "voices": voices_figure([mel[:, 0], mel[:, 1]], [mel, mel], ["one", "two"]),
        "utterance": utterance_figure(mel, 100),
        "architecture": architecture_figure(PRESETS["tuned"], changed_from=PRESETS["baseline"]),
        "lengths": lengths_figure(torch.randint(100, 900, (50,)).numpy(), 128, "invented"),
    }
    assert [name for name, figure in figures.items() if not is_drawn(figure, tmp_path / f"{name}.png")] == []
    assert [name for name, figure in figures.items() if len(description(figure)) < 40] == []
    assert {figure.get_figwidth() for figure in figures.values()} == {WIDTH}
    assert "head 4" in [axes.get_title() for axes in figures["attention"].axes]
    assert "a segment: 128 frames, 1.28 s" in figures["lengths"].axes[0].get_legend().get_texts()[0].get_text()


def colour_of_line(axes, label: str) -> str:
    return next(line.get_color() for line in axes.lines if line.get_label() == label)


def test_a_speaker_keeps_its_colour_and_time_its_axis(signals):
    mel = torch.randn(300, 40).numpy()
    voices = voices_figure([mel[:, 0]] * 2, [mel, mel], ["one", "two"])
    (above, right_above, below, *_), moved = voices.axes, utterance_figure(mel, 100, other=mel).axes[1]
    assert above.get_xlim() == below.get_xlim() and above.get_shared_x_axes().joined(above, below)
    assert above.get_position().width == pytest.approx(right_above.get_position().width)
    assert above.lines[0].get_color() == colour_of_line(moved, "this segment") == colour_of_line(moved, "whole utterance")
    assert right_above.lines[0].get_color() == colour_of_line(moved, "the other speaker")


def test_hertz_stand_beside_the_bands_they_belong_to():
    axes = voices_figure([torch.zeros(900).numpy()], [torch.randn(300, 40).numpy()], ["one"]).axes[1]
    (hertz,) = axes.child_axes
    centres = mel_edges()[1:-1]
    for tick, label in zip(hertz.get_yticks(), hertz.get_yticklabels(), strict=True):
        value = float(label.get_text().replace(",", ""))
        assert centres[int(tick)] <= value <= centres[int(tick) + 1]
    other_bands = voices_figure([torch.zeros(900).numpy()], [torch.randn(300, 20).numpy()], ["one"]).axes[1]
    assert other_bands.child_axes == []


def test_attention_has_its_utterance_above_on_the_same_axis():
    maps, mel = torch.rand(3, 20, 20), torch.randn(20, 40)
    maps[2] = maps[0]
    figure = attention_figure(maps, mel, "a title")
    top, image = figure.axes[0], figure.axes[3]
    assert (top.images[0].get_array() == mel.T.numpy()).all() and top.get_xlim() == image.get_xlim()
    assert "heads 1 and 3 attend to nearly the same frames" in figure.get_suptitle()


def test_costs_have_one_colour_that_darkens_and_equal_precision():
    models = {str(width): replace(PRESETS["baseline"].model, d_model=width) for width in (80, 160, 512)}
    axes = cost_figure(models).axes[1]
    brightness = [sum(bar.get_facecolor()[:3]) for bar in axes.patches]
    assert brightness == sorted(brightness, reverse=True) and len(set(brightness)) == 3
    assert [len(text.get_text().replace(".", "")) for text in axes.texts] == [3, 3, 3]


def test_work_per_second_is_steps_times_work_beside_the_peak():
    models = {"baseline": PRESETS["baseline"].model, "tuned": PRESETS["tuned"].model}
    (axes,) = speed_figure(models, 44, peak=8.1e12, peak_name="a GPU").axes
    rates = [44 * cost_of(model).flops / 1e9 for model in models.values()]
    assert [text.get_text() for text in axes.texts] == [f"{rate:,.0f}" for rate in rates]
    assert axes.lines[0].get_xdata()[0] == 8_100 and axes.get_legend().get_texts()[0].get_text() == "a GPU: 8,100"


@pytest.mark.parametrize("name", PRESETS)
def test_the_drawing_of_a_model_has_its_shapes_and_all_its_parameters(name, tmp_path):
    preset = PRESETS[name].override({"model.n_speakers": 7})
    parts = model_parts(preset)
    assert sum(part.parameters[1] for part in parts) == parameters_of(preset.model)
    model, found = Classifier(preset.model).eval(), {}
    for part, module in (("prenet", model.prenet), ("encoder", model.encoder), ("pooling", model.pooling_norm)):
        module.register_forward_hook(lambda _, inputs, output, part=part: found.update({part: tuple(output.shape[1:])}))
    found["head"] = tuple(model(torch.randn(2, 128, 40)).shape[1:])
    assert {part.name: part.shape for part in parts} == found
    figure = architecture_figure(preset)
    figure.savefig(tmp_path / "model.png")
    written = [text.get_text() for text in figure.axes[0].texts]
    assert not any("→" in text for text in [*written, figure.get_suptitle()]) and str(parts[0].shape) in written


def test_what_changes_is_marked_in_the_drawing():
    figure = architecture_figure(PRESETS["tuned"], changed_from=PRESETS["baseline"])
    texts = {text.get_text(): text for text in figure.axes[0].texts}
    for changed in (
        "d_model 80 → 512",
        "nhead 2 → 16",
        "num_layers 1 → 6",
        "norm post → pre",
        "sigmoid → relu",
        "3,280 → 20,992",
    ):
        assert texts[changed].get_weight() == "bold"
    assert texts["dim_feedforward 256"].get_weight() == "normal"
    assert "125,896 → 8,485,976" in figure.get_suptitle()
    assert "d_model from 80 to 512" in description(figure)


def test_weights_that_follow_loudness_correlate_with_it():
    mel = torch.linspace(-8, 2, 30)[:, None] + torch.zeros(30, 40)
    assert loudness_correlation(mel, torch.arange(30.0) ** 3) == pytest.approx(1.0)
    assert loudness_correlation(mel, -torch.arange(30.0)) == pytest.approx(-1.0)
    assert loudness_correlation(mel, torch.full((30,), 1 / 30)) == 0.0
    weights = torch.rand(30).round(decimals=1)  # with ties
    scipy_stats = pytest.importorskip("scipy.stats")
    assert loudness_correlation(mel, weights) == pytest.approx(scipy_stats.spearmanr(mel[:, 0], weights)[0])


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
    assert axes.images[0].get_array().mask.diagonal().all()  # right answers are no colour of the scale
    assert "of all 6 utterances 2 are mistaken" in axes.get_title() and "a is taken for b: 2 times" in description(figure)
