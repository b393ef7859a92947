"""Embeddings, trials, and the error rates of speaker verification."""

import json
import math
from collections import Counter
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch

from speaker_lib import PRESETS, Classifier, Corpus, CorpusWriter, ModelConfig, Preset, Run, SpeakerDataset, TrainConfig
from speaker_lib.cli.main import main
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.embeddings import embed, flatten_vectors, unit_vectors, unseen_indices
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.evaluation.trials import Trials, draw_trials, read_trials
from speaker_lib.evaluation.verification import (
    cosine_scores,
    equal_error_rate,
    error_rates,
    min_detection_cost,
    verify,
)
from speaker_lib.plots.embeddings import map_figure, verification_figure
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.distributed import ALONE
from speaker_lib.training.run import weights_bytes
from speaker_lib.utils.errors import ConfigError, CorpusError, RunError, SpeakerError

from .conftest import write_corpus

CPU = torch.device("cpu")
PRESET = Preset(ModelConfig(d_model=16, nhead=2, dim_feedforward=16, activation="relu"), TrainConfig(valid_fraction=0.25))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Run, Corpus]:
    """A run as it begins: even random weights keep spectra that differ as much as these apart."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = Corpus.open(write_corpus(folder / "corpus", n_speakers=6, n_utterances=12, n_test=5))
    run = Run.create(folder / "run", PRESET, corpus)
    torch.manual_seed(0)
    Checkpoints(run, ALONE).write("model.safetensors", weights_bytes(Classifier(run.preset.model)))
    return run, corpus


@pytest.fixture(scope="module")
def unseen_speakers(tmp_path_factory) -> Corpus:
    """Speakers that are not in the training data, another number of them."""
    return Corpus.open(write_corpus(tmp_path_factory.mktemp("strangers") / "corpus", n_speakers=4, n_utterances=7, n_test=0))


def gaussians(distance: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of n pairs of each kind at the quantiles of two normal distributions that far apart."""
    at = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).numpy()
    return np.concatenate([at, at + distance]), np.repeat([False, True], n)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_two_gaussians_err_as_their_distance_says(distance):
    """EER = Phi(-d / 2), at the middle between the two."""
    rates = error_rates(*gaussians(distance, 20_000))
    eer, threshold = equal_error_rate(rates)
    assert eer == pytest.approx(0.5 * math.erfc(distance / 2 / math.sqrt(2)), abs=1e-4)
    assert threshold == pytest.approx(distance / 2, abs=0.01)
    # The cost is least where the ratio of the densities is (1 - p) / p; the closed form follows.
    if distance:
        for p in (0.01, 0.05):
            t = distance / 2 + math.log((1 - p) / p) / distance
            miss, fall = (0.5 * math.erfc(x / math.sqrt(2)) for x in (distance - t, t))
            assert min_detection_cost(rates, p) == pytest.approx((p * miss + (1 - p) * fall) / p, abs=3e-3)


def test_rates_by_hand():
    """Of three targets and three others: at 0.5 one of each is wrong."""
    rates = error_rates(np.array([0.9, 0.8, 0.3, 0.5, 0.2, 0.1]), np.array([True, True, True, False, False, False]))
    eer, threshold = equal_error_rate(rates)
    assert eer == pytest.approx(1 / 3) and threshold == pytest.approx(0.5)
    assert min_detection_cost(rates, 0.5) == pytest.approx(1 / 3)
    assert min_detection_cost(rates, 0.01) == pytest.approx(1 / 3)  # accept from 0.8 on


def test_ties_are_shared_perfect_scores_do_not_err_and_wrong_ones_always():
    same = np.repeat([True, False], 50)
    tied = equal_error_rate(error_rates(np.full(100, 0.25), same))
    assert tied == (0.5, 0.25)
    perfect = error_rates(np.repeat([0.9, 0.1], 50), same)
    assert equal_error_rate(perfect) == (0.0, 0.9) and min_detection_cost(perfect, 0.01) == 0.0
    wrong = error_rates(np.repeat([0.1, 0.9], 50), same)
    assert equal_error_rate(wrong)[0] == 1.0 and min_detection_cost(wrong, 0.01) == 1.0
    half_tied = error_rates(np.array([1.0, 0.5, 0.5, 0.0]), np.array([True, True, False, False]))
    assert equal_error_rate(half_tied)[0] == pytest.approx(0.25)  # in the middle of the tie


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_of_pairs_has_no_error_rate(kind):
    with pytest.raises(SpeakerError, match="all pairs are of one kind"):
        error_rates(np.arange(5.0), np.full(5, kind))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(SpeakerError, match="not numbers"):
        error_rates(np.array([0.1, np.nan]), np.array([True, False]))


def test_cosines_are_those_of_the_formula_and_zeros_are_alike_to_none():
    vectors = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    vectors[4] = 0
    first, second = np.divmod(np.arange(81), 9)
    found = cosine_scores(vectors, first, second, chunk=7)
    lengths = np.linalg.norm(vectors, axis=1)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num((vectors @ vectors.T / np.outer(lengths, lengths)).ravel())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(cosine_scores(1024 * vectors, first, second), found, atol=1e-12)


@pytest.mark.parametrize("name", ["laptop_baseline", "laptop_tuned"])
def test_the_last_layer_makes_logits_of_the_embedding(name):
    model = Classifier(PRESETS[name].model).eval()
    mels, lengths = torch.randn(3, 50, 40), torch.tensor([50, 30, 9])
    vectors = model.embed(mels, lengths)
    assert vectors.shape == (3, model.pred_layer[-1].in_features)
    torch.testing.assert_close(model.pred_layer[-1](vectors), model(mels, lengths))


def test_vectors_are_those_of_one_utterance_after_another(trained):
    run, corpus = trained
    which = torch.tensor([40, 3, 3, 71, 0])
    found, model = embed(run, corpus, which, CPU), run.load_model()
    assert found.vectors.dtype == np.float32 and found.lengths.tolist() == corpus.labelled.lengths[which].tolist()
    assert found.speakers == tuple(f"speaker{i // 12}" for i in which.tolist())
    with torch.inference_mode():
        for i, vector in zip(which.tolist(), found.vectors, strict=True):
            alone = model.embed(torch.from_numpy(corpus.labelled.mel(i))[None])[0]
            np.testing.assert_allclose(vector, alone, atol=1e-5)
        logits = full_outputs(model, SpeakerDataset(corpus.labelled), which, CPU)
        torch.testing.assert_close(model.pred_layer[-1](torch.from_numpy(found.vectors)), logits, atol=1e-5, rtol=1e-5)


def test_training_data_take_part_only_when_asked(trained, unseen_speakers):
    run, corpus = trained
    assert torch.equal(unseen_indices(run, corpus), split_utterances(corpus.labelled, PRESET.train)[1])
    assert len(unseen_indices(run, corpus, everything=True)) == 72 and len(unseen_indices(run, unseen_speakers)) == 28


def every_pair(corpus: Corpus) -> tuple[set, set]:
    """All pairs of one speaker from two sessions, and all of two speakers."""
    labels, sessions = corpus.labelled.labels, corpus.labelled.sessions
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    targets = {frozenset(p) for p in pairs if labels[p[0]] == labels[p[1]] and (not sessions or sessions[p[0]] != sessions[p[1]])}
    return targets, {frozenset(p) for p in pairs if labels[p[0]] != labels[p[1]]}


def drawn(trials: Trials, same: bool) -> list[frozenset]:
    return [frozenset(pair) for pair in zip(trials.first[trials.same == same], trials.second[trials.same == same], strict=True)]


@pytest.mark.parametrize("with_sessions", [True, False])
def test_pairs_are_different_half_of_each_kind_and_of_two_sessions(unseen_speakers, with_sessions):
    corpus = (
        unseen_speakers if with_sessions else replace(unseen_speakers, labelled=replace(unseen_speakers.labelled, sessions=None))
    )
    targets, others = every_pair(corpus)
    trials = draw_trials(corpus, torch.arange(28), 10**6)  # as many as there are of the rarer kind
    assert set(drawn(trials, True)) == targets and len(trials) == 2 * len(targets)
    assert len(set(drawn(trials, False))) == len(targets) and set(drawn(trials, False)) <= others
    assert ("two sessions" if with_sessions else "not known") in trials.rule
    few = draw_trials(corpus, torch.arange(28), 11, seed=3)
    again, other = draw_trials(corpus, torch.arange(28), 11, seed=3), draw_trials(corpus, torch.arange(28), 11, seed=4)
    assert few.same.sum() == 5 and len(few) == 10 and drawn(few, True) == drawn(again, True) != drawn(other, True)


def test_every_pair_is_equally_likely(unseen_speakers):
    counts = Counter(
        pair for seed in range(600) for pair in drawn(draw_trials(unseen_speakers, torch.arange(28), 20, seed), False)
    )
    _, others = every_pair(unseen_speakers)
    assert set(counts) == others and max(counts.values()) < 45  # 6,000 draws of 294 pairs: 20.4 each, deviation 4.4


def test_only_the_chosen_utterances_are_paired(unseen_speakers):
    chosen = torch.tensor([20, 4, 5, 9, 16, 8, 12])
    trials = draw_trials(unseen_speakers, chosen, 100)
    assert {*trials.first, *trials.second} <= set(chosen.tolist())


def test_pairs_that_cannot_be_are_explained(unseen_speakers):
    with pytest.raises(CorpusError, match="two utterances from two sessions"):
        draw_trials(unseen_speakers, torch.arange(0, 28, 7))  # one of each speaker
    with pytest.raises(CorpusError, match="one speaker only"):
        draw_trials(unseen_speakers, torch.tensor([0, 1, 2]))
    for changes, said in (({"count": 1}, "trials is 1"), ({"seed": -1}, "seed is -1")):
        with pytest.raises(ConfigError, match=said):
            draw_trials(unseen_speakers, torch.arange(28), **changes)


def test_a_file_of_pairs_is_read_as_it_stands(unseen_speakers, tmp_path):
    paths = unseen_speakers.labelled.paths
    (tmp_path / "pairs.txt").write_text(f"1 {paths[0]} {paths[4]}\n0\t{paths[3]} {paths[9]}\n\n1 {paths[8]} {paths[7]}")
    trials = read_trials(tmp_path / "pairs.txt", unseen_speakers)
    assert trials.first.tolist() == [0, 3, 8] and trials.second.tolist() == [4, 9, 7] and trials.same.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 {0} {4}", "is '2"),
        ("1 {0}", "is '1"),
        ("1 {0} {4} {8}", "is '1"),
        ("one {0} {4}", "is 'one"),
        ("1 {0} nobody.pt", "names 'nobody.pt'"),
        ("1 {0} {0}", "with itself"),
        ("1 {0} {7}", "against the speakers"),
        ("0 {0} {4}", "against the speakers"),
        ("\0\x1b[2J", "is '"),
    ],
)
def test_a_bad_line_is_named(unseen_speakers, tmp_path, line, said):
    paths, file = unseen_speakers.labelled.paths, tmp_path / "pairs.txt"
    file.write_text(f"1 {paths[0]} {paths[4]}\n" + line.format(*paths) + "\n")
    with pytest.raises(CorpusError) as problem:
        read_trials(file, unseen_speakers)
    assert str(problem.value).startswith(f"{file}, line 2 ") and said in str(problem.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"", "one kind is missing"), (b"\n\n", "one kind is missing")],
)
def test_a_file_that_holds_no_pairs_is_refused(unseen_speakers, tmp_path, content, said):
    if content is not None:
        (tmp_path / "pairs.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=r"pairs\.txt .*" + said):
        read_trials(tmp_path / "pairs.txt", unseen_speakers)


def test_unseen_speakers_are_verified_and_drawn(trained, unseen_speakers, tmp_path):
    run, _ = trained
    trials = draw_trials(unseen_speakers, unseen_indices(run, unseen_speakers))
    result, scores = verify(run, unseen_speakers, trials, CPU)
    assert result.eer < 0.35 and scores.shape == (len(trials),) and np.abs(scores).max() <= 1 + 1e-12
    found = embed(run, unseen_speakers, torch.arange(28), CPU)
    units = unit_vectors(found.vectors)
    np.testing.assert_allclose(scores, (units[trials.first] * units[trials.second]).sum(axis=1), atol=1e-9)
    assert (result.n_speakers, result.n_utterances, result.n_targets) == (4, 28, int(trials.same.sum()))
    figure = map_figure(found)
    axes, names = figure.axes[0], [text.get_text() for text in figure.axes[0].get_legend().texts]
    assert names == [points.get_label() for points in axes.collections] == [f"speaker{i}" for i in range(4)]
    assert "t-SNE" in axes.get_title()
    assert len(map_figure(found, most=2).axes[0].collections) == 2
    fills = axes.collections[0].get_facecolors()[:, :3]
    recordings = [found.sessions[i] for i in range(28) if found.speakers[i] == "speaker0"]
    of_recording = {
        session: {tuple(fill) for fill, own in zip(fills, recordings, strict=True) if own == session} for session in recordings
    }
    assert all(len(found) == 1 for found in of_recording.values()) and len(set.union(*of_recording.values())) == len(of_recording)
    figure = verification_figure(result, scores, trials.same)
    figure.savefig(tmp_path / "f.png")
    assert f"{result.eer:.1%} at {result.threshold:.3f}" in figure.axes[0].get_legend().get_texts()[-1].get_text()
    perfect = np.where(trials.same, 0.9, 0.1)  # neither scale nor bins have room for it
    assert figure.axes[1].get_xlabel() == "different speakers, accepted (%)"
    assert figure.axes[1].get_ylabel() == "same speaker, rejected (%)"
    verification_figure(replace(result, eer=0.0, threshold=0.9), perfect, trials.same).savefig(tmp_path / "f.png")
    verification_figure(replace(result, eer=0.5), np.ones(len(trials)), trials.same).savefig(tmp_path / "f.png")


def test_other_mel_bands_are_refused(trained, tmp_path):
    with CorpusWriter(tmp_path / "corpus", "random", n_mels=20) as writer:
        for i in range(8):
            writer.add(np.random.default_rng(i).normal(size=(60, 20)).astype(np.float32), f"s{i % 2}")
    with pytest.raises(RunError, match=r"was trained on 40 mel bands, .* has 20"):
        unseen_indices(trained[0], Corpus.open(tmp_path / "corpus"))


def test_a_map_keeps_groups_together_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    vectors = (np.repeat(np.eye(3, 40), 12, axis=0) + rng.normal(0, 0.05, (36, 40))).astype(np.float32)
    places = flatten_vectors(vectors)
    centres = places.reshape(3, 12, 2).mean(axis=1)
    distances = np.linalg.norm(places[:, None] - centres, axis=2)
    assert (distances.argmin(axis=1) == np.repeat(range(3), 12)).all()
    np.testing.assert_array_equal(places, flatten_vectors(vectors))


@pytest.mark.parametrize(("n", "d"), [(1, 8), (2, 8), (4, 8), (5, 8), (6, 1), (3, 1)])
def test_few_vectors_have_a_map_too(n, d):
    places = flatten_vectors(np.random.default_rng(1).normal(size=(n, d)).astype(np.float32))
    assert places.shape == (n, 2) and np.isfinite(places).all()
    assert (flatten_vectors(np.ones((n, d), dtype=np.float32)) == 0).all()


def test_the_commands_do_what_they_say(trained, unseen_speakers, tmp_path, capsys):
    run, corpus = (str(part.folder) for part in trained)
    base = ["--run", run, "--data", str(unseen_speakers.folder)]
    assert main(["embed", *base, "--out", str(tmp_path / "v.npz"), "--figure", str(tmp_path / "map.png")]) == 0
    assert "28 vectors of 16 numbers, not normalised" in capsys.readouterr().out
    with np.load(tmp_path / "v.npz") as found:
        assert found["vectors"].shape == (28, 16) and found["vectors"].dtype == np.float32
        assert tuple(found["paths"].tolist()) == unseen_speakers.labelled.paths and found["speakers"][8] == "speaker1"
        assert found["lengths"].tolist() == unseen_speakers.labelled.lengths.tolist() and str(found["source"]) == "random numbers"
    assert matplotlib.image.imread(tmp_path / "map.png").std() > 0.05
    first = (tmp_path / "v.npz").read_bytes()
    assert main(["embed", *base, "--out", str(tmp_path / "v.npz")]) == 0 and (tmp_path / "v.npz").read_bytes() == first

    for more, count in ((["--test"], 5), (["--all"], 72), ([], 18)):
        assert main(["embed", "--run", run, "--data", corpus, "--out", str(tmp_path / "v.npz"), *more]) == 0
        with np.load(tmp_path / "v.npz") as found:
            assert len(found["vectors"]) == count and (found["speakers"] == "").all() == (more == ["--test"])

    capsys.readouterr()
    for more, seen in (([], None), (["--all"], "54 of the utterances, in training")):
        assert main(["verify", "--run", run, "--data", corpus, *more]) == 0
        out = capsys.readouterr().out
        assert seen in out if seen else "seen" not in out
    assert main(["verify", *base, "--trials", "40", "--json", "--figure", str(tmp_path / "f.svg")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_targets"] == found["n_nontargets"] == 20 and set(found["min_dcf"]) == {"0.01", "0.05"}
    assert found["verified_on"] == "random numbers" and (tmp_path / "f.svg").read_text().startswith("<?xml")
    paths = unseen_speakers.labelled.paths
    (tmp_path / "pairs").write_text(f"1 {paths[0]} {paths[4]}\n0 {paths[0]} {paths[7]}\n")
    assert main(["verify", *base, "--pairs", str(tmp_path / "pairs")]) == 0
    text = capsys.readouterr().out
    assert "1 pairs of one speaker, 1 of two; 3 utterances, 2 speakers" in text and "EER " in text and "p_target 0.05" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("embed --run nothing --data {data}", 1, "nothing/config.json is missing"),
        ("verify --run nothing --data {data}", 1, "nothing/config.json is missing"),
        ("embed --run {run} --data nothing", 1, "nothing/mapping.json is missing"),
        ("embed --run {run} --data {data} --test", 1, "there is no test set"),
        ("embed --run {run} --data {data} --test --all", 2, "not allowed with"),
        ("embed --run {run} --data {data} --out {run}", 1, "could not be written"),
        ("embed --run {run} --data {data} --figure map.doc", 1, "choose one of"),
        ("verify --run {run} --data {data} --figure f.doc", 1, "choose one of"),
        ("verify --run {run} --data {data} --pairs none.txt", 1, "none.txt cannot be read"),
        ("verify --run {run} --data {data} --pairs none.txt --trials 5", 2, "not allowed with"),
        ("verify --run {run} --data {data} --trials 0", 2, "trials is 0"),
        ("verify --run {run} --data {data} --seed -1", 2, "seed is -1"),
        ("verify --run {run} --data {data} --pairs none.txt --all", 2, "omit --all and --seed"),
        ("verify --run {run} --data {single}", 1, "no speaker in the utterances of"),
    ],
)
def test_problems_are_one_sentence(trained, unseen_speakers, single, tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    try:
        words = arguments.format(run=trained[0].folder, data=unseen_speakers.folder, single=single).split()
        found = main(words)
    except SystemExit as end:
        found = end.code
    error = capsys.readouterr().err
    assert found == code and said in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """One utterance of each speaker."""
    return write_corpus(tmp_path_factory.mktemp("single") / "corpus", n_speakers=3, n_utterances=1, n_test=0)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.metrics", None)
    monkeypatch.setitem(__import__("sys").modules, "sklearn.decomposition", None)
    with pytest.raises(SpeakerError, match=r"verification needs .* `pip install scikit-learn`"):
        error_rates(np.arange(2.0), np.array([True, False]))
    with pytest.raises(SpeakerError, match=r"a map of voices needs .* `pip install scikit-learn`"):
        flatten_vectors(np.zeros((3, 2)))
