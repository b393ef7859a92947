"""The baseline without a network: held to scikit-learn called directly."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from speaker_lib import Corpus, CorpusWriter, SpeakerError, TrainConfig, split_utterances
from speaker_lib.experiments.classical import STATISTICS, ClassicalResult, classical_baseline, utterance_statistics

from .conftest import call

CONFIG = TrainConfig(valid_fraction=0.5)


@pytest.fixture
def alike(tmp_path) -> Corpus:
    """Six speakers who differ less than their utterances do, none of which is as long as a segment of 128 frames."""
    rng = np.random.default_rng(1)
    spectra = rng.normal(-3.0, 0.3, (6, 40))
    with CorpusWriter(tmp_path / "alike", "random numbers") as writer:
        for i in range(240):
            loudness = rng.normal(0.0, 0.5, 40)
            writer.add(rng.normal(spectra[i % 6] + loudness, 1.0, (40 + i % 60, 40)).astype(np.float32), f"speaker{i % 6}")
    return Corpus.open(tmp_path / "alike")


def test_lda_on_means_and_deviations_is_scikit_learn_s(alike):
    """Utterances shorter than a segment are their own crops, so that the rows to learn are known without the kit."""
    training, heldout = (indices.tolist() for indices in split_utterances(alike.labelled, CONFIG))
    mels = [alike.labelled.mel(i) for i in range(len(alike.labelled))]
    rows = np.array([[*(mel[:, band].mean() for band in range(40)), *(mel[:, band].std() for band in range(40))] for mel in mels])
    scaler = StandardScaler().fit(rows[training])
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    lda.fit(np.tile(scaler.transform(rows[training]), (4, 1)), np.tile(alike.labelled.labels[training], 4))
    expected = lda.score(scaler.transform(rows[heldout]), alike.labelled.labels[heldout])

    found = classical_baseline(alike, CONFIG, STATISTICS[0])

    assert 0.3 < expected < 0.99, "a number that could have come out otherwise"
    assert (found.full, found.crop, found.crop_std) == pytest.approx((expected, expected, 0.0), abs=1e-9)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_crops_of_long_utterances_are_drawn_by_the_seed(corpus, statistics):
    found = [classical_baseline(corpus, TrainConfig(segment_len=16, seed=seed), statistics) for seed in (0, 0)]
    results = [(result.crop, result.crop_std, result.full) for result in found]
    assert results[0] == results[1] and 1 / 3 < results[0][0] <= 1


def test_statistics_are_what_they_are_called():
    mels = np.random.default_rng(0).normal(size=(50, 40))
    vector = utterance_statistics(mels, STATISTICS[2])
    assert [len(utterance_statistics(mels, name)) for name in STATISTICS] == [80, 120, 310]
    np.testing.assert_allclose(vector[:40], mels.mean(axis=0))
    np.testing.assert_allclose(vector[40:80], np.sqrt(((mels - mels.mean(axis=0)) ** 2).mean(axis=0)))
    assert np.abs(vector[120:]).max() <= 1


@pytest.mark.parametrize("mels", [np.full((1, 40), -3.0), np.full((200, 40), -20.0)], ids=["one frame", "silence"])
def test_what_does_not_change_has_statistics_too(mels):
    assert np.isfinite(utterance_statistics(mels, STATISTICS[2])).all()


def test_it_stands_beside_the_network_wherever_accuracies_are_compared(corpus_folder, tmp_path):
    run = tmp_path / "run"
    trained = call("train", "--data", corpus_folder, "--preset", "laptop_baseline", "--steps", 2, "--run", run)
    said = call("evaluate", "--data", corpus_folder, run, "--classical")
    printed = json.loads(call("evaluate", "--data", corpus_folder, run, "--classical", "--json").stdout)["classical"]
    compared = call("compare", run, "--out", tmp_path / "comparison.png")

    direct = [classical_baseline(Corpus.open(corpus_folder), TrainConfig(), name) for name in STATISTICS]
    assert trained.returncode == said.returncode == compared.returncode == 0
    assert [row["full"] for row in printed] == [result.full for result in direct]
    for name in STATISTICS:
        assert f"LDA: {name}" in said.stdout and f"LDA: {name}" in compared.stdout
    assert "classical" not in json.loads(call("evaluate", "--data", corpus_folder, run, "--json").stdout)


def test_what_cannot_be_compared_is_refused_in_a_sentence(corpus_folder, tmp_path):
    run = tmp_path / "run"
    call("train", "--data", corpus_folder, "--preset", "laptop_baseline", "--steps", 2, "--run", run)
    both = call("evaluate", "--data", corpus_folder, run, "--classical", "--all")
    assert both.returncode == 2 and "--classical trains on a part of DATA_DIR" in both.stderr

    call("evaluate", "--data", corpus_folder, run)
    evaluation = json.loads((run / "evaluation.json").read_text())
    for spoiled in ([{"statistics": "mean"}], "LDA", [{**asdict(ClassicalResult("mean", 0.5, 0.1, 0.5, 1.0)), "full": "much"}]):
        (run / "evaluation.json").write_text(json.dumps(evaluation | {"classical": spoiled}))
        compared = call("compare", run, "--out", tmp_path / "comparison.png")
        assert compared.returncode == 1 and "run `evaluate --classical` again" in compared.stderr


def test_without_scikit_learn_it_says_what_to_install(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.discriminant_analysis", None)
    with pytest.raises(SpeakerError, match="pip install scikit-learn"):
        classical_baseline(corpus, CONFIG)
