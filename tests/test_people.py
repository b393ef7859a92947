"""The benchmark on recorded people: what was measured is not measured again, and the docs show the committed rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.people.__main__ import measure, read_rows
from benchmarks.people.convolutional import NETWORKS, EcapaTdnn, ResNet34, fit_and_evaluate
from benchmarks.people.report import amount_table, gain_table, ladder_table, time_table, together_table
from benchmarks.people.tasks import PARTS, Task, shortened
from benchmarks.people.together import networks_and_lda, together
from speaker_lib import PRESETS, Corpus, SpeakerError
from speaker_lib.experiments import people_results, published
from speaker_lib.experiments.classical import STATISTICS
from speaker_lib.plots import amount_figure, time_figure

DOCS = Path(__file__).parents[1] / "docs"


def test_what_was_measured_is_not_measured_again(corpus, tmp_path):
    rows = tmp_path / "time.jsonl"
    tasks = [
        Task("time", f"LDA: {STATISTICS[0]}", people=2, utterances=6, seed=0),
        Task("time", "laptop_baseline", 2, 6, 0, shortened(PRESETS["laptop_baseline"], 20, 0.1, seed=0)),
    ]
    measure(tasks[:1], corpus, tmp_path, workers=1)
    begun = rows.read_text()
    measure(tasks, corpus, tmp_path, workers=1)

    assert rows.read_text().startswith(begun)
    classical, network = read_rows(rows)
    assert (classical["model"], classical["steps"], classical["parameters"]) == ("LDA: mean and deviation", 0, None)
    assert (network["model"], network["steps"], network["people"], network["utterances"]) == ("laptop_baseline", 2, 2, 6)
    assert all(0 <= row["full"] <= 1 and row["cpu_seconds"] > 0 for row in (classical, network))
    assert "| `laptop_baseline` | 2 |" in time_table(read_rows(rows)) and "2 people x 6" in amount_table(read_rows(rows))


def test_a_gain_is_paired_by_seed():
    rows = [
        {"model": model, "seed": seed, "cpu_seconds": 1.0, "crop": 0.5, "full": full}
        for model, seed, full in (("a", 0, 0.2), ("a", 1, 0.6), ("b", 0, 0.3), ("b", 1, 0.7))
    ]
    assert gain_table(rows, "a").splitlines()[-1].endswith("| +0.100 (SE 0.000) |")


def test_each_part_has_a_row_of_its_own_for_every_run(corpus_folder):
    corpus = Corpus.open(corpus_folder)
    for part in PARTS.values():
        keys = [task.key for seed in (0, 1) for task in part(corpus, seed, 1.0)]
        assert keys and len(set(keys)) == len(keys)


@pytest.mark.parametrize("figure", [time_figure, amount_figure])
def test_a_figure_goes_through_the_means_of_the_seeds(figure):
    rows = [
        {
            "model": model,
            "people": 9,
            "utterances": n,
            "steps": n,
            "seed": seed,
            "cpu_seconds": 1.0 * n,
            "full": n / 100 + seed / 10,
        }
        for model in ("LDA: mean and deviation", "laptop_best")
        for n in (5, 10)
        for seed in (0, 1)
    ]
    axes = figure(rows, "of some people").axes[0]
    for model in ("LDA: mean and deviation", "laptop_best"):
        (line,) = [line for line in axes.lines if line.get_label() == model]
        np.testing.assert_allclose(line.get_xydata(), [(5, 0.1), (10, 0.15)])
    assert axes.figure.get_supxlabel() == "of some people"


def test_without_the_repository_the_library_says_where_the_rows_are(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "PEOPLE", tmp_path)
    with pytest.raises(SpeakerError, match="get the course's repository"):
        people_results("time")


def test_docs_show_the_committed_rows():
    page = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    assert time_table(people_results("time")[0]) in page and amount_table(people_results("amount")[0]) in page
    ablation = [json.loads(line) for line in (DOCS.parent / "benchmarks/results/people/ablation.jsonl").read_text().splitlines()]
    assert gain_table(ablation, "baseline") in page
    assert ladder_table(read_rows(published.PEOPLE / "ladder.jsonl"), people_results("time")[0]) in page
    assert together_table(read_rows(published.PEOPLE / "together.jsonl")) in page
    assert time_table(read_rows(published.PEOPLE / "equal_time.jsonl")) in page


def test_a_network_and_lda_together_can_be_right_where_each_is_wrong_alone():
    labels = torch.zeros(4, dtype=torch.long)
    network = torch.tensor([[0.35, 0.4, 0.25]] * 2 + [[0.5, 0.2, 0.3]] * 2).log()  # (utterances, n_speakers)
    classical = torch.tensor([[0.45, 0.05, 0.5]] * 2 + [[0.3, 0.1, 0.6]] * 2).log()  # (utterances, n_speakers)
    assert together(network, classical, labels) == 1.0
    assert together(network, torch.full((4, 3), 1 / 3).log(), labels) == 0.5


def test_networks_and_lda_are_measured_alone_and_together(corpus):
    found = networks_and_lda(shortened(PRESETS["laptop_baseline"], 20, 0.1, seed=0), corpus)
    assert all(value > 0 if name.endswith("seconds") else 0 <= value <= 1 for name, value in found.items())
    assert found["two_networks_seconds"] > found["network_seconds"] > 0


@pytest.mark.parametrize(
    ("make", "published"),
    [
        (lambda: EcapaTdnn(80, 192, channels=512), 6.2),  # Desplanques et al. 2020, table 1
        (lambda: EcapaTdnn(80, 192, channels=1024), 14.7),
        (lambda: ResNet34(80, 256, channels=32, stride=1), 6.6),  # wespeaker's table for VoxCeleb
    ],
)
def test_a_published_network_has_as_many_parameters_as_published(make, published):
    with torch.device("meta"):
        assert round(sum(weight.numel() for weight in make().parameters()) / 1e6, 1) == published


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_ignores_padding_when_it_pools(name):
    torch.manual_seed(0)
    model = NETWORKS[name](40, 5).eval()
    mels = torch.randn(2, 64, 40)  # (batch, frames, n_mels)
    longer = torch.cat([mels, torch.full((2, 16, 40), torch.nan)], dim=1)  # (batch, 80, n_mels)
    assert model(longer, torch.tensor([64, 64])).isfinite().all()
    torch.testing.assert_close(model(mels), model(mels, torch.tensor([64, 64])))


def test_a_published_network_learns_to_tell_two_speakers(corpus):
    preset = shortened(PRESETS["laptop_best"].override({"train.segment_len": 32}), 30, 1.0, seed=0)
    found = fit_and_evaluate("ECAPA-TDNN, 128 channels", preset, corpus)
    assert found["full"] == 1.0 and found["cpu_seconds"] > 0 and found["parameters"] > 500_000
