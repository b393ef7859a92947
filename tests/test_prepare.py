import numpy as np
import pytest
import soundfile

from speaker_lib import Corpus
from speaker_lib.data.recordings import cut, prepare
from speaker_lib.sound.features import SAMPLE_RATE, extract_features
from speaker_lib.utils.errors import ConfigError, CorpusError


def write(path, seconds, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0.0, 0.1, int(seconds * SAMPLE_RATE))
    soundfile.write(path, samples, SAMPLE_RATE)
    return path


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    write(folder / "ada" / "monday.wav", 5.0)
    write(folder / "ada" / "deeper" / "tuesday.flac", 2.0, seed=1)
    write(folder / "bo" / "hello.ogg", 3.2, seed=2)
    (folder / "bo" / "broken.wav").write_bytes(b"RIFF, but no more")
    (folder / "bo" / "._hello.wav").write_bytes(b"left by macOS")
    (folder / "bo" / "notes.txt").write_text("not a recording")
    (folder / "README.md").write_text("not a speaker")
    write(tmp_path / "test" / "b.wav", 1.0, seed=3)
    write(tmp_path / "test" / "a.wav", 1.5, seed=4)
    return folder


def test_a_folder_of_recordings_becomes_a_corpus(recordings, tmp_path):
    done = prepare(recordings, tmp_path / "out", chunk=2.0, test_folder=tmp_path / "test", workers=2)
    assert (done.n_speakers, done.n_recordings, done.n_utterances, done.n_test) == (2, 5, 3 + 1 + 2, 2)
    assert len(done.skipped) == 1 and "broken.wav" in done.skipped[0]
    corpus = Corpus.open(tmp_path / "out")
    assert corpus.speakers == ("ada", "bo")
    assert corpus.source == "recordings of recordings"
    assert set(corpus.labelled.sessions) == {"monday.wav", "deeper", "hello.ogg"}
    assert set(corpus.labelled.recordings) == {"ada/monday.wav", "ada/deeper/tuesday.flac", "bo/hello.ogg"}
    assert corpus.test.recordings == ("a.wav", "b.wav")
    assert corpus.test.lengths.tolist() == [151, 101]  # in the order of their names
    whole = extract_features(recordings / "ada" / "monday.wav")
    of_monday = [corpus.labelled.mel(i) for i, s in enumerate(corpus.labelled.sessions) if s == "monday.wav"]
    assert [len(mel) for mel in of_monday] == [200, 200, 101]
    np.testing.assert_allclose(np.concatenate(of_monday), whole, rtol=1e-3, atol=1e-2)


def test_one_process_or_two_make_the_same(recordings, tmp_path):
    prepare(recordings, tmp_path / "one", workers=1)
    prepare(recordings, tmp_path / "two", workers=2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(("length", "expected"), [(400, [200, 200]), (299, [200]), (300, [200, 100]), (99, [99]), (1, [1])])
def test_a_rest_of_less_than_half_is_left_out(length, expected):
    assert [len(piece) for piece in cut(np.zeros((length, 40)), 200)] == expected


def test_folders_without_recordings_are_named(recordings, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="one folder per speaker"):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(CorpusError, match="is not a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(CorpusError, match="test recordings"):
        prepare(recordings, tmp_path / "out", test_folder=tmp_path / "empty")
    with pytest.raises(CorpusError, match="is there already"):
        prepare(recordings, recordings)
    with pytest.raises(ConfigError, match="choose a number of seconds"):
        prepare(recordings, tmp_path / "out", chunk=0)
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / "a.wav").write_bytes(b"no")
    with pytest.raises(CorpusError, match=r"none of the 1 recordings .*a\.wav is not a readable"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]
