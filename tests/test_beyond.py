"""The library of lesson 4: the figure of the margin, frame weights, unseen speakers, and an untrained run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speaker_lib import Classifier, ModelConfig, SpeakerDataset
from speaker_lib.course.lesson import Lesson, open_lesson
from speaker_lib.evaluation.embeddings import unseen_indices
from speaker_lib.evaluation.identification import CROP_SEEDS, crop_draws, crop_result
from speaker_lib.evaluation.text import verification_table
from speaker_lib.evaluation.trials import draw_trials
from speaker_lib.evaluation.verification import verify
from speaker_lib.models.inspect import pooling_weights
from speaker_lib.plots.margin import KINDS, SPEAKERS, margin_figure, territories
from speaker_lib.plots.model import pooling_figure

SMALL = ModelConfig(d_model=16, nhead=2, dim_feedforward=24, n_speakers=4)


@pytest.fixture
def lesson(simulated, tmp_path, monkeypatch) -> Lesson:
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    monkeypatch.chdir(tmp_path)
    return open_lesson()


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_margin_the_border_lies_half_way_and_a_margin_opens_a_gap(kind):
    places, owner = territories(kind, 0.0)
    middle = sum(SPEAKERS) / 2
    near = np.abs(places - middle) < 1.0
    assert set(owner[near & (places < middle - 1e-3)]) == {0} and set(owner[near & (places > middle + 1e-3)]) == {1}
    gaps = [(territories(kind, margin)[1][near] == -1).mean() for margin in (0.1, 0.2, 0.4)]
    assert 0 < gaps[0] < gaps[1] < gaps[2]


def test_the_gap_of_a_margin_on_the_angle_is_the_margin():
    """Between two directions the border of each moves by half the margin: theta + m = the other theta."""
    places, owner = territories("angle", 0.3)
    neither = places[(owner == -1) & (places > 0)]
    assert neither.max() - neither.min() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
def test_any_margin_can_be_drawn(margin, tmp_path):
    margin_figure(margin).savefig(tmp_path / "margin.png")


@pytest.mark.parametrize("pooling", ["mean", "self_attention", "attentive_statistics"])
@pytest.mark.parametrize("subsampling", [1, 2])
def test_frame_weights_sum_to_one(pooling, subsampling, tmp_path):
    model, mel = Classifier(replace(SMALL, pooling=pooling, subsampling=subsampling)), torch.randn(31, 40)
    weights = pooling_weights(model, mel)
    assert weights.shape == (31,) and float(weights.sum()) == pytest.approx(1.0)
    assert bool((weights == weights[0]).all()) == (pooling == "mean")
    pooling_figure(mel, weights, "an utterance").savefig(tmp_path / "weights.png")


def test_frame_weights_are_those_that_the_model_uses():
    model, mel = Classifier(replace(SMALL, pooling="self_attention")), torch.randn(31, 40)
    weights = pooling_weights(model, mel)
    with torch.no_grad():
        hidden = model.encoder(model.prenet(mel[None]))
        torch.testing.assert_close(model.pooling(hidden, None)[0], weights @ hidden[0])


def test_each_draw_of_the_crops_is_returned(simulated, lesson):
    dataset, model = SpeakerDataset(lesson.corpus.labelled, 32), Classifier(SMALL).eval()
    draws = crop_draws(model, dataset, torch.arange(8), lesson.device)
    assert draws.shape == (CROP_SEEDS, 2) and ((draws[:, 0] * 8) % 1 == 0).all()
    assert crop_result(model, dataset, torch.arange(8), lesson.device).accuracy == pytest.approx(draws[:, 0].mean())


def test_unseen_speakers_are_made_once_and_are_in_no_training_set(lesson, capsys, tmp_path):
    unseen_speakers = lesson.unseen_speakers()
    assert "Unseen speakers: 5 simulated voices (not people)" in capsys.readouterr().out
    assert unseen_speakers.folder.resolve() == tmp_path / "data" / "strangers-5-seed1" and "seed 1" in unseen_speakers.source
    assert lesson.unseen_speakers().digest == unseen_speakers.digest != lesson.corpus.digest and capsys.readouterr().out == ""


def test_an_untrained_run_has_the_weights_that_it_began_with_and_can_be_verified(lesson):
    run = lesson.untrained("tuned")
    (row,) = run.metrics()
    assert row["step"] == 1 and run.preset.train.learning_rate == 0.0 and lesson.untrained("tuned") == run
    unseen_speakers = lesson.unseen_speakers()
    trials = draw_trials(unseen_speakers, unseen_indices(run, unseen_speakers))
    result, scores = verify(run, unseen_speakers, trials, lesson.device)
    assert len(scores) == len(trials) and 0 <= result.eer <= 1
    header, _, line = verification_table({"untrained": result}).splitlines()
    assert header.split() == ["run", "EER", "minDCF", "0.01", "minDCF", "0.05"] and line.split()[1] == f"{result.eer:.4f}"
