"""Finished runs in an archive: packed where they were trained, taken by a lesson elsewhere."""

import shutil
import tarfile
from dataclasses import replace

import pytest

from speaker_lib import Run, evaluate, train
from speaker_lib.course.finished import ARCHIVE, pack_finished_runs
from speaker_lib.course.lesson import open_lesson
from speaker_lib.experiments import run_generalisation
from speaker_lib.experiments.ladder import LadderStep
from speaker_lib.experiments.seeds import train_presets
from speaker_lib.utils.errors import RunError
from tools.commands import release
from tools.project import ROOT, Project


def _ladder(lesson):
    """Two steps of the ladder with one seed, trained where they are not finished."""
    tuned = lesson.profile.tuned
    presets = {LadderStep("tuned", "", ""): tuned, LadderStep("average", "", ""): tuned.override({"train.ema": 0.9})}
    return train_presets(presets, (0,), lesson.corpus, lesson.runs / "ladder", "Ladder", workers=1)


@pytest.fixture(scope="module")
def trained(simulated, tmp_path_factory):
    """A lesson in a folder of its own with a few finished runs and one that was only begun, and their archive."""
    with pytest.MonkeyPatch.context() as patch:
        here = tmp_path_factory.mktemp("trained")
        patch.chdir(here)
        patch.setenv("SPEAKER_PROFILE", "smoke")
        patch.setenv("SPEAKER_DATA", str(simulated))
        lesson = open_lesson()
        run = lesson.run("baseline")
        train(run, lesson.corpus)
        run.save_evaluation(evaluate(run, lesson.corpus, lesson.device)[0].to_dict())
        lesson.run("tuned")
        _ladder(lesson)
        names = pack_finished_runs(lesson.runs, lesson.corpus, "smoke", here / ARCHIVE)
        yield lesson, here / ARCHIVE, names


@pytest.fixture
def class_room(trained, tmp_path, monkeypatch):
    """A folder with the archive and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(trained[0].corpus.folder))
    shutil.copy(trained[1], tmp_path)
    return tmp_path


def test_only_finished_runs_are_packed_and_few_with_weights(trained):
    _, path, names = trained
    assert "baseline" in names and "tuned" not in names
    assert len([name for name in names if name.startswith("ladder/")]) == 2
    with tarfile.open(path) as archive:
        weights = [name.split("/", 2)[2] for name in archive.getnames() if name.endswith(".safetensors")]
        content = b"".join(archive.extractfile(member).read() for member in archive if member.name.endswith("config.json"))
    assert weights == ["baseline/model.safetensors", "ladder/average/seed0/model.safetensors"]
    assert b'"folder": "voices"' in content and str(path.parent).encode() not in content  # no path of this machine


def test_the_same_runs_make_the_same_archive(trained, tmp_path):
    lesson, path, _ = trained
    pack_finished_runs(lesson.runs, lesson.corpus, "smoke", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_lesson_takes_the_runs_and_trains_none_of_them(trained, class_room, capsys):
    lesson = open_lesson()
    assert "3 finished runs come from finished-runs.tar.gz" in capsys.readouterr().out
    before = trained[0].run("baseline")
    run = lesson.run("baseline")
    assert run.metrics() == before.metrics() and run.evaluation() == before.evaluation()
    state = train(run, lesson.corpus)
    assert "holds all 20 steps of this run" in capsys.readouterr().err
    assert state.step == 20 and run.weights() == before.weights()
    assert all(
        (ours == theirs).all() for ours, theirs in zip(state.model.parameters(), run.load_model().parameters(), strict=True)
    )
    ladder = _ladder(lesson)
    assert len(ladder) == 2 and not list(lesson.runs.rglob("resume.pt"))  # nothing was trained
    assert evaluate(Run.open(lesson.runs / "ladder" / "average" / "seed0"), lesson.corpus, lesson.device)


def test_runs_that_are_there_stay_and_deleted_ones_are_not_brought_back(class_room, capsys):
    lesson = open_lesson()
    shutil.rmtree(lesson.runs / "baseline")
    assert open_lesson().run("baseline").metrics() == []  # deleted to train it here
    train(lesson.run("baseline"), lesson.corpus)
    (lesson.runs / ".finished-runs").write_text("another archive")
    capsys.readouterr()
    kept = (lesson.runs / "baseline" / "resume.pt").read_bytes()
    shutil.rmtree(lesson.runs / "ladder" / "tuned")
    open_lesson()
    assert "1 finished runs come from" in capsys.readouterr().out
    assert (lesson.runs / "baseline" / "resume.pt").read_bytes() == kept


def test_a_run_without_weights_says_what_to_do(class_room):
    lesson = open_lesson()
    with pytest.raises(RunError, match=r"ladder/tuned/seed0/model\.safetensors is missing"):
        Run.open(lesson.runs / "ladder" / "tuned" / "seed0").load_model()


def test_a_damaged_archive_changes_nothing(class_room, capsys):
    (class_room / ARCHIVE).write_bytes((class_room / ARCHIVE).read_bytes()[:-2000])
    lesson = open_lesson()
    said = capsys.readouterr().out
    assert "finished-runs.tar.gz is not used, because its archive is damaged" in said and said.endswith(
        "to train everything here.\n"
    )
    assert not (lesson.runs / "baseline").exists() and not list(lesson.runs.glob("tmp*"))


def test_nothing_to_pack_is_an_error(trained, tmp_path):
    with pytest.raises(RunError, match="holds no run that is trained and evaluated: run the lessons first"):
        pack_finished_runs(tmp_path, trained[0].corpus, "smoke", tmp_path / ARCHIVE)
    assert not (tmp_path / ARCHIVE).exists()


def test_error_rates_are_kept_with_the_runs(trained):
    lesson = trained[0]
    plan = replace(lesson.profile.generalisation, seeds=(0,))
    given = lesson.profile.tuned, plan, [lesson.corpus], lesson.corpus, lesson.runs / "generalisation"
    first = run_generalisation(*given, workers=1)
    for weights in given[-1].rglob("model.safetensors"):
        run = Run.open(weights.parent)
        run.save_evaluation({name: value for name, value in run.evaluation().items() if name != "weights"})
        weights.unlink()  # as in the archive
    assert (run_generalisation(*given, workers=1).eer == first.eer).all()


def test_make_release_packs_the_runs_of_the_checkout(trained, tmp_path, monkeypatch, capsys):
    lesson, path, _ = trained
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "speaker_lib").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(lesson.runs, tmp_path / "runs" / "smoke" / lesson.corpus.folder.name)
    monkeypatch.setenv("SPEAKER_PROFILE", "smoke")
    monkeypatch.setenv("SPEAKER_DATA", str(lesson.corpus.folder))
    monkeypatch.chdir(tmp_path)
    assert release(Project.read(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "baseline: 1 run\n" in said and "ladder: 2 runs\n" in said and f"build/{ARCHIVE}: " in said
    with tarfile.open(path) as before, tarfile.open(tmp_path / "build" / ARCHIVE) as made:
        assert set(before.getnames()) <= set(made.getnames())
