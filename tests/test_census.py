"""Every file below AUDIO_DIR is used, skipped with a reason, or counted by its kind."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speaker_lib.data.recordings import prepare
from speaker_lib.utils.errors import CorpusError

from .conftest import call, command_line
from .recordings import write, write_all

PLAIN = ["ada/1.wav", "ada/2.wav", "bo/1.wav", "bo/2.wav"]
ROOT = Path(__file__).parents[1]


def files_below(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder, followlinks=True))


def adds_up(done, folder: Path) -> bool:
    return done.n_recordings + len(done.skipped) + sum(done.not_sound.values()) == done.n_files == files_below(folder)


def test_the_census_is_short_where_all_is_well(tmp_path):
    for name in PLAIN:
        write(tmp_path / "in" / name, seconds=1.5)
    done = call("prepare", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert done.returncode == 0 and "note:" not in done.stderr and "skipped:" not in done.stderr and "warning:" not in done.stderr
    assert done.stdout.splitlines()[1:] == [
        "Sessions: 4, taken from each file; at least 2 per speaker.",
        "Without pauses 6 of 6 s are left (100%).",
        "Files: 4, of which 4 used, 0 skipped, 0 not sound.",
    ]
    log = (tmp_path / "out" / "prepare.log").read_text(encoding="utf-8").splitlines()
    assert "used\tada/1.wav\tspeaker ada, session 1.wav, 1.5 of 1.5 s" in log and len(log) == 2 + 1 + 4


def test_every_kind_of_file_is_accounted_for(tmp_path):
    folder = write_all(
        tmp_path / "in", [*PLAIN, "ada/called.dat", "loose.wav", "ada/.hidden.wav", ".trash/old.wav", "ada/UPPER.WAV"]
    )
    for name in ("ada/notes.txt", "ada/.DS_Store", "README", "cy/a.m4a", "cy/b.m4a", "ada/broken.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no sound at all")
    (folder / "empty").mkdir()
    (folder / "ada" / "gone.wav").symlink_to("nowhere")
    os.mkfifo(folder / "ada" / "pipe.wav")
    done = prepare(folder, tmp_path / "out", workers=1)
    assert adds_up(done, folder) and done.n_recordings == 6
    assert done.not_sound == {".txt": 1, "hidden": 1, "without a suffix": 1, "no ordinary file": 1}
    assert done.without == ("cy", "empty")
    said = "\n".join(done.skipped)
    for name in ("loose.wav lies beside", "/.hidden.wav is hidden", ".trash/old.wav is hidden", "gone.wav cannot be opened"):
        assert name in said
    assert len(done.skipped) == 7 and len(done.skipped_by_reason) < 7
    (both,) = (line for line in done.skipped_by_reason if "a.m4a" in line)
    assert both.endswith("The same holds for 1 more: cy/b.m4a.")
    log = (tmp_path / "out" / "prepare.log").read_text(encoding="utf-8")
    assert all(sentence in log for sentence in done.skipped)


@pytest.mark.parametrize("seed", range(3))
def test_the_counts_add_up_on_any_tree(tmp_path, seed):
    rng, folder = random.Random(seed), tmp_path / "in"
    write_all(folder, PLAIN)
    sound, folders = (folder / "ada" / "1.wav").read_bytes(), [folder, folder / "ada", folder / "bo"]
    for i in range(60):
        at = rng.choice(folders)
        path = at / (
            rng.choice(["", ".", "x", "x y", "é", "-", "a\tb"]) + str(i) + rng.choice([".wav", ".WAV", ".txt", "", ".m4a", ".x"])
        )
        kind = rng.randrange(6)
        if kind == 0:
            path.mkdir()
            folders.append(path)
        elif kind == 1:
            path.symlink_to(rng.choice([*folders, folder / "bo" / "1.wav", folder / "nowhere", path]))
        else:
            path.write_bytes([sound, sound[: rng.randrange(len(sound))], b"", rng.randbytes(300)][kind - 2])
    done = prepare(folder, tmp_path / "out", workers=1, speaker_from="folder")
    log = (tmp_path / "out" / "prepare.log").read_text(encoding="utf-8").splitlines()
    assert done.n_recordings + len(done.skipped) + sum(done.not_sound.values()) == done.n_files
    assert sum(line.startswith("used\t") for line in log) == done.n_recordings
    assert sum(line.startswith("skipped\t") for line in log) == len(done.skipped)
    assert done.n_files == files_below_without_loops(folder)


def files_below_without_loops(folder: Path, above: tuple[str, ...] = ()) -> int:
    """Files as `os.listdir` shows them; a folder that lies in itself is entered once."""
    real = os.path.realpath(folder)
    if real in above:
        return 0
    paths = list(folder.iterdir())
    return sum(files_below_without_loops(p, (*above, real)) if os.path.isdir(p) else 1 for p in paths)  # noqa: PTH112


def test_linked_folders_are_followed_and_loops_are_not(tmp_path):
    store = write_all(tmp_path / "store", ["s1/a.wav", "s2/a.wav", "bo/b.wav"])
    folder = write_all(tmp_path / "in", ["ada/1.wav"])
    (folder / "ada" / "monday").symlink_to(store / "s1")
    (folder / "ada" / "tuesday").symlink_to(store / "s2")
    (folder / "bo").symlink_to(store / "bo")
    (folder / "ada" / "up").symlink_to(folder)
    done = prepare(folder, tmp_path / "out", workers=1)
    assert done.n_recordings == 4 and done.speakers == ("ada", "bo")
    (line,) = done.unread
    assert line.endswith("ada/up is a link to a folder in which it lies itself, and is not followed.")


def test_what_permissions_deny_is_named(tmp_path):
    folder = write_all(tmp_path / "in", [*PLAIN, "ada/locked/3.wav", "cy/1.wav"])
    denied = [folder / "ada" / "2.wav", folder / "ada" / "locked", folder / "cy"]
    drop = []
    if os.geteuid() == 0:  # root reads everything, unless it gives that right away
        caps = "-dac_override,-dac_read_search,-fowner"
        drop = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]
        if not shutil.which("setpriv") or subprocess.run([*drop, "true"]).returncode:
            pytest.skip("root cannot be denied anything here: there is no setpriv")
    for path in denied:
        path.chmod(0)
    arguments = command_line("prepare", folder, tmp_path / "out", "--workers", 1)
    done = subprocess.run([*drop, *arguments], capture_output=True, text=True, timeout=300)
    for path in denied:
        path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert f"skipped: {denied[0]} may not be read (Permission denied)" in done.stderr
    for path in denied[1:]:
        assert f"skipped: {path} cannot be listed (Permission denied)" in done.stderr
    assert "nothing is left of 1 speaker: cy." in done.stderr
    assert "Files: 4, of which 3 used, 1 skipped, 0 not sound." in done.stdout


def test_the_test_set_may_lie_in_the_same_folder(tmp_path):
    folder = write_all(tmp_path / "in", [*PLAIN, "unknown/x.wav", "unknown/y.txt.wav"])
    done = prepare(folder, tmp_path / "out", test_folder=folder / "unknown", workers=1)
    assert done.speakers == ("ada", "bo") and done.n_test == 2 and adds_up(done, folder)


def test_nothing_to_use_says_what_is_there(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "in" / "ada" / f"{i}.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"has no folder with recordings in it \(\.txt 3\): make one folder per speaker"):
        prepare(tmp_path / "in", tmp_path / "out")
    write(tmp_path / "in" / ".hidden.wav")
    with pytest.raises(CorpusError, match=r"none of the 4 files .* the first: .*\.hidden\.wav is hidden"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_many_reasons_are_a_few_lines_and_a_count(tmp_path):
    folder = write_all(tmp_path / "in", PLAIN)
    for i in range(15):
        (folder / "ada" / f"link{i}.x{i}").symlink_to("nowhere")
    done = call("prepare", folder, tmp_path / "out", "--workers", 1)
    lines = [line for line in done.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == 11 and lines[-1] == f"skipped: 5 more, see {tmp_path / 'out' / 'prepare.log'}."


def test_real_speech_has_one_session_per_speaker(speech, tmp_path):
    few = tmp_path / "in"
    for speaker in sorted(path for path in speech.iterdir() if path.is_dir())[:2]:
        (few / speaker.name).mkdir(parents=True)
        for path in sorted(speaker.glob("*.flac"))[:2]:
            shutil.copy(path, few / speaker.name)
    done = call("prepare", few, tmp_path / "out", "--workers", 1)
    assert "Sessions: 2, " in done.stdout and "one per speaker" in done.stdout
    train = ["--preset", "laptop_baseline", "--steps", 1, "--set", "train.split=session", "--run", tmp_path / "run"]
    done = call("train", "--data", tmp_path / "out", *train)
    assert done.returncode == 1 and "no speaker in these data has two named sessions" in done.stderr
    assert "--session-from file" in done.stderr
    assert call("prepare", few, tmp_path / "files", "--workers", 1, "--session-from", "file").returncode == 0
    assert call("train", "--data", tmp_path / "files", *train).returncode == 0


def test_a_clone_with_the_line_ends_of_windows_runs_the_shell_script(tmp_path):
    if not shutil.which("git") or subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("this is no clone of the repository, so it cannot be cloned")
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", f"file://{ROOT}", tmp_path / "clone"]
    subprocess.run(clone, check=True)
    done = subprocess.run(
        ["bash", "data/download.sh", "--help"],
        cwd=tmp_path / "clone",
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "download.sh" in done.stdout, done.stderr
    assert b"\r" not in (tmp_path / "clone" / "Makefile").read_bytes()
