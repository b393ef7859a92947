import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speaker_lib import (
    Classifier,
    Corpus,
    CorpusWriter,
    ModelConfig,
    Preset,
    Run,
    SpeakerDataset,
    TrainConfig,
    get_dataloader,
    train,
    valid,
)
from speaker_lib.data.splits import split_utterances
from speaker_lib.evaluation.ensemble import predict
from speaker_lib.evaluation.identification import (
    CROP_SEEDS,
    FRAME_BUDGET,
    CropResult,
    Evaluation,
    crop_draws,
    crop_result,
    evaluate,
    full_outputs,
    full_result,
    heldout_indices,
    length_sorted_batches,
    most_confused,
    speaker_accuracy,
)
from speaker_lib.evaluation.text import evaluation_text
from speaker_lib.experiments.tables import comparison_table
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.distributed import ALONE
from speaker_lib.training.run import weights_bytes
from speaker_lib.utils.errors import CorpusError, RunError

from .conftest import write_corpus

CPU = torch.device("cpu")
PRESET = Preset(
    ModelConfig(d_model=16, nhead=2, dim_feedforward=16, activation="relu"),
    TrainConfig(
        batch_size=16, segment_len=40, warmup_steps=5, total_steps=80, valid_steps=40, learning_rate=5e-3, valid_fraction=0.25
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Run, Corpus]:
    folder = tmp_path_factory.mktemp("trained")
    corpus = Corpus.open(write_corpus(folder / "corpus", n_speakers=6, n_utterances=12, n_test=9))
    run = Run.create(folder / "run", PRESET, corpus)
    train(run, corpus)
    return run, corpus


def test_both_protocols_measure_the_utterances_that_were_held_out(trained):
    run, corpus = trained
    result, _, labels = evaluate(run, corpus, CPU)
    held = split_utterances(corpus.labelled, PRESET.train)[1]
    assert result.n_utterances == len(held) == 18 and torch.equal(labels, torch.from_numpy(corpus.labelled.labels)[held])
    assert result.n_parameters == sum(p.numel() for p in run.load_model().parameters())
    assert result.full.accuracy >= 0.8 and result.full.top5 >= result.full.accuracy
    assert 0.5 < result.crop.accuracy <= 1.0 and result.crop.std < 0.2
    again, _, _ = evaluate(run, corpus, CPU)
    assert again == result
    assert set(result.to_dict()) == {"crop", "full", "n_utterances", "n_parameters", "weights", "confidence"}
    assert set(result.to_dict()["crop"]) == {"accuracy", "std", "loss"} and set(result.to_dict()["full"]) == {
        "accuracy",
        "top5",
        "loss",
    }


def test_no_draw_of_crops_is_the_one_that_validation_chose_the_weights_by(trained):
    _, corpus = trained
    torch.manual_seed(0)
    model, dataset = Classifier(replace(PRESET.model, n_speakers=6)), SpeakerDataset(corpus.labelled, PRESET.train.segment_len)
    utterances = split_utterances(corpus.labelled, PRESET.train)[1]
    drawn = crop_draws(model.eval(), dataset, utterances, CPU)[:, 1]  # losses: equal only where all crops are
    assert len(set(drawn)) == CROP_SEEDS
    for seed in range(CROP_SEEDS):
        loader = get_dataloader(corpus, replace(PRESET.train, seed=seed))[1]
        assert abs(drawn - valid(loader, model, torch.nn.CrossEntropyLoss(), CPU)[1]).min() > 1e-5


def test_full_is_what_one_utterance_after_another_gives(trained):
    run, corpus = trained
    model, utterances = run.load_model(), heldout_indices(*trained)
    logits = full_outputs(model, SpeakerDataset(corpus.labelled), utterances, CPU)
    with torch.no_grad():
        for i, found in zip(utterances.tolist(), logits, strict=True):
            alone = model(torch.from_numpy(corpus.labelled.mel(i))[None])[0]
            torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_crop_is_what_counting_by_hand_gives(trained):
    """A stand-in for the model predicts speaker 0 for every utterance."""
    _, corpus = trained
    dataset = SpeakerDataset(corpus.labelled, 40)

    class Constant(torch.nn.Module):
        config = ModelConfig(n_speakers=6)

        def forward(self, mels, lengths):
            assert mels.shape[1:] == (40, 40)
            return F.one_hot(torch.zeros(len(mels), dtype=torch.long), 6).float() * 2.0

    utterances = torch.arange(len(dataset))
    result = crop_result(Constant(), dataset, utterances, CPU)
    fraction = 1 / 6
    loss = np.log(np.exp(2) + 5) - 2 * fraction
    assert (
        result.accuracy == pytest.approx(fraction)
        and result.std == pytest.approx(0.0)
        and result.loss == pytest.approx(loss, rel=1e-5)
    )


def test_batches_are_sorted_within_budget_and_hardly_padded():
    generator = np.random.default_rng(0)
    lengths = torch.from_numpy(np.clip(generator.lognormal(6.3, 0.5, 5_667), 91, 7_193).astype(np.int64))  # about HW4's
    for budget in FRAME_BUDGET.values():
        batches = list(length_sorted_batches(lengths, budget))
        assert sorted(torch.cat(batches).tolist()) == list(range(5_667))
        padded = [int(lengths[b].max()) * len(b) for b in batches]
        assert max(size for size, batch in zip(padded, batches, strict=True) if len(batch) > 1) <= budget
        assert sum(padded) / int(lengths.sum()) < 1.05
        assert [len(b) for b in length_sorted_batches(torch.tensor([100, 100_000]), budget)] == [1, 1]


def test_numbers_by_hand():
    logits = torch.tensor([[3.0, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0], [9, 8, 7, 6, 5, 0]])
    labels = torch.tensor([0, 1, 3, 5])
    result = full_result(logits, labels)
    assert result.accuracy == 0.5 and result.top5 == 0.75
    assert result.loss == pytest.approx(F.cross_entropy(logits, labels).item())
    accuracy = speaker_accuracy(logits, labels)
    assert accuracy[[0, 1, 3, 5]].tolist() == [1.0, 0.0, 1.0, 0.0] and accuracy[[2, 4]].isnan().all()
    confused = most_confused(logits.repeat(2, 1)[:6], labels.repeat(2)[:6], tuple("abcdef"))
    assert confused == [("b", "a", 2), ("f", "a", 1)]
    evaluation = Evaluation(CropResult(0.5, 0.01, 1.0), result, 4, 100, "")
    text = evaluation_text(evaluation, logits, labels, tuple("abcdef"))
    assert "b taken for a x1" in text and "hardest speakers: b 0.00, f 0.00, a 1.00, d 1.00\n" in text
    tie = evaluation_text(evaluation, torch.eye(8), torch.arange(8), tuple("abcdefgh"))
    assert "hardest speakers: a 1.00, b 1.00, c 1.00, d 1.00, e 1.00 (and 3 more like the last)\n" in tie


def test_predict_writes_the_competitions_file_in_the_order_of_testdata(trained, tmp_path):
    run, corpus = trained
    assert predict(run, corpus, tmp_path / "submission.csv", CPU) == 9
    rows = list(csv.reader((tmp_path / "submission.csv").read_text().splitlines()))
    testdata = json.loads((corpus.folder / "testdata.json").read_text())
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows[1:]] == [u["feature_path"] for u in testdata["utterances"]]
    expected = [f"speaker{i % 6}" for i in range(6 * 12, 6 * 12 + 9)]
    assert sum(row[1] == e for row, e in zip(rows[1:], expected, strict=True)) >= 7
    assert b"\r" not in (tmp_path / "submission.csv").read_bytes()


def test_predict_without_a_test_set_says_so(trained, tmp_path):
    run, corpus = trained
    with pytest.raises(CorpusError, match=r"no testdata\.json"):
        predict(run, replace(corpus, test=None), tmp_path / "s.csv", CPU)
    assert not (tmp_path / "s.csv").exists()


def test_another_corpus_is_evaluated_whole_and_only_when_asked(trained, tmp_path):
    run, corpus = trained
    rng = np.random.default_rng(9)
    with CorpusWriter(tmp_path / "other", "other") as writer:
        for speaker in corpus.speakers:
            writer.add(rng.normal(size=(80, 40)).astype(np.float32), speaker)
    other = Corpus.open(tmp_path / "other")
    with pytest.raises(RunError, match="use --all"):
        evaluate(run, other, CPU)
    assert evaluate(run, other, CPU, everything=True)[0].n_utterances == 6


def test_other_speakers_are_refused(trained, corpus):
    with pytest.raises(RunError, match=r"was trained on 6 speakers .* has 3"):
        heldout_indices(trained[0], corpus)


def test_an_evaluation_is_of_the_weights_that_are_there(trained, tmp_path):
    run = Run.create(tmp_path / "run", PRESET, trained[1])
    for content in ("1", "{}", '{"crop": 1, "full": 1}'):
        (run.folder / "evaluation.json").write_text(content)
        with pytest.raises(RunError, match=r"evaluation\.json is not an evaluation"):
            comparison_table([run])
    Checkpoints(run, ALONE).write("model.safetensors", weights_bytes(trained[0].load_model()))
    assert run.evaluation() is None


def test_the_table_shows_what_is_known(trained, tmp_path):
    run, corpus = trained
    fresh = Run.create(tmp_path / "fresh", PRESET, corpus)
    run.save_evaluation(evaluate(run, corpus, CPU)[0].to_dict())
    header, _, first, second = comparison_table([run, fresh]).splitlines()
    assert re.split(" {2,}", header) == ["run", "parameters", "step/s", "crop (SD over cuts)", "full"]
    assert first.split()[:2] == ["run", f"{run.evaluation()['n_parameters']:,}"]
    assert f"{run.evaluation()['full']['accuracy']:.4f}" in first
    assert second.split() == ["fresh", first.split()[1], "-", "-", "-"]


def test_an_output_does_not_depend_on_the_padding_of_its_batch(trained):
    """The last of a length-sorted batch holds the most padding."""
    run, corpus = trained
    model, dataset = run.load_model(), SpeakerDataset(corpus.labelled)
    alone = full_outputs(model, dataset, torch.tensor([0]), CPU)
    together = full_outputs(model, dataset, torch.arange(40), CPU)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)
