"""The benchmarks: both ways do the same work, the docs show the committed results, and GPU checks need a GPU."""

import json
import re
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import check_cuda, hw4, ladder, scaled_presets, tables
from benchmarks.growth import measure_data, write_packed
from benchmarks.hw4_standin import ranking, search
from benchmarks.hw4_standin.corpus import lengths_like_hw4
from benchmarks.hw4_standin.features import Variability
from benchmarks.machine import Row, corpus_in_memory, device_name, matmul_flops, write_files
from benchmarks.reference import PlainClassifier, plain_predictions, plain_steps
from benchmarks.steps import compilers, kit_steps
from speaker_lib import PRESETS, Classifier, Corpus, SpeakerDataset
from speaker_lib.course.profiles import PROFILES
from speaker_lib.evaluation.identification import full_outputs
from speaker_lib.experiments.ladder import LADDER, cumulative_presets
from speaker_lib.experiments.published import read_rows
from speaker_lib.training import loop as training
from speaker_lib.training.run import fit_to_data

from .test_step import replayed

CPU = torch.device("cpu")
KEYS = ["model", "way", "device", "precision", "step_per_s", "utterances_per_s", "ratio", "fraction_of_matmul", "date"]
REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "files"
    write_files(folder, np.clip(lengths_like_hw4(40), 130, 400))
    return folder


@pytest.mark.parametrize("name", ["baseline", "tuned"])
def test_the_plain_model_is_the_kits(name):
    config = PRESETS[name].model
    kit, plain = Classifier(config).eval(), PlainClassifier(config).eval()
    plain.load_state_dict(kit.state_dict())  # the same parameters by the same names
    mels = torch.randn(2, 30, 40)
    torch.testing.assert_close(plain(mels), kit(mels), atol=1e-5, rtol=1e-5)
    dropouts = [{m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} for model in (kit, plain)]
    attention = [[layer.self_attn.dropout for layer in model.encoder.layers] for model in (kit, plain)]
    assert dropouts[0] == dropouts[1] and attention[0] == attention[1]


def test_both_ways_train_and_evaluate_on_the_same_utterances(files):
    corpus = Corpus.open(files)
    preset = fit_to_data(PRESETS["laptop_baseline"], corpus)
    plain, kit = plain_steps(files, preset, CPU, torch.float32, workers=0), kit_steps(corpus, preset, CPU, torch.float32)
    assert all(0 < next(plain) < 10 for _ in range(2))  # 40 utterances make one batch: the loader begins anew
    for _ in range(2):
        kit()
    model = Classifier(preset.model).eval()
    logits = full_outputs(model, SpeakerDataset(corpus.labelled), torch.arange(7), CPU)
    assert plain_predictions(files, list(corpus.labelled.paths[:7]), model, CPU) == logits.argmax(1).tolist()


def test_a_packed_corpus_without_files_is_measured(tmp_path, capsys):
    write_packed(tmp_path / "data", lengths_like_hw4(700))
    measure_data(str(tmp_path / "data"))
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"open_s", "epoch_ms", "batch_ms", "memory_mb"} and all(value >= 0 for value in found.values())
    assert matmul_flops(CPU, torch.float32) > 1e8


def test_committed_results_are_rows(tmp_path):
    results = sorted((REPO / "benchmarks" / "results").glob("*.json"))
    measured = [path for path in results if not path.name.endswith("-growth.json")]
    assert measured and list(Row("m", "w", "d", "p").to_dict()) == KEYS
    for path in measured:
        rows = json.loads(path.read_text())
        assert all(list(row) == KEYS and row["device"] == path.stem for row in rows)
        steps = {(row["model"], row["way"]) for row in rows if row["step_per_s"]}
        assert {(model, way) for model in ("baseline", "tuned") for way in ("plain", "kit, eager", "kit, as shipped")} <= steps


def test_the_docs_show_the_committed_results():
    docs = (REPO / "docs" / "performance.md").read_text(encoding="utf-8")
    results = REPO / "benchmarks" / "results"
    rows = json.loads((results / "x86_64-2-cores.json").read_text())
    growth = json.loads((results / "x86_64-2-cores-growth.json").read_text())
    for table in (tables.steps_table(rows), tables.around_table(rows), tables.growth_tables(growth)):
        assert table in docs
    assert rows[0]["date"] in docs
    gpu = json.loads((results / "nvidia-h100-80gb-hbm3.json").read_text())
    assert f"{tables.steps_table(gpu)}\n\n{tables.around_table(gpu)}" in docs and gpu[0]["date"] in docs


def test_the_check_for_a_gpu_says_that_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: run `python -m benchmarks.check_cuda`")
    done = subprocess.run([sys.executable, "-m", "benchmarks.check_cuda"], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 1 and done.stderr == "error: there is no GPU here, and nothing else to check.\n"


def test_the_check_for_a_gpu_finds_no_difference_where_there_is_none(monkeypatch):
    """Its own lines, on a CPU that replays."""
    for module in (training, check_cuda):
        monkeypatch.setattr(module, "choose_capture", lambda device, graph, world_size=1: replayed if graph == "auto" else None)
    corpus = corpus_in_memory(np.full(80, 140))
    for check in check_cuda.CHECKS.values():
        assert check(corpus, CPU)


def test_python_m_benchmarks_explains_itself():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True, cwd=REPO)
    assert "side by side" in done.stdout and "packing" in done.stdout
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--only", "all"], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 2 and "choose from steps, cutting" in done.stderr


def test_a_device_s_name_can_be_a_file_s():
    assert re.fullmatch(r"[a-z0-9_]+-[1-9]\d*-cores", device_name(CPU).lower())


def test_steps_are_also_compared_with_graphs_that_the_compiler_makes():
    assert list(compilers(CPU)) == ["kit, torch.compile"]
    assert list(compilers(torch.device("cuda"))) == ["kit, torch.compile", "kit, torch.compile, reduce-overhead"]


def test_models_to_rank_are_chosen_by_their_names_commas_included(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ranking", "--only", "d256, 3 layers, pre-norm", "2 layers"])
    assert ranking.parse_args().only == ["d256, 3 layers, pre-norm", "2 layers"]


def test_what_lesson_4_has_no_time_for_is_tried_on_the_rungs_that_are_kept():
    start = PROFILES["laptop"].tuned
    *_, kept = (preset for rung, preset in cumulative_presets(start) if rung.kept)
    (_, top), *tried = cumulative_presets(start, ladder.FURTHER)
    assert top == kept
    for rung, preset in tried:
        assert set(top.differences(preset)) == {name for name, _ in rung.settings} and not rung.kept


def test_a_ladder_is_compared_seed_by_seed(monkeypatch, tmp_path, corpus_folder, capsys):
    arguments = ["--data", corpus_folder, "--name", "two", "--steps", 2, "--seeds", 2, "--splits", "random", "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", ["ladder", *map(str, arguments), "--set", "model.num_layers=1"])
    monkeypatch.setattr(ladder, "LADDER", LADDER[:2])
    ladder.main()
    rows = json.loads((tmp_path / "two.json").read_text())
    for row in rows:
        values = row["random_full_by_seed"]
        assert len(values) == 2 and row["random_full"] == pytest.approx([np.mean(values), np.std(values, ddof=1)], abs=1e-4)
    gain = np.subtract(rows[1]["random_full_by_seed"], rows[0]["random_full_by_seed"])
    *_, head, _, first, second = capsys.readouterr().out.strip().splitlines()
    assert head.endswith("| full, over the first row |") and first.endswith(" |  |")
    assert second.endswith(f"| {gain.mean():+.3f} ± {gain.std(ddof=1):.3f} |")


def test_the_page_on_accuracy_shows_the_committed_results():
    page, results = (REPO / "docs" / "accuracy.md").read_text(encoding="utf-8"), REPO / "benchmarks" / "results"

    def rows(name: str) -> list[dict[str, object]]:
        return json.loads((results / name).read_text(encoding="utf-8"))

    for name in ("simulated", "speech"):
        assert ladder.table(rows(f"ladder/{name}.json")) in page
        assert scaled_presets.table(rows(f"scaled_presets/{name}.json")) in page
    for name in ("standin", "speech-further", "simulated-further"):
        assert ladder.table(rows(f"ladder/{name}.json")) in page
    curve = rows("hw4_standin/curve-x86_64-2-cores.json") + rows("hw4_standin/curve-nvidia-h100-80gb-hbm3.json")
    assert [curve[0][knob] for knob in search.KNOBS] == list(astuple(Variability())) and curve[0]["worst_deviation"] < 0.05
    assert search.curve_table(curve) in page
    for device in ("nvidia-h100-80gb-hbm3", "x86_64-2-cores"):
        assert ranking.table(rows(f"hw4_standin/ranking-{device}.json")) in page


def test_hw4_trains_each_model_once_and_writes_the_table_of_the_docs(corpus, tmp_path):
    out, page = tmp_path / "results" / "rows.jsonl", tmp_path / "page.md"
    for models in (3, 0):  # the baselines without a network, and two models; then nothing is missing
        assert len(list(hw4.measure(corpus, tmp_path / "runs", out, ["report"], 1e-5))) == models
        rows = read_rows(out)
        assert [row["model"] for row in rows[-2:]] == ["baseline", "seed_tuned_as_run"] and len(rows) == 5
    page.write_text(f"before\n{hw4.BEGIN}\nold\n{hw4.END}\nafter\n", encoding="utf-8")
    tables.write_between(page, hw4.BEGIN, hw4.END, hw4.table(rows))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith(f"{hw4.END}\nafter\n") and "old" not in text
    assert re.search(r"\| `baseline` \| \d+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \| 0\.4834 \|  \|", text) and corpus.source in text


def test_hw4_trains_the_reports_four_changes_at_full_size_and_nothing_twice(corpus):
    found = dict(hw4.presets(corpus, list(hw4.PARTS)))
    assert len(found) == len({str(preset) for preset in found.values()}) and found["nhead"].model.nhead == 16
    assert {"baseline", "seed_tuned_as_run", "baseline_relu", "tuned", "best", "d_model", "d_model+nhead"} <= set(found)
    assert {preset.train.total_steps for preset in found.values()} == {70_000, 140_000}


def test_the_docs_show_what_is_measured_on_hw4():
    rows = read_rows(hw4.RESULTS) if hw4.RESULTS.exists() else []
    assert f"{hw4.BEGIN}\n{hw4.table(rows)}\n{hw4.END}" in hw4.PAGE.read_text(encoding="utf-8")
