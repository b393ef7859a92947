"""A folder that vanishes while a run trains in it: it is never made anew, and nothing is lost if it comes back."""

import errno
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speaker_lib import Corpus, Run, train
from speaker_lib.experiments.seeds import Job, train_jobs
from speaker_lib.training.run import WRITTEN
from speaker_lib.utils.errors import RunError, WriteError

from .conftest import write_corpus
from .runs import PRESET, assert_same_outcome

HOLD = "import sys\nfrom speaker_lib import Run\nwith Run.open(sys.argv[1]).locked(): print('held', flush=True); input()"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return Corpus.open(write_corpus(tmp_path_factory.mktemp("vanish") / "corpus"))


def at(**happening):
    """A callback that calls ``s20()`` after the validation of step 20, and so on."""

    def look(row):
        if action := happening.get(f"s{row['step']}"):
            action()

    return [look]


def assert_gone(error: str, folder: Path, problem: str = "is gone, or lacks its config.json") -> None:
    """One warning, in a sentence that names the folder."""
    (warning,) = [line for line in error.splitlines() if line.startswith("Warning: ")]
    assert str(folder) in warning and problem in warning and "Training goes on" in warning and "waits in memory" in warning


@pytest.mark.parametrize("way", ["renamed", "deleted", "emptied", "file"])
def test_a_run_s_folder_that_vanishes_is_not_made_anew(corpus, tmp_path, capsys, way):
    run = Run.create(tmp_path / "drive" / "run", PRESET, corpus)

    def vanish():
        if way == "renamed":
            run.folder.rename(tmp_path / "away")
        else:
            shutil.rmtree(run.folder)
        if way == "emptied":  # as a mount point without its drive
            run.folder.mkdir()
        if way == "file":
            run.folder.write_text("in the way")

    with pytest.raises(
        WriteError,
        match=r"run is gone, or lacks its config\.json, so what .* \(metrics\.jsonl, resume\.pt\) is lost: mount its drive",
    ):
        train(run, corpus, callbacks=at(s20=vanish))
    assert_gone(capsys.readouterr().err, run.folder)
    if way == "emptied":
        assert list(run.folder.iterdir()) == []
    elif way == "file":
        assert run.folder.read_text() == "in the way"
    else:
        assert not run.folder.exists()


@pytest.mark.parametrize("part", ["run", "drive"])
def test_a_folder_that_comes_back_gets_all_that_waited(uninterrupted, corpus, tmp_path, capsys, part):
    run = Run.create(tmp_path / "drive" / "run", PRESET, corpus)
    place, away = (run.folder if part == "run" else run.folder.parent), tmp_path / "away"
    train(run, corpus, callbacks=at(s20=lambda: place.rename(away), s40=lambda: away.rename(place)))
    error = capsys.readouterr().err
    assert_gone(error, run.folder)
    assert f"Everything that waited for {run.folder} is saved now." in error
    assert_same_outcome(run, uninterrupted)
    assert sorted(path.name for path in run.folder.iterdir()) == sorted([".lock", *WRITTEN])


def test_the_run_is_resumed_after_its_folder_was_moved_back(uninterrupted, corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    with pytest.raises(WriteError):
        train(run, corpus, callbacks=at(s40=lambda: run.folder.rename(tmp_path / "away")))
    (tmp_path / "away").rename(run.folder)
    assert run.load_resume()["step"] == 30
    train(run, corpus)
    assert_same_outcome(run, uninterrupted)


def test_a_drive_that_lost_its_last_writes_gets_them_again(corpus, tmp_path):
    preset, old = PRESET.override({"train.valid_steps": 10}), tmp_path / "old"
    run, whole = (Run.create(tmp_path / name, preset, corpus) for name in ("run", "whole"))
    train(whole, corpus)

    def vanish():
        old.mkdir()
        shutil.copy(run.folder / "config.json", old)
        run.folder.rename(tmp_path / "away")

    train(run, corpus, callbacks=at(s30=vanish, s50=lambda: old.rename(run.folder)))
    assert_same_outcome(run, whole)


def test_the_backup_that_vanishes_is_not_made_anew_and_the_run_is_whole(uninterrupted, corpus, tmp_path, capsys):
    run, drive = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive"
    with pytest.raises(
        WriteError, match=r"drive/run is gone.* \(.*resume\.pt\) is only in .*/run: mount its drive again"
    ) as caught:
        train(run, corpus, callbacks=at(s20=lambda: drive.rename(tmp_path / "away")), backup=drive / "run")
    assert str(run.folder) in str(caught.value) and not drive.exists()
    assert_gone(capsys.readouterr().err, drive / "run")
    assert_same_outcome(run, uninterrupted)
    (tmp_path / "away").rename(drive)
    train(run, corpus, backup=drive / "run")
    assert_same_outcome(Run.open(drive / "run"), uninterrupted)


def test_the_run_vanishes_and_its_backup_has_everything(uninterrupted, corpus, tmp_path):
    run, drive = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive"
    with pytest.raises(WriteError, match=r"is only in .*drive/run"):
        train(run, corpus, callbacks=at(s20=lambda: shutil.rmtree(run.folder)), backup=drive / "run")
    assert not run.folder.exists()
    assert_same_outcome(Run.open(drive / "run"), uninterrupted)


def test_a_backup_comes_back(uninterrupted, corpus, tmp_path, capsys):
    run, drive, away = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive", tmp_path / "away"
    train(run, corpus, callbacks=at(s20=lambda: drive.rename(away), s40=lambda: away.rename(drive)), backup=drive / "run")
    assert_gone(capsys.readouterr().err, drive / "run")
    for name in WRITTEN:
        assert (drive / "run" / name).read_bytes() == (run.folder / name).read_bytes()


def test_another_run_in_the_folder_s_place_is_not_touched(corpus, tmp_path, capsys):
    run = Run.create(tmp_path / "run", PRESET, corpus)

    def replace():
        run.folder.rename(tmp_path / "away")
        Run.create(run.folder, PRESET.override({"train.seed": 7}), corpus)

    with pytest.raises(WriteError, match=r"holds a run with other settings \(train\.seed was 7 and is now \d+\)"):
        train(run, corpus, callbacks=at(s20=replace))
    assert_gone(capsys.readouterr().err, run.folder, "holds a run with other settings")
    assert [path.name for path in run.folder.iterdir()] == ["config.json"]


def test_another_training_with_the_same_settings_is_not_touched(corpus, tmp_path):
    """Its folder has the same config.json, and validations of its own."""
    other = Run.create(tmp_path / "other", PRESET, corpus)
    train(other, corpus)
    metrics = (other.folder / "metrics.jsonl").read_bytes()
    run = Run.create(tmp_path / "run", PRESET, corpus)

    def replace():
        run.folder.rename(tmp_path / "away")
        other.folder.rename(run.folder)

    with pytest.raises(WriteError, match="holds the validations of another training"):
        train(run, corpus, callbacks=at(s20=replace))
    assert (run.folder / "metrics.jsonl").read_bytes() == metrics


def test_a_second_process_that_took_the_folder_keeps_it(corpus, tmp_path, capsys):
    """A lock holds for a file, not for its name: this folder was deleted and made anew, and a second process trains there."""
    run, holders = Run.create(tmp_path / "run", PRESET, corpus), []

    def take():
        config = (run.folder / "config.json").read_bytes()
        shutil.rmtree(run.folder)
        run.folder.mkdir()
        (run.folder / "config.json").write_bytes(config)
        command = [sys.executable, "-c", HOLD, run.folder]
        holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert holders[0].stdout.readline() == "held\n"

    with pytest.raises(WriteError, match="run is being trained by another process"):
        train(run, corpus, callbacks=at(s20=take))
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "config.json"]
    holders[0].communicate("\n")
    assert_gone(capsys.readouterr().err, run.folder, "is being trained by another process")


def test_the_lock_is_taken_again_in_a_folder_that_came_back(corpus, tmp_path):
    run, copy, refused = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "copy", []

    def swap():
        shutil.copytree(run.folder, copy)
        shutil.rmtree(run.folder)
        copy.rename(run.folder)

    def second():
        done = subprocess.run([sys.executable, "-c", HOLD, run.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        refused.append("is being trained by another process" in done.stderr)

    train(run, corpus, callbacks=at(s20=swap, s60=second))
    assert refused == [True] and len(run.metrics()) == 3


def test_a_folder_without_its_config_is_refused_before_training(corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    (run.folder / "config.json").unlink()
    with pytest.raises(RunError, match=r"run/config\.json is missing"):
        train(run, corpus)
    shutil.rmtree(run.folder)
    with pytest.raises(WriteError, match="because its folder is gone"):
        train(run, corpus)
    assert not run.folder.exists()


def test_an_evaluation_makes_no_folder(corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    run.folder.rename(tmp_path / "away")
    with pytest.raises(WriteError, match=r"run is gone, or lacks its config\.json, so evaluation\.json is not saved"):
        run.save_evaluation({})
    assert not run.folder.exists()


def test_of_several_runs_none_begins_on_another_disk(corpus, tmp_path):
    """The drive vanishes while the first of two runs trains: the second one is not begun where the drive was mounted."""
    drive = tmp_path / "drive"
    preset = PRESET.override({"train.total_steps": 200, "train.valid_steps": 20})
    jobs = [Job.of(drive / "runs" / f"seed{n}", preset.override({"train.seed": n}), corpus) for n in (0, 1)]
    script = (
        "import sys, time, pathlib\n"
        "first, drive = map(pathlib.Path, sys.argv[1:])\n"
        "while not (first / 'metrics.jsonl').exists(): time.sleep(0.01)\n"
        "drive.rename(drive.with_name('away'))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, jobs[0].folder, drive]) as remover:
        with pytest.raises(WriteError, match="is gone"):
            train_jobs(jobs, workers=1)
        assert remover.wait(60) == 0
    assert not drive.exists()


def test_a_connection_that_breaks_is_a_folder_that_vanished(uninterrupted, corpus, tmp_path, monkeypatch, capsys):
    """What a drive answers whose program has died: "Transport endpoint is not connected"."""
    run = Run.create(tmp_path / "run", PRESET, corpus)
    stat, read = Path.stat, Path.read_text

    def broken(kept):
        def refuse(path, *arguments, **options):
            if path.is_relative_to(run.folder):
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return kept(path, *arguments, **options)

        return refuse

    def break_off():
        monkeypatch.setattr(Path, "stat", broken(stat))
        monkeypatch.setattr(Path, "read_text", broken(read))

    train(run, corpus, callbacks=at(s20=break_off, s40=monkeypatch.undo))
    error = capsys.readouterr().err
    assert error.count("Warning: ") == 1 and f"Everything that waited for {run.folder} is saved now." in error
    assert_same_outcome(run, uninterrupted)


@pytest.fixture
def fuse(tmp_path):
    """Mounts a folder as Google Drive is mounted; the fixture gives the mount point and its two verbs."""
    if not (shutil.which("bindfs") and shutil.which("fusermount") and Path("/dev/fuse").exists()):
        pytest.skip("a real drive cannot be unmounted here: bindfs or FUSE is missing")
    store, drive = tmp_path / "store", tmp_path / "drive"
    store.mkdir(), drive.mkdir()

    def mount():
        done = subprocess.run(["bindfs", store, drive], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a real drive cannot be mounted here: {done.stderr.strip()}")
        while not drive.is_mount():
            time.sleep(0.01)

    def unmount():
        subprocess.run(["fusermount", "-uz", drive], check=True)

    mount()
    yield drive, mount, unmount
    if drive.is_mount():
        unmount()


@pytest.mark.parametrize("role", ["run", "backup"])
def test_a_drive_that_is_really_unmounted_and_mounted_again(uninterrupted, corpus, tmp_path, capsys, fuse, role):
    drive, mount, unmount = fuse
    run = Run.create((drive if role == "run" else tmp_path) / "run", PRESET, corpus)

    def lose():
        unmount()
        (drive / "run").mkdir()  # what a remount begins with, or another program

    def find():
        (drive / "run").rmdir()
        mount()

    train(run, corpus, callbacks=at(s20=lose, s40=find), backup=drive / "run" if role == "backup" else None)
    assert_gone(capsys.readouterr().err, drive / "run")
    assert_same_outcome(Run.open(drive / "run"), uninterrupted)
    unmount()
    assert list(drive.iterdir()) == []
