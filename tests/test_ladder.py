"""The ladder: each step on top of the last, its runs on disk, a table, a figure, and sentences that follow from the numbers."""

import re
import sys
from itertools import pairwise

import matplotlib.image
import numpy as np
import pytest

from speaker_lib import PRESETS, Corpus, Preset, Run
from speaker_lib.course.profiles import PROFILES
from speaker_lib.experiments.conclusions import ladder_conclusions
from speaker_lib.experiments.ladder import LADDER, TAUGHT, Ladder, cumulative_presets, run_ladder
from speaker_lib.experiments.seeds import AblationPlan, SeedResults
from speaker_lib.experiments.tables import ladder_table
from speaker_lib.models.cost import Cost
from speaker_lib.plots.experiments import ladder_figure
from speaker_lib.plots.style import GREEN, GREY, ORANGE, description, save_figure
from speaker_lib.simulation.corpus import Simulation, simulate
from speaker_lib.utils.errors import RunError, SpeakerError

TINY = PRESETS["laptop_tuned"].override(
    {"model.d_model": 16, "model.nhead": 2, "model.num_layers": 2, "model.dim_feedforward": 16}
)
PLAN = AblationPlan(PROFILES["smoke"].ladder.train, seeds=(0, 1))


def test_every_step_keeps_what_the_ones_below_it_have():
    presets = dict(cumulative_presets(PRESETS["tuned"]))
    assert presets[LADDER[0]] == PRESETS["tuned"] and len({step.name for step in LADDER}) == len(LADDER)
    settled: dict[str, object] = {}
    for step, preset in presets.items():
        here = settled | dict(step.settings)
        assert {name: now for name, (_, now) in PRESETS["tuned"].differences(preset).items()} == here
        settled = here if step.kept else settled


def test_steps_differ_in_their_own_settings_alone_whatever_the_size():
    for start in (PRESETS["tuned"], PRESETS["laptop_tuned"], PROFILES["smoke"].tuned):
        steps = list(cumulative_presets(start))
        kept = [pair for pair in steps if pair[0].kept]
        pairs = [*pairwise(kept), *((kept[-1], pair) for pair in steps if not pair[0].kept)]
        for (_, below), (step, preset) in pairs:
            assert set(below.differences(preset)) == {name for name, _ in step.settings}


def test_a_ladder_is_trained_once_and_refuses_other_settings(tmp_path):
    simulate(tmp_path / "voices", Simulation(speakers=4, utterances=8, test_utterances=0), workers=1)
    corpus = Corpus.open(tmp_path / "voices")
    ladder = run_ladder(TINY, PLAN, corpus, tmp_path / "ladder", workers=1)
    assert list(ladder.results) == list(TAUGHT)
    assert ladder.split == "session" and ladder.kept[-1].name == "average"
    for results in ladder.results.values():
        assert results.full.shape == results.crop.shape == (2,) and results.steps == PLAN.train.total_steps
    assert ladder.results[TAUGHT[-1]].cost.parameters != ladder.results[TAUGHT[0]].cost.parameters
    trained = [Run.open(tmp_path / "ladder" / step.name / f"seed{seed}").preset.train for step in TAUGHT for seed in (0, 1)]
    assert [train.seed for train in trained] == [0, 1] * len(TAUGHT)
    assert {(train.split, train.keep) for train in trained} == {("session", "last")}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ladder").rglob("*") if path.is_file()}
    again = run_ladder(TINY, PLAN, corpus, tmp_path / "ladder", workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert all(np.array_equal(a.full, b.full) for a, b in zip(ladder.results.values(), again.results.values(), strict=True))
    with pytest.raises(RunError, match=r"model\.d_model was 16 and is now 32"):
        run_ladder(TINY.override({"model.d_model": 32}), PLAN, corpus, tmp_path / "ladder", workers=1)


def ladder_of(*accuracies: tuple[float, ...]) -> Ladder:
    results = {
        step: SeedResults(np.array(full) - 0.1, np.array(full), np.full(len(full), 20.0), 90, 100, Cost(1_000 * (i + 1), 10))
        for i, (step, full) in enumerate(zip(LADDER, accuracies, strict=False))
    }
    return Ladder(results, "made-up numbers")


def test_the_table_says_what_each_step_costs_and_reached():
    lines = ladder_table(ladder_of((0.5, 0.6), (0.8, 0.8))).splitlines()
    assert len(lines) == 4 and re.search(r"1,000 +5\.0 +0\.450 ± 0\.071 +0\.550 ± 0\.071$", lines[2])


def test_sentences_follow_from_the_numbers():
    first, clear, unclear = ladder_conclusions(ladder_of((0.5, 0.52, 0.51), (0.8, 0.821, 0.81), (0.8, 0.85, 0.79)))
    assert "from 0.510 on whole utterances" in first and "to 0.813, a gain of +0.303 (SE 0.015)" in first
    assert clear.startswith("Significant at 5 % over the seeds (paired t-test, Holm's correction): ")
    assert unclear.startswith("Not significant with this many seeds (paired t-test, Holm's correction): ")
    assert LADDER[1].label in clear and LADDER[2].label not in clear and LADDER[2].label in unclear
    alone = ladder_conclusions(ladder_of((0.5,), (0.9,)))
    assert "over 1 seed," in alone[0] and not any("Significant" in sentence for sentence in alone)


def test_where_nothing_helps_a_ladder_rarely_says_that_something_does():
    """Eight steps, three seeds: 31 % of such ladders claim a step if each is tested at 5 % by itself."""
    generator = np.random.default_rng(0)
    steps = range(len(TAUGHT))
    ladders = [ladder_of(*(tuple(generator.normal(0.8, 0.01, 3)) for _ in steps)) for _ in range(500)]
    claims = [any(said.startswith("Significant") for said in ladder_conclusions(ladder)) for ladder in ladders]
    assert len(TAUGHT) == 9 and np.mean(claims) < 0.05 + 0.03  # three standard errors of a fraction of 500


def test_without_scipy_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(SpeakerError, match="needs the package scipy: run `pip install scipy`"):
        ladder_conclusions(ladder_of((0.5, 0.52), (0.8, 0.81)))


def test_the_figure_has_a_dot_for_the_gain_of_each_seed(tmp_path):
    ladder = ladder_of((0.5, 0.52, 0.51), (0.8, 0.821, 0.81), (0.8, 0.85, 0.79), (0.5, 0.551, 0.489))
    figure = ladder_figure(ladder)
    accuracy, time = figure.axes
    dots = [line for line in accuracy.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots[0].get_xdata(), [0.3, 0.301, 0.3])
    np.testing.assert_allclose(dots[1].get_xdata(), [0.0, 0.029, -0.02])
    clear, unclear, harmful = ((line.get_color(), line.get_markerfacecolor()) for line in dots)
    assert clear == (GREEN, GREEN) and unclear == (GREY, "white") and harmful == (ORANGE, ORANGE)
    assert [text.get_text() for text in accuracy.get_yticklabels()] == [step.label for step in LADDER[:4]]
    assert len(time.patches) == 4 and "made-up numbers" in figure.get_supxlabel()
    assert f"{LADDER[2].label} +0.003 (not significant)" in description(figure)
    save_figure(figure, tmp_path / "ladder.png")
    assert matplotlib.image.imread(tmp_path / "ladder.png").std() > 0.05


def test_the_plan_of_each_profile_makes_valid_presets():
    for profile in PROFILES.values():
        presets = cumulative_presets(Preset(profile.tuned.model, profile.ladder.train))
        assert all(isinstance(preset, Preset) for _, preset in presets)
