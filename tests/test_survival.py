"""What a run survives: kill -9 at any write, a full disk, a lost machine, and another process in its folder."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from speaker_lib import Corpus, Run, train
from speaker_lib.training.backup import backup_of, fetch_backup
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.loop import StopTraining
from speaker_lib.training.run import WRITTEN
from speaker_lib.utils.errors import ConfigError, RunError, WriteError

from .conftest import call, command, write_corpus
from .runs import PRESET, assert_equal, assert_same_outcome, weights, without_speed


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("survival") / "corpus")


@pytest.fixture(scope="module")
def corpus(data) -> Corpus:
    return Corpus.open(data)


# Dies in the middle of the write that is the last argument: the file beside is there, and half of it is written.
KILLED_WHILE_WRITING = """
import os, signal, stat, sys, threading
from speaker_lib import Corpus, Run, train
from speaker_lib.utils import files
left, fsync, replace = int(sys.argv[3]), os.fsync, files.Path.replace
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def dying_fsync(descriptor):
    global left
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # a folder has taken a new name: no write to be cut in half
        return fsync(descriptor)
    left -= 1
    if left == 0:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        die()
    fsync(descriptor)
def dying_replace(path, target):
    global left
    left -= 1
    if left == 0:
        die()
    return replace(path, target)
os.fsync, files.Path.replace = dying_fsync, dying_replace
train(Run.open(sys.argv[1]), Corpus.open(sys.argv[2]))
"""


@pytest.mark.parametrize("write", [1, 2, 5, 6, 7, 8, 9, 10])
def test_a_kill_in_the_middle_of_any_write_changes_nothing(uninterrupted, corpus, tmp_path, write):
    """Writes 1 and 2 are the first state (fsync, replace), then one more state, the validations, the weights, and so on."""
    run = Run.create(tmp_path / "killed", PRESET, corpus)
    arguments = [sys.executable, "-c", KILLED_WHILE_WRITING, run.folder, corpus.folder, str(write)]
    assert subprocess.run(arguments, capture_output=True).returncode == -9
    left = [path.name for path in run.folder.glob(".*.partial")]
    assert len(left) == 1
    train(Run.open(run.folder), corpus)
    assert list(run.folder.glob(".*.partial")) == []
    assert_same_outcome(run, uninterrupted)


def test_a_killed_run_is_not_locked_for_ever(corpus, tmp_path):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    hold = "import sys\nfrom speaker_lib import Run\nwith Run.open(sys.argv[1]).locked(): print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="is being trained by another process"):
            train(run, corpus)
        done = call("train", "--data", corpus.folder, "--run", run.folder, "--resume")
        assert done.returncode == 1 and "is being trained by another process" in done.stderr
        holder.kill()
    assert train(run, corpus).step == 60


def full_disk(monkeypatch, folder: Path, fails) -> None:
    """From now on the disk takes no file of ``folder`` for which ``fails(name)`` is true."""
    fsync = os.fsync

    def refuse(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_file() and path.is_relative_to(folder) and fails(path.name.split(".")[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("kind", ["resume", "metrics", "model", ""])
def test_training_continues_on_a_full_disk_and_writes_later(uninterrupted, corpus, tmp_path, monkeypatch, capsys, kind):
    run = Run.create(tmp_path / "run", PRESET, corpus)
    seen, held = [], []

    def look(row):
        seen.append(row)
        if row["step"] == 40:
            held.append(run.load_resume())
            monkeypatch.undo()  # room again

    full_disk(monkeypatch, run.folder.resolve(), lambda name: name == kind or not kind)
    train(run, corpus, callbacks=[look])
    error = capsys.readouterr().err
    assert error.count("Warning: the disk is full, ") == 1 and "Training goes on" in error and str(run.folder) in error
    assert f"Everything that waited for {run.folder} is saved now." in error
    assert held[0] is None or held[0]["step"] == 10  # never ahead of the validations and weights it counts on
    assert len(seen) == 3
    assert list(run.folder.glob(".*.partial")) == []
    assert_same_outcome(run, uninterrupted)


def test_a_disk_that_stays_full_keeps_the_last_state_and_ends_with_an_error(uninterrupted, corpus, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", PRESET, corpus)

    def fill(row):
        if row["step"] == 20:
            full_disk(monkeypatch, run.folder.resolve(), lambda name: True)

    with pytest.raises(WriteError, match=r"the disk is full, .*: free some space there, then run the same command again\."):
        train(run, corpus, callbacks=[fill])
    monkeypatch.undo()
    assert run.load_resume()["step"] == 10 and [row["step"] for row in run.metrics()] == [20]
    train(run, corpus)
    assert_same_outcome(run, uninterrupted)


def test_a_disk_that_is_really_full_is_survived(corpus, tmp_path, small_disk):
    """Another program fills a file system of one megabyte and clears it later."""
    preset = PRESET.override({"train.total_steps": 80})
    whole = Run.create(tmp_path / "whole", preset, corpus)
    train(whole, corpus)
    run, hog = Run.create(small_disk / "run", preset, corpus), small_disk / "hog"

    def fill_or_clear(row):
        if row["step"] == 20:
            free = shutil.disk_usage(small_disk).free
            hog.write_bytes(bytes(free - free % 4096))
        if row["step"] == 60:
            assert Run.open(run.folder).load_resume()["step"] == 10
            hog.unlink()

    train(run, corpus, callbacks=[fill_or_clear])
    assert_same_outcome(run, whole)


def test_the_command_line_reports_a_full_disk_in_one_sentence(corpus, small_disk):
    (small_disk / "hog").write_bytes(bytes(shutil.disk_usage(small_disk).free - 3 * 4096))
    arguments = ["--data", corpus.folder, "--preset", "laptop_baseline", "--run", small_disk / "run", "--steps", "20"]
    done = call("train", *arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the disk is full, ")


def test_a_state_is_saved_by_the_clock_too(corpus, tmp_path, monkeypatch):
    """Each step takes 50 seconds here, and a state may be two minutes old."""
    settings = {"train.save_steps": 1_000, "train.save_minutes": 2.0, "train.valid_steps": 1, "train.total_steps": 12}
    run, saved = Run.create(tmp_path / "run", PRESET.override(settings), corpus), []
    monkeypatch.setattr(time, "monotonic", lambda: 50.0 * len(saved))

    def look(row):
        state = run.load_resume()
        saved.append(state and state["step"])

    train(run, corpus, callbacks=[look])
    assert saved == [None, None, None, 3, 3, 3, 6, 6, 6, 9, 9, 9]


@pytest.mark.parametrize(("minutes", "saved_at"), [(1e-9, 19), (0.0, None), (5.0, None)])
def test_between_validations_the_clock_saves_where_it_has_a_limit(uninterrupted, corpus, tmp_path, minutes, saved_at):
    preset = PRESET.override({"train.save_steps": 1_000, "train.save_minutes": minutes})
    run, saved = Run.create(tmp_path / "run", preset, corpus), []
    train(run, corpus, callbacks=[lambda row: saved.append(run.load_resume())])
    assert (saved[0] and saved[0]["step"]) == saved_at  # before the state of step 20 itself is saved
    assert_equal(weights(run), weights(uninterrupted))  # saving in between changes nothing


# The process dies after step 40, and its disk is lost.
def test_a_fresh_machine_resumes_from_the_backup(uninterrupted, corpus, tmp_path, monkeypatch):
    run, backup = Run.create(tmp_path / "lost" / "run", PRESET, corpus), tmp_path / "drive" / "run"

    def vanish(row):
        if row["step"] == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, corpus, callbacks=[vanish], backup=backup)
    shutil.rmtree(tmp_path / "lost")
    fetch_backup(tmp_path / "new" / "run", backup)
    again = Run.open(tmp_path / "new" / "run")
    assert again.load_resume()["step"] == 30
    train(again, corpus, backup=backup)
    assert_same_outcome(again, uninterrupted)
    for name in WRITTEN:
        assert (backup / name).read_bytes() == (again.folder / name).read_bytes()


def test_the_command_line_resumes_from_a_backup(corpus, tmp_path):
    drive = tmp_path / "drive"
    data = ["train", "--data", corpus.folder, "--backup", drive]
    assert call(*data, "--run", tmp_path / "a" / "run", "--preset", "laptop_baseline", "--steps", "4").returncode == 0
    assert sorted(path.name for path in (drive / "run").iterdir()) == sorted(WRITTEN)
    done = call(*data, "--run", tmp_path / "b" / "run", "--resume")  # a new machine, which need not name the preset
    assert done.returncode == 0, done.stderr
    assert f"resumes from its backup in {drive / 'run'}, at step 4" in done.stderr
    assert (tmp_path / "b" / "run" / "metrics.jsonl").read_bytes() == (drive / "run" / "metrics.jsonl").read_bytes()

    done = call(*data, "--run", tmp_path / "c" / "run", "--preset", "laptop_baseline", "--steps", "4")
    assert done.returncode == 1 and "is further than" in done.stderr and "--resume" in done.stderr
    done = call(*data, "--run", tmp_path / "d" / "run", "--preset", "laptop_baseline", "--steps", "5")
    assert done.returncode == 1 and "other settings (train.total_steps was 4 and is now 5)" in done.stderr
    done = call(*data, "--run", drive / "run", "--resume")
    assert done.returncode == 2 and "holds the run itself" in done.stderr


def test_seeds_have_a_backup_each(corpus, tmp_path):
    options = ["--data", corpus.folder, "--preset", "laptop_baseline", "--steps", "3", "--seeds", "0,1"]
    drive = ["--backup", tmp_path / "drive"]
    assert call("train", *options, *drive, "--run", tmp_path / "a" / "runs").returncode == 0
    assert (tmp_path / "drive" / "runs" / "seed1" / "resume.pt").exists()
    done = call("train", *options, *drive, "--run", tmp_path / "b" / "runs", "--resume")
    assert done.returncode == 0 and done.stderr.count("resumes from its backup") == 2
    assert Run.open(tmp_path / "b" / "runs" / "seed0").load_resume()["step"] == 3


def test_the_later_of_run_and_backup_is_resumed(corpus, tmp_path):
    run, backup = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive" / "run"

    def stop_at(step: int):
        def stop(row):
            if row["step"] == step:
                raise StopTraining

        return [stop]

    train(run, corpus, callbacks=stop_at(20), backup=backup)
    old = tmp_path / "old"
    shutil.copytree(run.folder, old)
    train(run, corpus, callbacks=stop_at(40), backup=backup)
    shutil.copytree(old, tmp_path / "behind" / "run")
    fetch_backup(tmp_path / "behind" / "run", backup)
    assert Run.open(tmp_path / "behind" / "run").load_resume()["step"] == 40
    train(run, corpus)  # the folder is now ahead of its backup
    fetch_backup(run.folder, backup)
    assert run.load_resume()["step"] == 60
    with pytest.raises(RunError, match=r"further than .*resume from it \(--resume\)"):
        train(Run.open(old), corpus, backup=backup)
    assert Run.open(backup).load_resume()["step"] == 40


def bytes_read(function) -> int:
    """How many bytes this process reads from files in ``function``, without memory maps that it does not touch."""
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("there is no /proc/self/io to count the bytes that are read")
    before = int(counter.read_text().split()[1])
    function()
    return int(counter.read_text().split()[1]) - before


def test_the_tensors_are_read_once_to_resume_with_a_backup(corpus, tmp_path):
    preset = PRESET.override({"model.d_model": 128, "model.dim_feedforward": 2_000, "train.total_steps": 20})
    run, backup = Run.create(tmp_path / "run", preset, corpus), tmp_path / "drive" / "run"
    train(run, corpus, backup=backup)
    state, weights = ((run.folder / name).stat().st_size for name in ("resume.pt", "model.safetensors"))
    assert bytes_read(lambda: fetch_backup(run.folder, backup)) < state / 4
    assert state < bytes_read(lambda: train(run, corpus, backup=backup)) < 1.5 * state + weights
    new = tmp_path / "new" / "run"
    assert state < bytes_read(lambda: fetch_backup(new, backup)) < 1.5 * state + weights
    assert (new / "resume.pt").read_bytes() == (run.folder / "resume.pt").read_bytes()


@pytest.fixture
def finished(corpus, tmp_path) -> tuple[Run, Path]:
    """A run of 60 steps, and its backup."""
    run, backup = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive" / "run"
    train(run, corpus, backup=backup)
    return run, backup


def test_a_damaged_state_with_a_backup_names_the_backup_and_once_deleted_resumes_from_it(finished):
    run, backup = finished
    damaged = run.folder / "resume.pt"
    damaged.write_bytes(b"torn")
    with pytest.raises(RunError, match=r"run/resume\.pt cannot be read: delete it to resume from .*drive/run, at step 60\.$"):
        fetch_backup(run.folder, backup)
    assert damaged.read_bytes() == b"torn"
    damaged.unlink()
    fetch_backup(run.folder, backup)
    assert run.load_resume()["step"] == 60


def test_a_damaged_backup_is_made_anew_from_the_run(finished, corpus):
    run, backup = finished
    damaged = backup / "resume.pt"
    damaged.write_bytes(b"torn")
    with pytest.raises(RunError, match=r"drive/run/resume\.pt cannot be read: delete it, and .* makes it anew from .*/run\.$"):
        fetch_backup(run.folder, backup)
    with pytest.raises(RunError, match="delete it, and training makes it anew"):
        train(run, corpus, backup=backup)
    damaged.unlink()
    fetch_backup(run.folder, backup)
    train(run, corpus, backup=backup)
    assert damaged.read_bytes() == (run.folder / "resume.pt").read_bytes()


def test_if_the_run_and_its_backup_are_damaged_training_starts_anew(finished):
    run, backup = finished
    for folder in (run.folder, backup):
        (folder / "resume.pt").write_bytes(b"torn")
    for damaged in (run.folder, backup):  # one after the other, as the sentences say
        with pytest.raises(RunError, match="delete it to train this run from the start"):
            fetch_backup(run.folder, backup)
        (damaged / "resume.pt").unlink()
    fetch_backup(run.folder, backup)


def test_a_backup_of_another_run_is_not_touched(corpus, tmp_path):
    backup = tmp_path / "drive"
    train(Run.create(tmp_path / "one", PRESET.override({"train.total_steps": 5}), corpus), corpus, backup=backup)
    before = {path.name: path.read_bytes() for path in backup.iterdir()}
    other = Run.create(tmp_path / "other", PRESET.override({"train.seed": 3, "train.total_steps": 5}), corpus)
    for attempt in (lambda: train(other, corpus, backup=backup), lambda: fetch_backup(other.folder, backup)):
        with pytest.raises(RunError, match=r"holds a run with other settings \(train\.seed was 87 and is now 3\): name another"):
            attempt()
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == before


def test_a_backup_that_fails_does_not_end_training(uninterrupted, corpus, tmp_path, monkeypatch, capsys):
    run, backup = Run.create(tmp_path / "run", PRESET, corpus), tmp_path / "drive"

    def unmount(row):
        if row["step"] == 20:
            full_disk(monkeypatch, backup.resolve(), lambda name: True)
        if row["step"] == 60:
            monkeypatch.undo()

    train(run, corpus, callbacks=[unmount], backup=backup)
    assert f"the disk is full, {backup}" in capsys.readouterr().err
    assert_same_outcome(run, uninterrupted)
    for name in WRITTEN:
        assert (backup / name).read_bytes() == (run.folder / name).read_bytes()


def test_a_backup_is_brought_up_to_date_at_the_end_though_the_run_s_own_disk_is_full(corpus, tmp_path, monkeypatch):
    """Both disks were full at the last save; then there is room again on the backup's."""
    run, backup = Run.create(tmp_path / "here" / "run", PRESET, corpus), tmp_path / "drive"
    finish = Checkpoints.finish

    def fill(row):
        if row["step"] == 60:
            full_disk(monkeypatch, tmp_path.resolve(), lambda name: True)

    def clear_one(writer):
        monkeypatch.setattr(os, "fsync", fsync)
        full_disk(monkeypatch, run.folder.resolve(), lambda name: True)
        finish(writer)

    fsync = os.fsync
    monkeypatch.setattr(Checkpoints, "finish", clear_one)
    with pytest.raises(WriteError, match=r"here/run/resume\.pt could not be written, so .* is only in .*/drive: free"):
        train(run, corpus, callbacks=[fill], backup=backup)
    assert Run.open(backup).load_resume()["step"] == 60 and run.load_resume()["step"] == 50


def test_a_backup_that_cannot_be_written_is_an_error_before_training(corpus, tmp_path):
    (tmp_path / "file").write_text("no folder")
    run = Run.create(tmp_path / "run", PRESET, corpus)
    with pytest.raises(WriteError, match="could not be written"):
        train(run, corpus, backup=tmp_path / "file" / "drive")
    assert run.metrics() == []


def test_a_backup_has_the_name_of_its_run(tmp_path):
    assert backup_of(tmp_path / "run", None) is None
    assert backup_of(tmp_path / "run", tmp_path / "drive") == tmp_path / "drive" / "run"
    with pytest.raises(ConfigError, match="holds the run itself"):
        backup_of(tmp_path / "run", tmp_path)
    fetch_backup(tmp_path / "run", tmp_path / "drive" / "run")  # there is none: nothing to do
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_files_from_the_command_line(corpus, tmp_path):
    settings = ["--preset", "laptop_baseline", "--steps", "12", "--set", "train.seed=5"]
    for name in ("one", "two"):
        done = command("train", "--data", corpus.folder, *settings, "--run", tmp_path / name)
        assert done.returncode == 0, done.stderr
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    assert without_speed(Run.open(one).metrics()) == without_speed(Run.open(two).metrics())
    preset = Run.open(one).preset
    again = Run.create(tmp_path / "again", preset, corpus)  # and from Python
    torch.manual_seed(99)
    train(again, corpus)
    assert (again.folder / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
