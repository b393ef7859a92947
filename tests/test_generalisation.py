"""The experiment at the end of the course: how many training speakers does the verification of others take?"""

import numpy as np
import torch

from speaker_lib import Corpus, Run
from speaker_lib.evaluation import draw_trials, verify
from speaker_lib.experiments.generalisation import UNTRAINED, run_generalisation
from speaker_lib.experiments.seeds import AblationPlan
from speaker_lib.plots.experiments import generalisation_figure
from speaker_lib.plots.style import description

from .conftest import write_corpus
from .runs import PRESET


def test_each_number_of_speakers_is_trained_once_and_verified_on_others(tmp_path):
    few, more, unseen = (Corpus.open(write_corpus(tmp_path / name, n)) for name, n in (("few", 3), ("more", 5), ("unseen", 4)))
    plan = AblationPlan(PRESET.train.with_total_steps(4), seeds=(0, 1))
    found = run_generalisation(PRESET, plan, [more, few], unseen, tmp_path / "runs", workers=1)
    assert found.speakers == (UNTRAINED, 3, 5) and found.eer.shape == (3, 2) and found.n_unseen == 4
    runs = {name: Run.open(tmp_path / "runs" / name / "seed1") for name in ("untrained", "3", "5")}
    assert [run.preset.model.n_speakers for run in runs.values()] == [3, 3, 5]
    trials = draw_trials(unseen, torch.arange(len(unseen.labelled)))
    expected = [verify(run, unseen, trials, torch.device("cpu"))[0].eer for run in runs.values()]
    np.testing.assert_allclose(found.eer[:, 1], expected)

    steps = [(tmp_path / "runs" / name / "seed0" / "model.safetensors").stat().st_mtime_ns for name in runs]
    again = run_generalisation(PRESET, plan, [few, more], unseen, tmp_path / "runs", workers=1)
    assert steps == [(tmp_path / "runs" / name / "seed0" / "model.safetensors").stat().st_mtime_ns for name in runs]
    np.testing.assert_array_equal(again.eer, found.eer)


def test_the_figure_and_the_table_say_every_mean(tmp_path):
    few, unseen = (Corpus.open(write_corpus(tmp_path / name, n)) for name, n in (("few", 3), ("unseen", 4)))
    plan = AblationPlan(PRESET.train.with_total_steps(2), seeds=(0, 1))
    found = run_generalisation(PRESET, plan, [few], unseen, tmp_path / "runs", workers=1)
    means = [f"{row.mean():.3f}" for row in found.eer]
    assert all(mean in str(found) for mean in means) and str(found).count("\n") == 2
    figure = generalisation_figure(found)
    assert all(mean in description(figure) for mean in means) and len(figure.axes[0].lines) == 2 + 1 + 1
