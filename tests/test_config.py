from dataclasses import FrozenInstanceError

import pytest

from speaker_lib import PRESETS, ModelConfig, Preset, TrainConfig, get_preset
from speaker_lib.config.schema import setting_names
from speaker_lib.experiments.ladder import LADDER
from speaker_lib.utils.errors import ConfigError

FOUR_CHANGES = {"model.d_model", "model.nhead", "model.num_layers", "model.activation"}
REMEDY = {"model.norm"}  # pre-norm, without which six layers do not train


def test_the_report_is_told_by_the_presets():
    baseline, tuned = PRESETS["baseline"].model, PRESETS["tuned"].model
    assert (baseline.d_model, baseline.nhead, baseline.num_layers, baseline.activation) == (80, 2, 1, "sigmoid")
    assert (tuned.d_model, tuned.nhead, tuned.num_layers, tuned.activation, tuned.norm) == (512, 16, 6, "relu", "pre")
    assert PRESETS["tuned"].model.n_speakers == 600
    assert PRESETS["tuned"].train.warmup_steps == 1000


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("baseline", "tuned", FOUR_CHANGES | REMEDY),
        ("laptop_baseline", "laptop_tuned", FOUR_CHANGES | REMEDY),
        ("baseline", "seed_tuned", FOUR_CHANGES),
        ("baseline", "baseline_relu", {"model.activation"}),
        ("tuned", "seed_tuned", REMEDY),
        ("seed_tuned", "seed_tuned_as_run", {"model.num_layers"}),
    ],
)
def test_presets_differ_in_what_they_say_and_nothing_else(one, other, expected):
    assert set(PRESETS[one].differences(PRESETS[other])) == expected


def test_the_best_presets_are_the_ladders_top():
    kept = {name: value for rung in LADDER if rung.kept for name, value in rung.settings}
    differences = PRESETS["laptop_tuned"].differences(PRESETS["laptop_best"])
    length = {"train.total_steps", "train.valid_steps", "train.save_steps"}
    assert set(differences) == set(kept) | {"model.num_layers"} | length
    assert {name: now for name, (_, now) in differences.items() if name in kept} == kept
    best, strong = PRESETS["best"], PRESETS["strong"]
    assert all(value == kept[name] for name, (_, value) in strong.differences(best).items() if name in kept)
    free = {"model.head", "model.pooling_norm", "model.pooling", "model.subsampling"}
    assert set(strong.differences(best)) == (set(kept) - free) | {"train.total_steps"}


def test_the_reports_presets_have_nothing_that_came_later():
    """What is beyond the report is off by default, so only the five settings tell its presets from the defaults."""
    for name in ("baseline", "baseline_relu", "tuned", "seed_tuned", "seed_tuned_as_run"):
        assert set(Preset().differences(PRESETS[name])) <= FOUR_CHANGES | REMEDY


def test_a_preset_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        PRESETS["baseline"].model.d_model = 1
    with pytest.raises(TypeError):
        PRESETS["baseline"] = Preset()


def test_settings_are_read_as_the_type_of_their_field():
    preset = Preset().override({"model.d_model": "256", "train.learning_rate": "3e-4", "model.norm": "pre", "train.seed": 3})
    assert (preset.model.d_model, preset.train.learning_rate, preset.model.norm, preset.train.seed) == (256, 3e-4, "pre", 3)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_survives_being_written_down(preset):
    assert Preset.from_dict(preset.to_dict()) == preset


def test_a_run_from_before_the_splits_own_seed_keeps_its_split():
    stored = Preset().override({"train.seed": 5, "train.split_seed": 9}).to_dict()
    assert Preset.from_dict(stored).train.split_seed == 9
    del stored["train"]["split_seed"]
    assert Preset.from_dict(stored).train.split_seed == 5
    assert Preset().override({"train.seed": 5}).train.split_seed == 87


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model.nhead", 3, "choose one of 1, 2, 4, 5, 8, 10, 16, 20, 40, 80"),
        ("model.d_modle", 3, "model.d_model"),
        ("d_model", 3, "model.d_model"),
        ("optimizer.lr", 3, "train.learning_rate"),
        ("model.activation", "gelu", "choose one of sigmoid, relu"),
        ("model.d_model", "wide", "it takes a whole number"),
        ("model.d_model", 2.5, "it takes a whole number"),
        ("model.d_model", True, "it takes a whole number"),
        ("model.d_model", 0, "from 1 up"),
        ("model.dropout", 1.0, "from 0 up to, not including, 1"),
        ("model.dropout", float("nan"), "from 0 up to, not including, 1"),
        ("train.learning_rate", float("inf"), "from 0.0 up"),
        ("train.split", "speaker", "choose one of random, session"),
        ("train.valid_fraction", 1, "between 0 and 1"),
        ("train.warmup_steps", 70_001, "more than train.total_steps"),
        ("train.seed", -1, "from 0 up"),
        ("train.save_minutes", "-1", "from 0.0 up"),
    ],
)
def test_what_is_not_valid_is_said_with_what_is(name, value, said):
    with pytest.raises(ConfigError, match=r"(model|train)\.") as problem:
        Preset().override({name: value})
    assert said in str(problem.value)
    assert name in str(problem.value)


def test_an_unknown_preset_is_an_error_that_lists_all():
    with pytest.raises(ConfigError) as problem:
        get_preset("tunde")
    assert all(name in str(problem.value) for name in PRESETS)


def test_every_setting_has_a_name():
    fields = len(ModelConfig.__dataclass_fields__) + len(TrainConfig.__dataclass_fields__)
    assert len(set(setting_names())) == fields


def test_a_shorter_run_keeps_its_shape():
    short = PRESETS["baseline"].train.with_total_steps(2_000)
    assert (short.total_steps, short.warmup_steps, short.valid_steps, short.save_steps) == (2_000, 200, 200, 200)
    assert PRESETS["baseline"].train.with_total_steps(3).warmup_steps == 1
    assert PRESETS["baseline"].train.with_total_steps(140_000).warmup_steps == 1_000
