"""Prediction by several runs and several crops, by hand and as a user types it."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch

from speaker_lib import Classifier, Corpus, CorpusWriter, ModelConfig, Preset, Run, SpeakerDataset, TrainConfig
from speaker_lib.cli.main import main
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.ensemble import (
    EnsembleConfig,
    crop_averaged,
    ensemble_logits,
    evaluate_ensemble,
    heldout_by_all,
    mean_logits,
    predict,
)
from speaker_lib.evaluation.identification import full_outputs, full_result, heldout_indices
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.distributed import ALONE
from speaker_lib.training.run import weights_bytes
from speaker_lib.utils.errors import ConfigError, CorpusError, RunError

from .conftest import write_corpus

CPU = torch.device("cpu")
PRESET = Preset(ModelConfig(d_model=16, nhead=2, dim_feedforward=16), TrainConfig(valid_fraction=0.25, batch_size=8))
COSINE = PRESET.override({"model.head": "cosine", "model.scale": 60.0})
# Two runs by hand, of one utterance and three speakers: one is torn between two, the other sure of speaker 2.
TORN, SURE = torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 9.0]])


def make_run(folder, corpus: Corpus, preset: Preset = PRESET, weights: int = 0) -> Run:
    """A run with random weights, other ones for each seed ``weights``."""
    run = Run.create(folder, preset, corpus)
    torch.manual_seed(weights)
    Checkpoints(run, ALONE).write("model.safetensors", weights_bytes(Classifier(run.preset.model)))
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[list[Run], Corpus]:
    folder = tmp_path_factory.mktemp("averaging")
    corpus = Corpus.open(write_corpus(folder / "corpus", n_speakers=6, n_utterances=8, n_test=9))
    presets = {"a": PRESET, "b": PRESET, "c": COSINE}
    return [make_run(folder / name, corpus, preset, i) for i, (name, preset) in enumerate(presets.items())], corpus


def averaged(runs: list[Run], corpus: Corpus, averaging: EnsembleConfig) -> torch.Tensor:
    return ensemble_logits(runs, SpeakerDataset(corpus.test), torch.arange(len(corpus.test)), CPU, averaging)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_the_average_of_one_run_is_that_run(made, tmp_path, average):
    (run, *_), corpus = made
    averaging = EnsembleConfig(average)
    alone = full_outputs(run.load_model(), SpeakerDataset(corpus.labelled), heldout_indices(run, corpus), CPU)
    result, logits, labels = evaluate_ensemble([run], corpus, CPU, averaging=averaging)
    torch.testing.assert_close(logits.softmax(dim=1), alone.softmax(dim=1))
    assert result.full.accuracy == full_result(alone, labels).accuracy and result.n_utterances == len(labels) == 12
    assert result.full.loss == pytest.approx(full_result(alone, labels).loss, rel=1e-5)
    best = full_outputs(run.load_model(), SpeakerDataset(corpus.test), torch.arange(9), CPU).argmax(dim=1).tolist()
    for named in (run, [run]):
        assert predict(named, corpus, tmp_path / "s.csv", CPU, averaging) == 9
        rows = csv.reader((tmp_path / "s.csv").read_text().splitlines()[1:])
        assert [speaker for _, speaker in rows] == [corpus.speakers[i] for i in best]


def test_the_same_run_twice_changes_nothing(made):
    (run, *_), corpus = made
    for averaging in (EnsembleConfig(), EnsembleConfig("logits")):
        torch.testing.assert_close(averaged([run, run], corpus, averaging), averaged([run], corpus, averaging))


def test_the_order_of_runs_does_not_matter(made):
    runs, corpus = made
    for averaging in (EnsembleConfig(), EnsembleConfig("logits"), EnsembleConfig(crops=3, crop_len=50)):
        torch.testing.assert_close(averaged(runs[::-1], corpus, averaging), averaged(runs, corpus, averaging))


def test_probabilities_and_logits_by_hand():
    p, q = [math.exp(2), math.exp(2), 1.0], [1.0, 1.0, math.exp(9)]
    expected = torch.tensor([[(a / sum(p) + b / sum(q)) / 2 for a, b in zip(p, q, strict=True)]])
    torch.testing.assert_close(mean_logits([TORN, SURE], "probabilities").exp(), expected)
    torch.testing.assert_close(mean_logits([TORN, SURE], "logits"), torch.tensor([[1.0, 1.0, 4.5]]))


def test_the_scale_of_a_run_decides_among_logits_but_not_among_probabilities():
    """Two are fairly sure of speaker 0; a third, of speaker 1, says so in numbers ten times as large."""
    quiet, loud = torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.0, 40.0, 0.0]])
    assert mean_logits([quiet, quiet, loud], "logits").argmax() == 1
    assert mean_logits([quiet, quiet, loud], "probabilities").argmax() == 0


def test_a_probability_too_small_for_a_number_keeps_a_finite_loss():
    assert mean_logits([torch.tensor([[0.0, 900.0]])] * 2, "probabilities").tolist() == [[-900.0, 0.0]]


def test_the_average_of_runs_is_that_of_their_probabilities(made):
    runs, corpus = made
    dataset, which = SpeakerDataset(corpus.test), torch.arange(9)
    each = [full_outputs(run.load_model(), dataset, which, CPU).softmax(dim=1) for run in runs]
    torch.testing.assert_close(averaged(runs, corpus, EnsembleConfig()).exp(), torch.stack(each).mean(dim=0))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_crops_of_an_utterance_that_does_not_change_are_the_whole(average):
    torch.manual_seed(0)
    model = Classifier(replace(PRESET.model, n_speakers=5)).eval()
    mels = torch.randn(3, 1, 40).expand(3, 90, 40)  # (batch, frames, n_mels), each frame like the first
    with torch.no_grad():
        whole, crops = model(mels), crop_averaged(model, EnsembleConfig(average, 4, 30))(mels, None)
    torch.testing.assert_close(crops.softmax(dim=1), whole.softmax(dim=1))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_short_and_long_utterances_in_one_batch_are_each_evaluated_as_alone(average):
    torch.manual_seed(0)
    model = Classifier(replace(PRESET.model, n_speakers=5)).eval()
    lengths = torch.tensor([101, 64, 40, 39, 12])
    mels = torch.full((5, 101, 40), -20.0)  # (batch, frames, n_mels)
    for i, length in enumerate(lengths.tolist()):
        mels[i, :length] = torch.randn(length, 40)
    with torch.no_grad():
        found = crop_averaged(model, EnsembleConfig(average, 3, 40))(mels, lengths)
        for i, starts in enumerate([(0, 30, 61), (0, 12, 24), (0,), (0,), (0,)]):
            alone = mels[i : i + 1, : lengths[i]]  # (1, frames, n_mels)
            wanted = mean_logits([model(alone[:, start : start + 40]) for start in starts], average)
            torch.testing.assert_close(found[i : i + 1].softmax(dim=1), wanted.softmax(dim=1))
            assert (found[i].argmax(), len(found)) == (wanted.argmax(), 5)


def test_crops_are_evaluated_in_the_order_of_the_test_set(made):
    """Utterances are evaluated longest first, in batches of their own."""
    (run, *_), corpus = made
    averaging = EnsembleConfig(crops=2, crop_len=120)
    dataset, together = SpeakerDataset(corpus.test), averaged([run], corpus, averaging)
    assert min(corpus.test.lengths) < 120 < max(corpus.test.lengths)
    for i in range(9):
        alone = ensemble_logits([run], dataset, torch.tensor([i]), CPU, averaging)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


def test_only_a_sum_is_kept():
    """Of many members no more than a few are alive at once."""
    alive, most = set(), 0

    class Watched(torch.Tensor):
        def __del__(self):
            alive.discard(id(self))

    def members():
        nonlocal most
        for i in range(20):
            member = torch.full((2, 3), float(i)).as_subclass(Watched)
            alive.add(id(member))
            most = max(most, len(alive))
            yield member
            del member

    assert mean_logits(members(), "logits")[0, 0] == 9.5
    assert most <= 4


def test_runs_of_other_speakers_or_mel_bands_are_refused_by_name(made, tmp_path):
    (run, *_), corpus = made
    few = make_run(tmp_path / "few", Corpus.open(write_corpus(tmp_path / "three")))
    turned = replace(run, folder=tmp_path / "turned", data=replace(run.data, speakers=run.data.speakers[::-1]))
    wide = replace(run, folder=tmp_path / "wide", preset=run.preset.override({"model.n_mels": 80}))
    for other in (few, turned, wide):
        with pytest.raises(RunError, match="use the run's data") as by_predict:
            predict([run, other], corpus, tmp_path / "s.csv", CPU)
        with pytest.raises(RunError) as by_evaluate:
            evaluate_ensemble([run, other], corpus, CPU)
        assert str(by_predict.value) == str(by_evaluate.value) and str(other.folder) in str(by_predict.value)
    with pytest.raises(CorpusError, match=r"no testdata\.json"):
        predict([run], replace(corpus, test=None), tmp_path / "s.csv", CPU)
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize("changed", ["train.split_seed=5", "train.valid_fraction=0.5", "train.split=session"])
def test_runs_that_held_out_other_utterances_are_not_evaluated_together(made, tmp_path, changed):
    (run, *_), corpus = made
    name, value = changed.split("=")
    settings = {name: value if name == "train.split" else float(value) if "." in value else int(value)}
    other = make_run(tmp_path / "other", corpus, PRESET.override(settings))
    with pytest.raises(RunError, match="use --all with --data of utterances that are in no run") as problem:
        evaluate_ensemble([run, other], corpus, CPU)
    assert f"{run.folder} and {other.folder} held out different" in str(problem.value) and f"({name} is" in str(problem.value)
    assert "model" not in str(problem.value).split("(")[1].split(")")[0]
    assert predict([run, other], corpus, tmp_path / "s.csv", CPU) == 9  # the test set is in no training data


def test_runs_of_two_seeds_are_evaluated_on_what_neither_was_trained_on(made, tmp_path, capsys):
    _, corpus = made
    data, settings = ["--data", str(corpus.folder)], ["--set", "train.valid_fraction=0.25", "--set", "train.batch_size=8"]
    training = ["train", *data, "--preset", "laptop_baseline", "--steps", "2", *settings, "--run", str(tmp_path)]
    assert main([*training, "--seeds", "0,1"]) == 0
    capsys.readouterr()
    folders = [tmp_path / "seed0", tmp_path / "seed1"]
    assert main(["evaluate", *data, *map(str, folders), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_utterances"] == 12
    runs = [Run.open(folder) for folder in folders]
    trained_on = [set(split_utterances(corpus.labelled, run.preset.train)[0].tolist()) for run in runs]
    assert not set(heldout_by_all(runs, corpus).tolist()) & (trained_on[0] | trained_on[1])
    weights = [run.load_model().state_dict()["prenet.weight"] for run in runs]
    assert not torch.equal(*weights)


def test_other_data_are_evaluated_whole_and_only_when_asked(made, tmp_path):
    runs, corpus = made
    with CorpusWriter(tmp_path / "new", "other") as writer:
        for speaker in corpus.speakers:
            writer.add(torch.randn(80, 40).numpy(), speaker)
    new = Corpus.open(tmp_path / "new")
    with pytest.raises(RunError, match="use --all"):
        heldout_by_all(runs, new)
    assert evaluate_ensemble(runs, new, CPU, everything=True)[0].n_utterances == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"average": "votes"}, "choose one of probabilities, logits"),
        ({"crops": 0}, "crops is 0"),
        ({"crops": -3, "crop_len": 10}, "crops is -3"),
        ({"crops": 2, "crop_len": 0}, "crop-len is 0"),
        ({"crops": 2}, "belong together"),
        ({"crop_len": 100}, "belong together"),
    ],
)
def test_what_cannot_be_averaged_is_said(settings, said):
    with pytest.raises(ConfigError, match=said):
        EnsembleConfig(**settings)


def test_the_commands_take_several_runs_and_save_nothing_in_them(made, tmp_path, capsys):
    runs, corpus = made
    folders, data = [str(run.folder) for run in runs], ["--data", str(corpus.folder)]
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.folder.iterdir()}
    assert main(["evaluate", *data, *folders, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"full", "n_utterances", "average", "runs"} and set(found["full"]) == {"accuracy", "top5", "loss"}
    assert found["runs"] == folders and found["n_utterances"] == 12 and found["average"] == "probabilities"
    assert main(["evaluate", *data, *folders, "--average", "logits"]) == 0
    text = capsys.readouterr().out
    assert "12 utterances, 5 of 6 speakers, 3 runs, average of logits" in text and "hardest speakers:" in text
    assert "crop" not in text
    out = tmp_path / "s.csv"
    assert main(["predict", *data, *folders, "--crops", "3", "--crop-len", "60", "--out", str(out)]) == 0
    best = averaged(runs, corpus, EnsembleConfig(crops=3, crop_len=60)).argmax(dim=1).tolist()
    assert [row[1] for row in csv.reader(out.read_text().splitlines()[1:])] == [corpus.speakers[i] for i in best]
    assert before == {path: path.stat().st_mtime_ns for run in runs for path in run.folder.iterdir()}


def test_one_run_may_be_named_in_either_way(made, tmp_path, capsys):
    (run, *_), corpus = made
    said = []
    for named in ([str(run.folder)], ["--run", str(run.folder)]):
        assert main(["evaluate", "--data", str(corpus.folder), *named, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
        assert run.evaluation() == said[-1]
        (run.folder / "evaluation.json").unlink()
        assert main(["predict", "--data", str(corpus.folder), *named, "--out", str(tmp_path / f"{len(said)}.csv")]) == 0
        capsys.readouterr()
    assert said[0] == said[1] and "crop" in said[0]
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("predict --data d", "no run is named"),
        ("evaluate --data d", "no run is named"),
        ("predict --data d r --run r", "in both ways"),
        ("evaluate --data d r s --run r", "in both ways"),
        ("predict --data d r s --crops 0", "crops is 0"),
        ("predict --data d r --crops 5", "belong together"),
        ("evaluate --data d r s --average votes", "invalid choice"),
        ("evaluate --data d r --average logits", "there is nothing to average"),
        ("evaluate --data d --run r --average probabilities", "there is nothing to average"),
        ("predict --data d r --average logits", "there is nothing to average"),
        ("predict --data d --run r --average logits --crops 1", "there is nothing to average"),
        ("evaluate --data d --average logits", "no run is named"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments.split())
    except SystemExit as end:  # argparse's own
        code = end.code
    assert code == 2 and said in capsys.readouterr().err and list(tmp_path.iterdir()) == []
