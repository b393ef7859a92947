"""`download`, and what may be wrong with an archive, a disk, or a data set that is there already."""

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speaker_lib import Corpus

from ..conftest import write_corpus
from .conftest import ARCHIVE, DISK, IN_THE_WAY, assert_complete, big_disk, download, failure
from .server import PREFIX, packed, parts


def cut_off(archive: bytes, _: Path) -> bytes:
    return archive[: len(archive) * 2 // 3]


def flipped(archive: bytes, _: Path) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes([archive[middle] ^ 1]) + archive[middle + 1 :]


def a_page(*_: object) -> bytes:
    return b"<html>Log in first</html>"


def without(name: str):
    def change(_: bytes, source: Path) -> bytes:
        return packed_without(source, name)

    return change


def packed_without(source: Path, name: str) -> bytes:
    return packed_as(source, lambda copy: (copy / name).unlink())


def packed_as(source: Path, change: Callable[[Path], object]) -> bytes:
    copy = source.with_name("copy")
    shutil.copytree(source, copy)
    change(copy)
    made = packed(copy)
    shutil.rmtree(copy)
    return made


def other_metadata(_: bytes, source: Path) -> bytes:
    return packed_with(source, "metadata.json", lambda text: text.replace('"speaker0"', '"speakerX"'))


def swapped_ids(_: bytes, source: Path) -> bytes:
    def swap(text: str) -> str:
        mapping = json.loads(text)
        mapping["speaker2id"] |= {"speaker0": 1, "speaker1": 0}
        return json.dumps(mapping)

    return packed_with(source, "mapping.json", swap)


def packed_with(source: Path, name: str, change: Callable[[str], str]) -> bytes:
    return packed_as(source, lambda copy: (copy / name).write_text(change((copy / name).read_text())))


DAMAGES = [
    (cut_off, "its archive is damaged"),
    (flipped, "its archive is damaged"),
    (a_page, "its archive is damaged"),
    (without("metadata.json"), "holds no metadata.json with a mapping.json beside it"),
    (without("mapping.json"), "holds no metadata.json with a mapping.json beside it"),
    (without("testdata.json"), "testdata.json is missing"),
    (other_metadata, "metadata.json has "),
    (swapped_ids, "mapping.json does not number the 3 speakers"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_an_archive_that_is_not_the_data_set_leaves_nothing(server, archive, source, tmp_path, damage, said):
    server.files = parts(damage(archive, source))
    error = failure(ARCHIVE, tmp_path / "Dataset")
    assert said in error and "was deleted" in error
    assert list(tmp_path.iterdir()) == []


def test_a_missing_feature_is_noticed(server, source, tmp_path):
    name = sorted(path.name for path in source.glob("uttr-*.pt"))[5]
    server.files = parts(packed_without(source, name))
    assert "its 27 features have" in failure(ARCHIVE, tmp_path / "Dataset")


def flip_in_a_feature(folder: Path) -> None:
    feature = sorted(folder.glob("uttr-*.pt"))[3]
    content = bytearray(feature.read_bytes())
    content[len(content) // 2] ^= 1
    feature.write_bytes(content)


def test_one_byte_of_a_feature_is_noticed_with_deep(server, source, tmp_path):
    server.files = parts(packed_as(source, flip_in_a_feature))
    assert "the content of a feature" in failure(ARCHIVE, "--deep", tmp_path / "Dataset")
    assert list(tmp_path.iterdir()) == []
    assert download(tmp_path / "Dataset").returncode == 0
    assert "the content of a feature" in failure(IN_THE_WAY, "--deep", tmp_path / "Dataset")


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
    return made


EVIL = {
    "parent": [member("../evil")],
    "deep parent": [member("Dataset/../../evil")],
    "absolute": [member("/tmp/evil-of-the-tests")],
    "symlink": [member("Dataset/evil", tarfile.SYMTYPE, "/etc/passwd")],
    "linked folder": [member("Dataset/out", tarfile.SYMTYPE, ".."), member("Dataset/out/evil")],
    "hard link": [member("Dataset/first"), member("Dataset/evil", tarfile.LNKTYPE, "Dataset/first")],
    "device": [member("Dataset/evil", tarfile.CHRTYPE)],
    "pipe": [member("Dataset/evil", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_would_write_elsewhere_is_refused(server, source, tmp_path, kind):
    server.files = parts(packed(source, "Dataset", *EVIL[kind]))
    inside = tmp_path / "inside"
    error = failure(ARCHIVE, inside / "Dataset")
    assert "would write outside its folder, or a link" in error and ("evil" in error or "out" in error)
    assert list(tmp_path.rglob("*")) == [inside] and not Path("/tmp/evil-of-the-tests").exists()


def test_the_other_spelling_of_the_mapping_is_the_same(server, source, tmp_path):
    server.files = parts(packed_with(source, "mapping.json", lambda text: json.dumps(json.loads(text), separators=(",", ":"))))
    assert download(tmp_path / "Dataset").returncode == 0
    assert_complete(tmp_path / "Dataset")


def test_too_little_room_is_noticed_first(server, archive, tmp_path, environment, monkeypatch):
    server.files = parts(archive)
    big_disk(environment, free=1_000_000)
    assert "too little room" in failure(DISK, tmp_path / "Dataset")
    monkeypatch.delenv("SPEAKER_DATA_EXPECT")  # of HW4 it says how much it needs
    big_disk(environment, free=9_216_000_000)
    done = download(tmp_path / "Dataset")
    assert done.returncode == DISK and re.search(r"needs 14\.\d GB of disk.* has 9\.2 GB free", done.stdout)
    assert server.asked == [] and list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_fetching(server, archive, small_disk, environment):
    big_disk(environment)  # it was free when we looked
    server.files = {PREFIX + "aa": archive + bytes(2_000_000)}
    error = failure(DISK, small_disk / "Dataset")
    assert "the disk is full" in error and not (small_disk / "Dataset").exists()


def test_a_disk_that_fills_up_while_unpacking(server, tmp_path, small_disk, environment):
    big_disk(environment)
    zeros = tarfile.TarInfo("Dataset/zeros")  # a megabyte and a half that packs to nothing
    zeros.size = 1_500_000
    tiny = write_corpus(tmp_path / "tiny", n_utterances=1, n_test=1)
    server.files = parts(packed(tiny, "Dataset", zeros), suffixes=("aa",))
    error = failure(DISK, small_disk / "Dataset")
    assert "could not be unpacked" in error and not list(small_disk.glob("*/unpacked"))


@pytest.fixture
def fetched(server, archive, tmp_path) -> Path:
    server.files = parts(archive)
    assert download("--keep-parts", tmp_path / "Dataset").returncode == 0
    assert_complete(tmp_path / "Dataset", parts_left=True)
    server.asked.clear()
    return tmp_path / "Dataset"


def test_a_repair_puts_back_what_is_missing_from_parts_that_were_kept(server, source, fetched):
    features = sorted(fetched.glob("uttr-*.pt"))
    features[0].unlink()
    features[1].write_bytes(b"short")
    (fetched / "metadata.json").unlink()
    (fetched / "notes.txt").write_text("mine")
    assert "is not the data set expected" in failure(IN_THE_WAY, fetched)
    done = download("--repair", "--keep-parts", fetched)
    assert done.returncode == 0 and "3 files were put back" in done.stdout and server.asked == []
    for path in source.glob("[!.]*.*"):
        assert (fetched / path.name).read_bytes() == path.read_bytes()
    assert (fetched / "notes.txt").read_text() == "mine" and list(fetched.glob("packed/*.npy"))
    assert Path(f"{fetched}.parts").exists()


def test_a_pack_in_somebody_s_archive_is_not_put_into_the_pack_that_is_there(server, source, fetched):
    shutil.rmtree(f"{fetched}.parts")
    server.files = parts(packed_as(source, lambda copy: Corpus.open(copy)))
    packs = sorted((fetched / "packed").iterdir())
    (fetched / "mapping.json").unlink()
    done = download("--repair", fetched)
    assert done.returncode == 0 and "1 files were put back" in done.stdout and done.stderr == ""
    assert packs == sorted((fetched / "packed").iterdir())


def test_what_a_repair_puts_back_is_packed_again(server, fetched):
    right = Corpus.open(fetched).labelled
    path, kept = fetched / right.paths[0], right.mel(0)
    torch.save(torch.from_numpy(kept) + 5.0, path)
    assert Corpus.open(fetched).labelled.mel(0)[0, 0] != kept[0, 0]
    assert "1 files were put back" in download("--repair", "--deep", fetched).stdout
    assert (Corpus.open(fetched).labelled.mel(0) == kept).all()


def test_a_deep_repair_finds_what_kept_its_length(server, fetched):
    shutil.rmtree(f"{fetched}.parts")
    feature = sorted(fetched.glob("uttr-*.pt"))[2]
    right = feature.read_bytes()
    feature.write_bytes(bytes(len(right)))
    assert "nothing was fetched" in download("--repair", fetched).stdout and server.asked == []
    done = download("--repair", "--deep", fetched)
    assert done.returncode == 0 and "1 files were put back" in done.stdout and len(server.asked) == 4
    assert feature.read_bytes() == right and not Path(f"{fetched}.parts").exists()


def test_what_is_there_already_is_left_alone(server, archive, tmp_path):
    server.files = parts(archive)
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt"):
        assert "is no empty folder: name another folder" in failure(IN_THE_WAY, target)
    assert "cannot be written to: name another folder" in failure(DISK, tmp_path / "notes.txt" / "Dataset")
    other = write_corpus(tmp_path / "other", n_utterances=2)
    assert "is not the data set expected" in failure(IN_THE_WAY, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "other"] and server.asked == []
