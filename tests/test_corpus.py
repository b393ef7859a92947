"""The HW4 layout: opened, checked, packed; and what happens when something is wrong with it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from speaker_lib import Corpus, CorpusWriter
from speaker_lib.data.check import check_corpus
from speaker_lib.data.packing import cache_folder
from speaker_lib.utils.errors import CorpusError, SpeakerError, escape_controls, is_text

from .conftest import write_corpus


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first_feature(folder: Path) -> Path:
    entries = next(iter(json.loads((folder / "metadata.json").read_text())["speakers"].values()))
    return folder / entries[0]["feature_path"]


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_was_written_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    mels = [rng.normal(size=(n, 40)).astype(np.float32) for n in (91, 200, 128)]
    with CorpusWriter(tmp_path / "c", "test") as writer:
        writer.add(mels[0], "zoe", "a")
        writer.add(mels[1], "ada", "b")
        writer.add_test(mels[2])
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.speakers == ("ada", "zoe")
    assert corpus.labelled.labels.tolist() == [1, 0]  # the order of metadata.json, which is not sorted
    assert corpus.labelled.sessions == ("a", "b")
    assert corpus.labelled.lengths.tolist() == [91, 200]
    assert corpus.source == "test"
    for found, mel in zip([corpus.labelled.mel(0), corpus.labelled.mel(1), corpus.test.mel(0)], mels, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, mel.astype(np.float16).astype(np.float32))


def test_the_layout_is_that_of_hw4(corpus_folder):
    metadata = json.loads((corpus_folder / "metadata.json").read_text())
    mapping = json.loads((corpus_folder / "mapping.json").read_text())
    testdata = json.loads((corpus_folder / "testdata.json").read_text())
    assert metadata["n_mels"] == testdata["n_mels"] == 40
    assert mapping["id2speaker"] == {str(i): name for name, i in mapping["speaker2id"].items()}
    entry = metadata["speakers"]["speaker0"][0]
    assert entry["feature_path"].startswith("uttr-") and len(entry["feature_path"]) == len("uttr-.pt") + 32
    mel = torch.load(corpus_folder / entry["feature_path"], weights_only=True)
    assert mel.dtype == torch.float32 and mel.shape == (entry["mel_len"], 40)


def test_the_order_of_the_file_is_kept_and_extras_do_no_harm(corpus_folder):
    edit(corpus_folder / "metadata.json", lambda m: m.update(speakers=dict(reversed(m["speakers"].items()))))
    edit(corpus_folder / "metadata.json", lambda m: [e.pop("session") for u in m["speakers"].values() for e in u])
    for name in ("._metadata.json", "._" + first_feature(corpus_folder).name, "log_melspectrogram.pt", "notes.txt"):
        (corpus_folder / name).write_bytes(b"\x00\x05\x16\x07 not a tensor")
    (corpus_folder / "testdata.json").unlink()
    mapping = json.loads((corpus_folder / "mapping.json").read_text())
    (corpus_folder / "mapping.json").write_text(json.dumps(mapping, separators=(",", ":")))  # the spelling on one line
    corpus = Corpus.open(corpus_folder)
    assert corpus.labelled.labels[0] == 2 and corpus.labelled.labels[-1] == 0
    assert corpus.labelled.sessions is None
    assert corpus.test is None


def test_a_packed_corpus_needs_its_features_no_more(corpus_folder):
    before = Corpus.open(corpus_folder)
    for path in corpus_folder.glob("uttr-*.pt"):
        path.unlink()
    after = Corpus.open(corpus_folder)
    np.testing.assert_array_equal(before.labelled.frames, after.labelled.frames)
    assert isinstance(after.labelled.frames, np.memmap) and after.labelled.frames.dtype == np.float16


def test_another_index_is_packed_anew(corpus_folder):
    first = Corpus.open(corpus_folder)
    edit(corpus_folder / "metadata.json", lambda m: m["speakers"]["speaker0"].pop(0))
    second = Corpus.open(corpus_folder)
    assert len(second.labelled) == len(first.labelled) - 1
    assert second.digest != first.digest
    np.testing.assert_array_equal(second.labelled.mel(0), first.labelled.mel(1))
    assert len(list((corpus_folder / "packed").glob("labelled-*.npy"))) == 1  # the old one is gone


def test_an_interrupted_pack_goes_on_where_it_ended(corpus_folder, capsys):
    whole = np.array(Corpus.open(corpus_folder).labelled.frames)
    packed = one(corpus_folder / "packed", "labelled-*.npy")
    partial = packed.with_suffix(".partial")
    partial.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2 + 33])  # torn in the middle of a frame
    packed.unlink()
    first_feature(corpus_folder).unlink()  # already packed: it is asked for by name and size only
    with pytest.raises(CorpusError, match="is missing"):
        Corpus.open(corpus_folder)
    first_feature(corpus_folder).write_bytes(b"\0" * 100_000)  # unreadable, were it read again
    os.utime(first_feature(corpus_folder), ns=(0, 0))  # not changed since
    np.testing.assert_array_equal(Corpus.open(corpus_folder).labelled.frames, whole)
    assert not partial.exists()


def extract_again(folder: Path, newer: bool = True) -> None:
    """Other features of the same lengths in place of a speaker's; with their old times, as some tools leave them."""
    for entry in json.loads((folder / "metadata.json").read_text())["speakers"]["speaker1"]:
        path = folder / entry["feature_path"]
        time = path.stat().st_mtime_ns + 10**9 * newer  # a second later
        torch.save(torch.load(path, weights_only=True) + 5.0, path)
        os.utime(path, ns=(time, time))


def test_features_that_are_newer_than_their_pack_are_packed_again_once(corpus_folder, capsys):
    before = Corpus.open(corpus_folder)
    extract_again(corpus_folder)
    kept = np.array(before.labelled.frames)
    capsys.readouterr()
    after = Corpus.open(corpus_folder)
    changed = (after.labelled.labels == 1).nonzero()[0]
    for i in range(len(after.labelled)):
        expected = np.float16(torch.load(corpus_folder / after.labelled.paths[i], weights_only=True).numpy())
        np.testing.assert_array_equal(after.labelled.mel(i), expected.astype(np.float32))
    assert len(changed) == 8 and not np.array_equal(kept, after.labelled.frames)
    said = capsys.readouterr().err
    assert said.count("is newer than") == 1 and "packed again" in said and "labelled-" in said
    Corpus.open(corpus_folder)
    assert "Pack" not in capsys.readouterr().err


@pytest.mark.parametrize("keep_times", [True, False])
@pytest.mark.parametrize("in_future", [True, False])
def test_a_copied_folder_is_packed_again_once_at_most(corpus_folder, tmp_path, capsys, keep_times, in_future):
    """Copied without times, the features may be newer than the pack; unpacked with them, newer than this machine's clock."""
    if in_future:
        os.utime(first_feature(corpus_folder), (4e9, 4e9))
    Corpus.open(corpus_folder)
    shutil.copytree(corpus_folder, tmp_path / "copy", copy_function=shutil.copy2 if keep_times else shutil.copy)
    capsys.readouterr()
    Corpus.open(tmp_path / "copy")
    assert not keep_times or capsys.readouterr().err == ""
    capsys.readouterr()
    Corpus.open(tmp_path / "copy")
    assert capsys.readouterr().err == ""


def test_an_interrupted_pack_of_older_features_is_begun_anew(corpus_folder):
    packed = Path(Corpus.open(corpus_folder).labelled.frames.filename)
    packed.rename(packed.with_suffix(".partial"))
    extract_again(corpus_folder)
    corpus = Corpus.open(corpus_folder)
    i = int((corpus.labelled.labels == 1).argmax())
    expected = np.float16(torch.load(corpus_folder / corpus.labelled.paths[i], weights_only=True).numpy())
    np.testing.assert_array_equal(corpus.labelled.mel(i), expected.astype(np.float32))


def test_check_compares_the_pack_with_its_files(corpus_folder):
    Corpus.open(corpus_folder)
    assert check_corpus(corpus_folder)[1] == []
    extract_again(corpus_folder, newer=False)
    before = snapshot(corpus_folder)
    (problem,) = check_corpus(corpus_folder)[1]
    pack = one(corpus_folder / "packed", "labelled-*.npy")
    assert str(pack) in problem and "8 of 24" in problem and "delete it, it will be made again" in problem
    assert snapshot(corpus_folder) == before
    pack.unlink()
    Corpus.open(corpus_folder)
    assert check_corpus(corpus_folder)[1] == []


def test_check_names_a_damaged_pack_and_a_damaged_feature(corpus_folder):
    Corpus.open(corpus_folder)
    pack = one(corpus_folder / "packed", "labelled-*.npy")
    pack.write_bytes(pack.read_bytes()[:-1000])
    first_feature(corpus_folder).write_bytes(b"\0" * 100_000)
    problems = " ".join(check_corpus(corpus_folder)[1])
    assert f"{pack} cannot be read" in problems and f"{first_feature(corpus_folder)} is not a readable" in problems


def test_a_damaged_pack_is_never_used(corpus_folder):
    Corpus.open(corpus_folder)
    packed = one(corpus_folder / "packed", "labelled-*.npy")
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(CorpusError, match="delete it"):
        Corpus.open(corpus_folder)


KILLED_WHILE_PACKING = """
import os, signal, sys
from speaker_lib import Corpus
from speaker_lib.data import packing
packing.CHUNK = 1
count, read = 0, packing.read_feature
def read_then_die(*arguments):
    global count
    count += 1
    if count == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(*arguments)
packing.read_feature = read_then_die
Corpus.open(sys.argv[1])
"""


def test_a_pack_that_was_killed_is_finished_by_the_next(corpus_folder, tmp_path):
    expected = np.array(Corpus.open(write_corpus(tmp_path / "same")).labelled.frames)
    died = subprocess.run([sys.executable, "-c", KILLED_WHILE_PACKING, str(corpus_folder)], capture_output=True)
    assert died.returncode == -9
    left = sorted(p.suffix for p in (corpus_folder / "packed").iterdir())
    assert ".npy" not in left and ".partial" in left
    np.testing.assert_array_equal(Corpus.open(corpus_folder).labelled.frames, expected)


# No `if __name__ == "__main__"`: a process that ran this again from the top would end with an error.
PACKED_IN_PARALLEL = """
import sys
from speaker_lib import Corpus, SpeakerError
from speaker_lib.data import packing
from speaker_lib.utils import parallel
packing.PARALLEL_FROM, packing.CHUNK, parallel.available_cores = 1, 5, lambda: 2
try:
    Corpus.open(sys.argv[1])
except SpeakerError as problem:
    sys.exit(str(problem))
"""


def test_many_files_are_packed_by_several_processes(corpus_folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PACKED_IN_PARALLEL)
    expected = np.array(Corpus.open(write_corpus(tmp_path / "same")).labelled.frames)
    done = subprocess.run([sys.executable, str(script), str(corpus_folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "24/24" in done.stderr
    np.testing.assert_array_equal(Corpus.open(corpus_folder).labelled.frames, expected)

    damaged = write_corpus(tmp_path / "damaged")
    first_feature(damaged).write_bytes(b"\0" * 100_000)
    done = subprocess.run([sys.executable, str(script), str(damaged)], capture_output=True, text=True)
    assert done.returncode == 1 and f"{first_feature(damaged)} is not a readable tensor file" in done.stderr
    assert "Traceback" not in done.stderr


def metadata(folder: Path, change) -> None:
    """Changes ``metadata.json`` by what ``change`` does to its speakers."""
    edit(folder / "metadata.json", lambda content: change(content["speakers"]))


def feature(folder: Path, value: object) -> None:
    torch.save(value, first_feature(folder))


BREAKAGES = {
    "mapping.json is missing": lambda f: (f / "mapping.json").unlink(),
    "metadata.json is missing": lambda f: (f / "metadata.json").unlink(),
    "not valid JSON": lambda f: (f / "metadata.json").write_text('{"n_mels": 40,'),
    "holds a JSON list": lambda f: (f / "metadata.json").write_text("[]"),
    "'speakers' is missing": lambda f: edit(f / "metadata.json", lambda m: m.pop("speakers")),
    "do not number the same speakers": lambda f: edit(f / "mapping.json", lambda m: m["id2speaker"].update({"0": "speaker1"})),
    "but mapping.json has not": lambda f: metadata(f, lambda s: s.update(eve=[])),
    "lists no utterances": lambda f: metadata(f, lambda s: s.clear()),
    "testdata.json lists no utterances": lambda f: edit(f / "testdata.json", lambda m: m.update(utterances=[])),
    "more than once": lambda f: metadata(f, lambda s: s["speaker0"].append(s["speaker0"][0])),
    "not a plain file name": lambda f: metadata(f, lambda s: s["speaker0"][0].update(feature_path="../secret.pt")),
    "not a number of frames": lambda f: metadata(f, lambda s: s["speaker0"][0].update(mel_len=10**12)),
    "too few for the 9,999,999 frames": lambda f: metadata(f, lambda s: s["speaker0"][0].update(mel_len=9_999_999)),
    ".pt is missing": lambda f: first_feature(f).unlink(),
    "too few for the": lambda f: first_feature(f).write_bytes(first_feature(f).read_bytes()[:100]),
    "not a readable tensor file": lambda f: first_feature(f).write_bytes(b"\x93" * 100_000),
    "holds (300, 39) float32": lambda f: feature(f, torch.zeros(300, 39)),
    "float64": lambda f: feature(f, torch.zeros(90, 40, dtype=torch.float64)),
    "NaN or infinity": lambda f: feature(f, torch.full((90, 40), torch.nan)),
    "beyond 65504": lambda f: feature(f, torch.full((90, 40), 1e6)),
    "a readable tensor file (": lambda f: feature(f, torch.ones(90, 40).to_sparse()),
    "holds a dict": lambda f: feature(f, {"mel": torch.zeros(90, 40), "more": torch.zeros(9000)}),
    "mel bands": lambda f: edit(f / "testdata.json", lambda m: m.update(n_mels=80)),
    "for some utterances and not for others": lambda f: metadata(f, lambda s: s["speaker0"][0].pop("session")),
}


@pytest.mark.parametrize("said", BREAKAGES)
def test_bad_data_get_one_sentence_and_stay_as_they_are(corpus_folder, said):
    BREAKAGES[said](corpus_folder)
    before = snapshot(corpus_folder)
    with pytest.raises(CorpusError) as problem:
        Corpus.open(corpus_folder)
    assert said in str(problem.value)
    assert str(corpus_folder) in str(problem.value)
    assert "\n" not in str(problem.value)
    after = snapshot(corpus_folder)
    assert {name: after[name] for name in before} == before
    assert not list(corpus_folder.rglob("*.npy"))


def test_a_pickle_that_would_run_code_does_not(corpus_folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    torch.save({"payload": Evil(), "padding": torch.zeros(9000)}, first_feature(corpus_folder))
    with pytest.raises(CorpusError, match="not a readable tensor file"):
        Corpus.open(corpus_folder)
    assert not (tmp_path / "owned").exists()


def test_check_names_every_bad_feature_and_writes_nothing(corpus_folder):
    summary, problems = check_corpus(corpus_folder)
    assert "3 speakers, 24 labelled utterances, 4 for the test set" in summary and "12 sessions" in summary
    assert problems == []
    paths = sorted(corpus_folder.glob("uttr-*.pt"))[:2]
    for path in paths:
        torch.save(torch.full((400, 40), torch.nan), path)
    before = snapshot(corpus_folder)
    _, problems = check_corpus(corpus_folder)
    assert [str(path) in " ".join(problems) for path in paths] == [True, True] and len(problems) == 2
    assert snapshot(corpus_folder) == before
    paths[0].unlink()
    paths[1].write_bytes(b"")
    sorted(corpus_folder.glob("uttr-*.pt"))[3].unlink()
    assert len(check_corpus(corpus_folder)[1]) == 3
    with pytest.raises(CorpusError, match=r"The same goes for \d more files"):
        Corpus.open(corpus_folder)


def test_a_folder_that_may_only_be_read_is_packed_into_the_cache(monkeypatch):
    folder = Path(tempfile.mkdtemp())  # not tmp_path, which another user may not enter
    try:
        data = write_corpus(folder / "data")
        monkeypatch.setenv("SPEAKER_CACHE", str(folder / "cache"))
        (folder / "cache").mkdir()
        (folder / "cache").chmod(0o777)
        folder.chmod(0o755)
        data.chmod(0o555)
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        if is_root:  # permissions do not bind root
            os.seteuid(65534)
        try:
            frames = np.array(Corpus.open(data).labelled.frames)
            again = Corpus.open(data).labelled.frames
        finally:
            if is_root:
                os.seteuid(0)
        assert not (data / "packed").exists()
        assert list(cache_folder(data).glob("labelled-*.npy"))
        np.testing.assert_array_equal(frames, again)
    finally:
        folder.chmod(0o755)
        (folder / "data").chmod(0o755)
        shutil.rmtree(folder)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, small_disk):
    mel = np.zeros((1000, 40), dtype=np.float32)
    with pytest.raises(SpeakerError, match="the disk is full") as problem, CorpusWriter(small_disk / "c", "test") as writer:
        for _ in range(20):
            writer.add(mel, "ada")
    assert str(small_disk) in str(problem.value)
    assert list(small_disk.iterdir()) == []


def test_a_pack_says_beforehand_how_much_room_it_needs(tmp_path, small_disk, monkeypatch):
    data = write_corpus(tmp_path / "data", n_utterances=40)
    (data / "packed").symlink_to(small_disk)
    with pytest.raises(CorpusError, match=r"needs 0\.0\d GB and 0\.00 GB are free"):
        Corpus.open(data)


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), CorpusWriter(tmp_path / "c", "test") as writer:
        writer.add(np.zeros((100, 40), dtype=np.float32), "ada")
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_a_writer_takes_no_values_that_could_not_be_read_back(tmp_path, value):
    with pytest.raises(CorpusError, match="no log-mel features"), CorpusWriter(tmp_path / "c", "test") as writer:
        writer.add(np.full((100, 40), value, dtype=np.float32), "ada")
    assert not (tmp_path / "c").exists()


def test_names_of_every_script_are_names(tmp_path):
    names = ("宋\u3000玉", "نیک\u200cنام", "क्\u200dष", "Åsa Ünal")  # with joiners, which are no letters themselves
    with CorpusWriter(tmp_path / "corpus", "names") as writer:
        for name in names:
            writer.add(np.zeros((40, 40), dtype=np.float32), name)
    assert set(Corpus.open(tmp_path / "corpus").speakers) == set(names)
    assert all(is_text(name) and escape_controls(name) == name for name in names)
    assert not any(map(is_text, ("a\nb", "\x1b[2J", "\u202eevil", "\ud800")))


def test_nothing_that_is_there_is_written_over(corpus_folder):
    before = snapshot(corpus_folder)
    with pytest.raises(CorpusError, match="is there already"), CorpusWriter(corpus_folder, "test"):
        pass
    assert snapshot(corpus_folder) == before
