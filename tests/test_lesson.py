"""What a lesson stands on: profile, data, runs, and the words in which it says so."""

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import jupytext
import pytest
import torch

from benchmarks.hw4_standin.corpus import StandIn, write_standin
from speaker_lib import Corpus, Run, train
from speaker_lib.course import lesson as lesson_module
from speaker_lib.course.lesson import DRIVE, FOUND, Lesson, open_lesson
from speaker_lib.course.profiles import PROFILES, get_profile
from speaker_lib.course.start import ablation_time, preflight
from speaker_lib.data.writer import write_subset
from speaker_lib.training.loop import StopTraining
from speaker_lib.utils.errors import ConfigError, CorpusError, RunError, SpeakerError
from tools.project import ROOT

from .conftest import write_corpus


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    """Where a reader's notebook lies, with nothing around it."""
    for name in ("SPEAKER_DATA", "SPEAKER_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def lesson(simulated, monkeypatch) -> Lesson:
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    return open_lesson()


# Profiles


def test_the_profile_is_full_with_a_gpu_and_laptop_without(monkeypatch):
    assert (get_profile(True).name, get_profile(False).name) == ("full", "laptop")
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    assert get_profile(True).name == "smoke"
    monkeypatch.setenv("SPEAKER_PROFILE", "quick")
    with pytest.raises(ConfigError, match="SPEAKER_PROFILE is 'quick': choose one of smoke, laptop, full"):
        get_profile(True)


def test_the_full_profile_is_exactly_the_assignment_s():
    full = PROFILES["full"]
    assert (full.baseline.model.d_model, full.tuned.model.d_model) == (80, 512)
    assert full.baseline.train == full.tuned.train and full.baseline.train.total_steps == 70_000


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_in_every_profile_the_two_models_differ_in_the_same_settings(profile):
    assert set(profile.baseline.differences(profile.tuned)) == {
        "model.d_model", "model.nhead", "model.num_layers", "model.activation", "model.norm"
    }  # fmt: skip
    assert (profile.collapse.model.num_layers, profile.collapse.model.norm) == (6, "post")
    assert len(profile.ablation.seeds) >= 2


# Data


def test_without_any_data_voices_are_made_once(empty_folder, monkeypatch, capsys):
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    lesson = open_lesson()
    assert "No data set was found, so 6 simulated voices (not people)" in capsys.readouterr().out
    assert lesson.corpus.folder == Path("data/simulated-6") and lesson.runs == Path("runs/smoke/simulated-6")
    open_lesson()
    assert capsys.readouterr().out == ""


def test_a_data_set_named_by_the_environment_comes_first(lesson, simulated):
    assert lesson.corpus.folder == simulated and lesson.runs == Path("runs/smoke") / simulated.name


def test_a_path_that_is_relative_to_the_checkout_is_found_from_its_notebooks(empty_folder, monkeypatch):
    (empty_folder / "speaker_lib").mkdir()
    (empty_folder / "pyproject.toml").touch()
    (empty_folder / "notebooks").mkdir()
    write_corpus(empty_folder / "mine")
    monkeypatch.chdir(empty_folder / "notebooks")
    monkeypatch.setenv("SPEAKER_DATA", "mine")
    assert open_lesson().corpus.folder.resolve() == empty_folder / "mine"


def test_a_data_set_beside_the_notebook_is_found(empty_folder, monkeypatch):
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    write_corpus(empty_folder / "Dataset")
    assert open_lesson().corpus.source == "random numbers"


def test_in_a_checkout_data_and_runs_lie_beside_the_notebooks_folder(empty_folder, monkeypatch):
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    (empty_folder / "speaker_lib").mkdir()
    (empty_folder / "pyproject.toml").touch()
    (empty_folder / "notebooks").mkdir()
    write_corpus(empty_folder / "data" / "hw4")
    monkeypatch.chdir(empty_folder / "notebooks")
    lesson = open_lesson()
    assert lesson.corpus.folder.resolve() == empty_folder / "data" / "hw4" and lesson.runs == Path("../runs/laptop/hw4")


def test_a_copy_of_a_lesson_in_build_lab_uses_the_data_and_runs_of_the_checkout(empty_folder, monkeypatch):
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    (empty_folder / "speaker_lib").mkdir()
    (empty_folder / "pyproject.toml").touch()
    write_corpus(empty_folder / "data" / "hw4")
    for name in ("lab", "notebooks"):  # `make notebooks` works in build/notebooks, without earlier runs
        (empty_folder / "build" / name).mkdir(parents=True)
    monkeypatch.chdir(empty_folder / "build" / "lab")
    assert open_lesson().runs == Path("../../runs/laptop/hw4")
    monkeypatch.chdir(empty_folder / "build" / "notebooks")
    monkeypatch.setenv("SPEAKER_DATA", str(empty_folder / "data" / "hw4"))
    assert open_lesson().runs == Path("runs/laptop/hw4")


def test_a_kaggle_competition_s_folder_is_found(empty_folder, monkeypatch):
    monkeypatch.setenv("SPEAKER_PROFILE", "laptop")
    folder = write_corpus(empty_folder / "kaggle" / "input" / "ml2022spring-hw4" / "Dataset")
    monkeypatch.setattr(lesson_module, "KAGGLE_INPUT", empty_folder / "kaggle" / "input")
    assert open_lesson().corpus.folder == folder


@pytest.mark.parametrize(
    ("data", "keep", "error", "said"),
    [
        ("HW5", "here", CorpusError, "DATA is 'HW5': choose "),
        (FOUND, "cloud", SpeakerError, "KEEP is 'cloud': choose "),
        (FOUND, DRIVE, SpeakerError, "can only be reached from Colab"),
    ],
)
def test_a_choice_that_is_not_there_is_explained(simulated, monkeypatch, data, keep, error, said):
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    with pytest.raises(error, match=said):
        open_lesson(data, keep)


def test_on_colab_runs_can_be_kept_in_drive(simulated, monkeypatch):
    mounted = []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    runs = open_lesson(keep=DRIVE).runs
    assert mounted == ["/content/drive"] and runs.is_relative_to("/content/drive/MyDrive")


# Runs


def test_a_run_is_gone_on_with_and_a_run_with_other_settings_is_refused(lesson, monkeypatch):
    run = lesson.run("baseline")
    assert lesson.run("baseline") == run and run.preset.model.n_speakers == 4
    other = Run.open(run.folder).preset.override({"model.d_model": 24, "train.seed": 5})
    (run.folder / "config.json").unlink()
    Run.create(run.folder, other, lesson.corpus)
    with pytest.raises(RunError, match=r"baseline holds a run with another model\.d_model, train\.seed: rename or delete"):
        lesson.run("baseline")


def test_a_run_on_other_data_is_refused(lesson, corpus):
    run = lesson.run("baseline")
    (run.folder / "config.json").unlink()
    Run.create(run.folder, run.preset, corpus)
    with pytest.raises(RunError, match="holds a run with another data"):
        lesson.run("baseline")


def test_an_earlier_lesson_s_run_is_loaded_and_evaluated(lesson):
    train(lesson.run("baseline"), lesson.corpus, lesson.device)
    run = lesson.trained("baseline")
    assert run == lesson.run("baseline") and run.evaluation()["full"]["accuracy"] >= 0


@pytest.mark.parametrize("method", ["run", "trained", "untrained"])
@pytest.mark.parametrize("name", ["tunned", "meaning", "collapse", ["baseline"]])
def test_a_run_that_no_lesson_has_is_explained(lesson, method, name):
    with pytest.raises(ConfigError, match=r"^the lessons have no run .+: choose one of baseline, tuned\.$"):
        getattr(lesson, method)(name)
    assert not lesson.runs.exists()


def test_without_an_earlier_lesson_a_short_run_takes_its_place(lesson, capsys):
    run = lesson.trained("tuned")
    assert run.name == "tuned-short" and run.metrics()[-1]["step"] == 4 and run.evaluation()
    assert "There is no run of tuned yet, so a short one takes its place: 4 steps." in capsys.readouterr().out


def test_a_run_that_was_stopped_early_is_not_compared_in_silence(lesson, capsys):
    def stop(row):
        raise StopTraining

    train(lesson.run("tuned"), lesson.corpus, lesson.device, callbacks=[stop])
    lesson.trained("tuned")
    assert "tuned was stopped at step 5 of 20: finish it in its lesson before you compare." in capsys.readouterr().out


def test_the_ablation_gets_the_first_few_speakers(tmp_path, simulated):
    corpus = Corpus.open(simulated)
    write_subset(corpus, tmp_path / "few", 2)
    few = Corpus.open(tmp_path / "few")
    n = int((corpus.labelled.labels < 2).sum())
    assert few.speakers == corpus.speakers[:2] and len(few.labelled) == n
    assert few.source == f"the first 2 of {corpus.source}"
    first = [i for i, label in enumerate(corpus.labelled.labels) if label < 2]
    for i, j in ((0, first[0]), (n - 1, first[-1])):
        assert torch.equal(torch.from_numpy(few.labelled.mel(i)), torch.from_numpy(corpus.labelled.mel(j)))
        assert few.labelled.sessions[i] == corpus.labelled.sessions[j]


def test_lesson_1_shows_the_data_of_a_folder_that_comes_packed_without_files(lesson, tmp_path, capsys):
    """Its cell "The data", on feature files and on a pack alone."""
    notebook = jupytext.read(ROOT / "notebooks" / "01_baseline.py")
    (heading,) = (i for i, cell in enumerate(notebook.cells) if "## The data\n" in cell.source)
    exec(notebook.cells[heading + 1].source, {"lesson": lesson})
    assert "its feature: (" in capsys.readouterr().out
    write_standin(tmp_path / "packed", StandIn(speakers=2, utterances=12, sessions=2))
    packed = replace(lesson, corpus=Corpus.open(tmp_path / "packed"))
    exec(notebook.cells[heading + 1].source, {"lesson": packed})
    assert "2 speakers; none0000 has " in capsys.readouterr().out


# Preflight


def test_preflight_says_what_the_lesson_stands_on(simulated, monkeypatch, capsys):
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    lesson = preflight()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["profile", "device", "memory", "disk", "data", "runs", "baseline", "tuned"]
    assert "4 simulated voices (not people)" in lines[4] and "20 steps, about" in lines[7]
    assert not any(str(Path.cwd()) in line for line in lines)
    assert re.fullmatch(r"24 runs of 4 steps, \d+ at a time, about [\d.]+ (s|min|h) here", ablation_time(lesson))


@pytest.mark.parametrize("asked", [None, "cpu"])
def test_preflight_says_that_a_mac_s_gpu_is_not_used(simulated, monkeypatch, capsys, asked):
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(simulated))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.delenv("SPEAKER_DEVICE", raising=False)
    if asked:
        monkeypatch.setenv("SPEAKER_DEVICE", asked)
    preflight()
    assert re.search("CPU, .*Apple's GPU is not used.*SPEAKER_DEVICE=mps tries it", capsys.readouterr().out.splitlines()[1])
