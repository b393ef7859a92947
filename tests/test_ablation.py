"""Which change did it: the variants, their runs on disk, and sentences that follow from the numbers and from nothing else."""

import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from speaker_lib import PRESETS, Corpus, CorpusWriter, ModelConfig, Preset, Run, TrainConfig
from speaker_lib.experiments.ablation import (
    STEPS,
    Ablation,
    changes_between,
    paths,
    planned_variants,
    run_ablation,
    variants_of,
)
from speaker_lib.experiments.conclusions import (
    Gain,
    ablation_conclusions,
    guess_and_outcome,
    holm,
    marginal_gains,
    measuring,
)
from speaker_lib.experiments.seeds import AblationPlan, SeedResults
from speaker_lib.experiments.tables import ablation_table
from speaker_lib.models.cost import Cost, cost_of
from speaker_lib.models.summary import cost_table
from speaker_lib.plots.experiments import ablation_figure, measuring_figure
from speaker_lib.plots.style import CHANGES as CHANGES_COLOURS
from speaker_lib.plots.style import description, save_figure
from speaker_lib.utils.errors import ConfigError, RunError
from speaker_lib.utils.text import Sentences

CHANGES = changes_between(PRESETS["baseline"], PRESETS["tuned"])
WIDTH, HEADS, LAYERS, WORD = CHANGES
TRAIN = TrainConfig(batch_size=8, segment_len=32, warmup_steps=1, total_steps=6, valid_steps=3, save_steps=6)
SMALL = Preset(ModelConfig(d_model=8, nhead=1, dim_feedforward=8), TRAIN)
LARGE = Preset(replace(SMALL.model, d_model=16, nhead=2, num_layers=2, activation="relu", norm="pre"), TRAIN)


def test_the_report_s_changes_are_four_and_the_layers_bring_pre_norm():
    assert [change.name for change in CHANGES] == ["d_model", "nhead", "num_layers", "activation"]
    assert LAYERS.label == "num_layers 1 → 6, pre-norm" and dict(LAYERS.settings) == {"model.num_layers": 6, "model.norm": "pre"}


def test_all_changes_together_are_the_tuned_preset():
    variant = variants_of(CHANGES, sessions=False)[-1]
    assert variant.preset(PRESETS["baseline"]) == PRESETS["tuned"]


def test_every_variant_is_there_once():
    names = [variant.name for variant in variants_of(CHANGES, sessions=True)]
    assert len(names) == len(set(names)) == 12
    assert names[0] == "baseline" and names[-2:] == ["baseline-session", "d_model+nhead+num_layers+activation-session"]
    assert {"d_model", "nhead", "num_layers", "activation", "d_model+nhead", "num_layers+activation"} < set(names)


def test_a_difference_that_is_no_step_is_not_passed_over():
    tuned = PRESETS["tuned"].override({"model.dropout": 0.3})
    with pytest.raises(
        ConfigError, match=r'model\.dropout would change outside .*: give `steps=\(\*STEPS, \("model\.dropout",\)\)`'
    ):
        changes_between(PRESETS["baseline"], tuned)
    assert changes_between(PRESETS["baseline"], tuned, (*STEPS, ("model.dropout",)))[:4] == CHANGES


def test_a_step_that_is_added_is_trained_and_told_like_the_others(simulated, tmp_path):
    plan, steps = AblationPlan(replace(TRAIN, total_steps=1), seeds=(0,)), (("model.nhead",), ("model.dim_feedforward",))
    tuned = SMALL.override({"model.nhead": 2, "model.dim_feedforward": 16})
    ablation = run_ablation(SMALL, tuned, plan, Corpus.open(simulated), tmp_path / "ablation", workers=1, steps=steps)
    assert [change.label for change in ablation.changes] == ["nhead 1 → 2", "dim_feedforward 8 → 16"]
    assert ablation.of(ablation.changes[1:]) and "with all 2 changes" in ablation_conclusions(ablation)[0]


def test_where_each_speaker_has_one_recording_none_is_held_out(tmp_path):
    with CorpusWriter(tmp_path / "single", "noise") as writer:
        for i in range(12):
            writer.add(np.full((90, 40), float(i), dtype=np.float32), f"speaker{i % 3}", session="the only one")
    variants = planned_variants(PRESETS["baseline"], PRESETS["tuned"], Corpus.open(tmp_path / "single"))
    assert len(variants) == 10 and {variant.split for variant in variants} == {"random"}


def test_a_pair_that_differs_in_less_has_fewer_changes():
    (only,) = changes_between(PRESETS["baseline"], PRESETS["baseline_relu"])
    assert only.label == "activation sigmoid → relu"
    assert [v.name for v in variants_of((only,), sessions=False)] == ["baseline", "activation"]


# Runs on disk


@pytest.fixture(scope="module")
def finished(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    plan = AblationPlan(TRAIN, seeds=(0, 1))
    return run_ablation(SMALL, LARGE, plan, Corpus.open(simulated), folder, workers=2), folder, plan


def test_an_ablation_trains_every_variant_for_every_seed(finished):
    ablation, folder, _ = finished
    assert len(ablation.results) == 12 and len(list(folder.glob("*/seed?/evaluation.json"))) == 24
    assert {Run.open(path.parent).preset.train.keep for path in folder.glob("*/seed?/config.json")} == {"last"}
    outcome = ablation.of(())
    assert outcome.crop.shape == outcome.full.shape == outcome.seconds.shape == (2,)
    assert (outcome.seconds > 0).all() and ((outcome.full >= 0) & (outcome.full <= 1)).all()
    assert ablation.of((CHANGES[0], CHANGES[1])) is ablation.of((CHANGES[1], CHANGES[0]))
    assert ablation.of((CHANGES[0],), "session") is None


def test_it_trains_nothing_twice_and_goes_on_where_it_was_interrupted(finished, simulated):
    ablation, folder, plan = finished
    lost = folder / "nhead" / "seed1"
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/seed?/model.safetensors") if lost not in path.parents}
    before = ablation.of((CHANGES[1],)).full
    for path in lost.iterdir():
        path.unlink()
    again = run_ablation(SMALL, LARGE, plan, Corpus.open(simulated), folder, workers=1)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert np.array_equal(again.of((CHANGES[1],)).full, before)


def test_runs_of_another_plan_are_refused(finished, simulated):
    _, folder, plan = finished
    other = replace(plan, train=replace(TRAIN, learning_rate=0.1))
    with pytest.raises(RunError, match=r"train\.learning_rate was 0\.001 and is now 0\.1"):
        run_ablation(SMALL, LARGE, other, Corpus.open(simulated), folder)


def test_its_table_and_figures_show_it(finished, tmp_path):
    ablation = finished[0]
    lines = ablation_table(ablation).splitlines()
    assert len(lines) == 14 and lines[2].startswith("none: the baseline") and "session" in lines[-1]
    for name, figure in (("ablation", ablation_figure(ablation)), ("measuring", measuring_figure(ablation))):
        save_figure(figure, tmp_path / f"{name}.png")
        assert matplotlib.image.imread(tmp_path / f"{name}.png").std() > 0.05
    assert "simulated voices (not people)" in ablation_figure(ablation).get_supxlabel()


# Conclusions: invented outcomes, so that it is known what must be said

COST = Cost(parameters=1_000, flops=1_000_000)


def invented(full: dict[tuple, float], noise: float = 0.001, seeds: int = 3, session: dict | None = None) -> Ablation:
    """Accuracies by the names of the changes made, and a small deviation of each run, whose mean over the seeds is 0."""
    generator = np.random.default_rng(5)
    results = {}
    for variant in variants_of(CHANGES, sessions=session is not None):
        names = tuple(change.name for change in variant.changes)
        deviation = noise * generator.standard_normal(seeds)
        value = (session if variant.split == "session" else full)[names] + deviation - deviation.mean()
        n_train = 75 if variant.split == "session" else 90
        results[variant] = SeedResults(value - 0.1, value, np.full(seeds, 9.0), n_train, 100, COST)
    return Ablation(CHANGES, results, "invented numbers")


def additive(width: float, heads: float, layers: float, word: float, start: float = 0.2) -> dict[tuple, float]:
    worth = {"d_model": width, "nhead": heads, "num_layers": layers, "activation": word}
    made = [tuple(change.name for change in variant.changes) for variant in variants_of(CHANGES, sessions=False)]
    return {names: start + sum(worth[name] for name in names) for names in made}


def test_one_change_that_did_it_all_is_named():
    said = " ".join(ablation_conclusions(invented(additive(0.0, 0.0, 0.0, 0.4))))
    assert "with all 4 changes 0.600" in said
    assert "Significant at 5 % over the seeds (paired t-test, Holm's correction): activation sigmoid → relu +0.400 (SE" in said
    assert re.search(r"Not significant with this many seeds \(.*\): .*d_model 80 → 512 [+-]", said)
    assert "The whole gain of +0.400, divided up as the mean of the two orders: activation sigmoid → relu +0.400" in said
    assert "that difference is not significant with this many seeds" in said


def test_a_change_that_does_harm_is_not_counted_as_help():
    said = ablation_conclusions(invented(additive(-0.1, 0.0, 0.0, 0.4)))
    assert re.search(r"Significant.*d_model 80 → 512 -0\.100 .*Not significant", said[1])
    assert "d_model 80 → 512 adds -0.100" in " ".join(said)


def test_what_the_changes_are_worth_adds_up_to_the_whole_gain():
    (sentence,) = [s for s in ablation_conclusions(invented(additive(0.3, -0.1, 0.05, 0.2))) if s.startswith("The whole gain")]
    total, *parts = (float(number) for number in re.findall(r"[+-]\d\.\d+", sentence))
    assert total == pytest.approx(0.45, abs=0.005) and sum(parts) == pytest.approx(total, abs=0.005) and min(parts) < 0


def test_changes_that_together_do_harm_are_not_divided_up():
    said = ablation_conclusions(invented(additive(0.1, 0.0, 0.0, -0.3, start=0.5)))
    assert "So all changes together lower the accuracy here." in said and not any("whole gain" in sentence for sentence in said)


def test_changes_that_need_each_other_are_recognised():
    full = additive(0.0, 0.0, 0.0, 0.0) | {("d_model", "nhead", "num_layers", "activation"): 0.9}
    assert "the changes need each other" in ablation_conclusions(invented(full))[-1]


def test_changes_that_overlap_are_recognised():
    full = {names: 0.1 if not names else 0.3 for names in additive(0, 0, 0, 0)}
    assert "the changes overlap" in ablation_conclusions(invented(full))[-1]


def test_a_sum_that_no_accuracy_could_reach_is_not_taken_for_overlap():
    full = {names: 0.2 if not names else 0.6 for names in additive(0, 0, 0, 0)}
    assert "no accuracy exceeds 1" in ablation_conclusions(invented(full))[-1]


def test_without_a_clear_gain_nothing_is_concluded():
    said = ablation_conclusions(invented(additive(0.0, 0.0, 0.0, 0.0), noise=0.05))
    assert len(said) == 2 and "cannot say which change did it" in said[1]


def test_a_single_seed_is_never_clear():
    said = ablation_conclusions(invented(additive(0.1, 0.1, 0.1, 0.1), seeds=1))
    assert "SE" not in said[0]
    assert "mean over 1 seed:" in said[0] and "cannot say which change did it" in said[1]


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0.1, 0.11, 0.09], 0.003),
        ([-0.1, -0.1, -0.12], 0.004),
        ([0.1, 0.11, -0.01], 0.225),  # not all of one sign
        ([0.01, 0.30, 0.02], 0.367),  # one seed did it all
        ([0.3], 1.0),  # nothing to compare with
        ([0.1, 0.1, 0.1], 1.0),  # no spread to compare with
        ([0.1, 0.4 - 0.3, 0.9 - 0.8], 1.0),  # nor here: the last digits are rounding
        ([0.0, 0.0], 1.0),
    ],
)
def test_a_gain_has_the_p_value_of_a_paired_t_test(differences, p):
    assert Gain(np.array(differences)).p == pytest.approx(p, abs=0.0015)


def test_holm_s_correction_is_the_textbook_s():
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # 0.03 > 0.05 / 2 ends it, so 0.04 < 0.05 does not count
    assert holm([0.02, 0.03]) == [True, True] and holm([0.03, 0.04]) == [False, False] and holm([]) == []


def test_the_surplus_that_decides_is_told_with_its_standard_error():
    full = {names: 0.2 if not names else 0.3 for names in additive(0, 0, 0, 0)}
    ablation = invented(full)
    (sentence,) = [said for said in ablation_conclusions(ablation) if said.startswith("One by one")]
    alone = sum(ablation.of((change,)).full - ablation.of(()).full for change in CHANGES)
    surplus = Gain(ablation.of(CHANGES).full - ablation.of(()).full - alone)
    assert f"a difference of {surplus.mean:+.3f} (SE {surplus.standard_error:.3f}), seed by seed: the changes overlap" in sentence
    assert surplus.standard_error == pytest.approx(np.std(surplus.differences, ddof=1) / 3**0.5) and surplus.p < 0.05


def test_conclusions_are_bullets_of_markdown_and_short_lines_of_text():
    said = ablation_conclusions(invented(additive(0.1, 0.1, 0.1, 0.1)))
    markdown = said._repr_markdown_()
    assert markdown.count("\n- ") == len(said) - 1 and "num\\_layers 1 → 6" in markdown
    assert max(map(len, str(said).splitlines())) <= 100 and str(said).count("\n- ") == len(said) - 1
    assert isinstance(said[:2], Sentences) and isinstance(said[0], str)


def test_the_waterfall_reaches_from_mean_to_mean_with_a_dot_per_seed():
    ablation = invented(additive(0.1, -0.05, 0.2, 0.3), noise=0.02)
    figure = ablation_figure(ablation)
    for path, axes in zip(paths(CHANGES).values(), figure.axes[::2], strict=True):
        dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
        means = [ablation.of(station).full.mean() for station in path]
        for station, values in zip(path, dots, strict=True):
            np.testing.assert_allclose(values, ablation.of(station).full)
        for i, (bar, station) in enumerate(zip(axes.patches, path[1:], strict=True)):
            before = means[0] if axes is figure.axes[0] else means[i]
            assert bar.get_x() + bar.get_width() == pytest.approx(means[i + 1]) or bar.get_x() == pytest.approx(means[i + 1])
            assert before == pytest.approx(bar.get_x()) or before == pytest.approx(bar.get_x() + bar.get_width())
            assert bar.get_facecolor()[:3] == pytest.approx(to_rgb(CHANGES_COLOURS[station[-1].name]))
    assert "activation +0.30" in description(figure)


def test_seeds_that_all_say_the_same_are_no_evidence():
    said = ablation_conclusions(invented(additive(0.1, 0.1, 0.1, 0.1), noise=0.0))
    assert "a gain of +0.400 (SE 0.000)" in said[0] and "not significant" in said[1] and len(said) == 2


def test_changes_that_do_nothing_alone_are_rarely_claimed_to():
    """All that an ablation states together: four changes alone, and whether they add up."""
    generator, claims = np.random.default_rng(0), 0
    together = {("d_model", "nhead", "num_layers", "activation"): 0.3}
    for _ in range(300):
        full = {names: 0.2 + generator.normal(0.0, 0.01, 3) for names in additive(0, 0, 0, 0)}
        said = ablation_conclusions(invented(full | {names: full[names] + value for names, value in together.items()}, noise=0.0))
        claims += "Significant" in said[1]
    assert claims / 300 < 0.05 + 0.035


def test_what_a_change_adds_depends_on_the_way():
    full = additive(0.1, 0.0, 0.0, 0.1) | {("d_model", "nhead", "num_layers", "activation"): 0.9}
    ablation = invented(full)
    _, forward, backward = paths(CHANGES)
    assert marginal_gains(ablation, forward)["activation"].mean == pytest.approx(0.6, abs=0.01)
    assert marginal_gains(ablation, backward)["activation"].mean == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("guessed", "said"),
    [
        (
            "nhead",
            r"You said nhead\. The runs: alone it gains \+0\.0\d+ \(SE 0\.\d+\); "
            r"activation gains most, \+0\.[34]\d+ \(SE 0\.\d+\)\.",
        ),
        ("activation", r"You said activation\. The runs: alone it gains \+0\.[34]\d+ \(SE 0\.\d+\), the most of all\."),
        (None, r"No guess is stored here\. The runs: alone, activation gains most, \+0\.[34]\d+ \(SE 0\.\d+\)\."),
        ("heads", r"No guess is stored here\. .+"),  # of another course's options
    ],
)
def test_a_guess_stands_beside_what_came_out(guessed, said):
    assert re.fullmatch(said, guess_and_outcome(invented(additive(0.1, 0.01, 0.1, 0.4)), guessed))


def test_the_way_of_measuring_is_told():
    full = additive(0.1, 0.1, 0.1, 0.1)
    said = measuring(invented(full, session={(): 0.15, ("d_model", "nhead", "num_layers", "activation"): 0.25}))
    assert (
        "0.100 on random segments and 0.200 on whole utterances" in said[0]
        and "not in the training data it reaches 0.150 (other runs, trained on 75 utterances instead of 90)" in said[0]
    )
    assert "+0.400" in said[2] and "+0.100" in said[2]
    assert "cannot be tried" in measuring(invented(full))[-1]


# Costs


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("baseline", 125_896), ("seed_tuned_as_run", 1_907_032), ("seed_tuned", 8_484_952), ("tuned", 8_485_976)],
)
def test_costs_are_counted_without_running(preset, parameters):
    assert cost_of(PRESETS[preset].model).parameters == parameters


def test_work_is_that_of_the_matrix_products():
    # One layer of width d over b*t frames: forward 2 b t (40 d + 3 d² + d² + 2 d f) + attention 4 b t² d, head 2 b (d² + d s);
    # backward costs twice that, except that nothing asks for the gradient of the input features.
    d, f, s, b, t = 80, 256, 600, 32, 128
    prenet, layer = 2 * b * t * 40 * d, 2 * b * t * (4 * d * d + 2 * d * f) + 4 * b * t * t * d
    head = 2 * b * (d * d + d * s)
    assert cost_of(PRESETS["baseline"].model).flops == 3 * (layer + head) + 2 * prenet


def test_six_wide_layers_take_a_hundred_times_the_work_of_the_baseline():
    assert 90 < cost_of(PRESETS["tuned"].model).flops / cost_of(PRESETS["baseline"].model).flops < 110
    assert "125,896" in cost_table({"baseline": PRESETS["baseline"].model})
