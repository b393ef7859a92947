"""Recordings' own names in what the commands read and write, and training data told by their content."""

import csv
import json

import numpy as np
import pytest

from speaker_lib import Corpus, CorpusWriter
from speaker_lib.data.recordings import cut

from .conftest import call
from .test_enrolment import record, untrained


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """VoxCeleb's layout: five speakers, two videos of each, two clips of each; and a test set of two recordings."""
    folder = tmp_path_factory.mktemp("vox")
    for speaker in range(5):
        for video in range(2):
            for clip in range(2):
                record(folder / "wav" / f"id1000{speaker}" / f"video{video}" / f"0000{clip}.wav", speaker, 2 * video + clip)
    for take in range(2):
        record(folder / "test" / f"who, is {take}.wav", take, 9)
    done = call("prepare", folder / "wav", folder / "data", "--test", folder / "test", "--workers", 1)
    assert done.returncode == 0, done.stderr
    untrained(folder / "run", Corpus.open(folder / "data"))
    return folder


@pytest.fixture
def base(folder):
    return ["--run", folder / "run", "--data", folder / "data"]


def test_a_list_as_voxceleb_writes_it_is_read_and_its_scores_are_written(folder, base, tmp_path):
    pairs = [
        "1 id10000/video0/00001.wav id10000/video1/00000.wav",
        "0 id10000/video0/00001.wav id10003/video1/00001.wav",
        f"1 {Corpus.open(folder / 'data').labelled.paths[0]} id10000/video0/00001.wav",
    ]
    (tmp_path / "veri.txt").write_text("\n".join(pairs))
    done = call("verify", *base, "--pairs", tmp_path / "veri.txt", "--scores", tmp_path / "new" / "scores.csv")
    assert done.returncode == 0 and "2 pairs of one speaker, 1 of two" in done.stdout, done.stderr
    header, *found = rows(tmp_path / "new" / "scores.csv")
    assert header == ["first", "second", "same", "score"]
    assert [" ".join([same, first, second]) for first, second, same, _ in found[:2]] == pairs[:2]
    assert found[2][0] == "id10000/video0/00000.wav" and all(-1 <= float(score) <= 1 for *_, score in found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 id10000/video0 id10000/video1/00000.wav", "which 2 utterances of the data were cut from"),
        ("1 id10000/video0/7.wav id10000/video1/00000.wav", "which is no labelled utterance"),
        ("0 id10000/video0/00000.wav id10000/video1/00000.wav", "against the speakers"),
    ],
)
def test_a_name_that_is_nothing_or_several_things_is_refused(base, tmp_path, line, said):
    (tmp_path / "veri.txt").write_text(line)
    done = call("verify", *base, "--pairs", tmp_path / "veri.txt")
    assert done.returncode == 1 and "veri.txt, line 1" in done.stderr and said in done.stderr


def test_a_session_names_its_only_utterance(tmp_path):
    mels = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    with CorpusWriter(tmp_path / "data", "random") as writer:
        for speaker in "ab":
            for day in range(4):
                writer.add(mels + day, speaker, session=f"day{day}")
    run = untrained(tmp_path / "run", Corpus.open(tmp_path / "data")).folder
    (tmp_path / "pairs").write_text("1 a/day0 a/day1\n0 a/day2 b/day3\n")
    done = call("verify", "--run", run, "--data", tmp_path / "data", "--pairs", tmp_path / "pairs", "--scores", tmp_path / "s")
    assert done.returncode == 0 and rows(tmp_path / "s")[2][:3] == ["a/day2", "b/day3", "0"], done.stderr


def test_one_session_is_compared_only_when_asked(base, folder):
    refused = call("verify", *base)  # one session of each speaker is held out
    assert refused.returncode == 1 and "--within-sessions" in refused.stderr
    done = call("verify", *base, "--within-sessions")
    assert done.returncode == 0 and "may be from one session, which is easier" in done.stdout, done.stderr


def test_prediction_keeps_its_format_and_a_second_file_has_the_names(base, tmp_path):
    done = call("predict", *base, "--out", tmp_path / "a.csv", "--names", tmp_path / "b.csv")
    assert done.returncode == 0, done.stderr
    plain, named = rows(tmp_path / "a.csv"), rows(tmp_path / "b.csv")
    assert plain[0] == ["Id", "Category"] and named[0] == ["Id", "Recording", "Category"]
    assert [row[1] for row in named[1:]] == ["who, is 0.wav", "who, is 1.wav"]
    assert [[row[0], row[2]] for row in named] == plain
    same = call("predict", *base, "--out", tmp_path / "c.csv", "--names", tmp_path / "c.csv")
    assert same.returncode == 2 and "name two files" in same.stderr and not (tmp_path / "c.csv").exists()


def test_embeddings_name_their_recordings(base, tmp_path):
    assert call("embed", *base, "--all", "--out", tmp_path / "v.npz").returncode == 0
    with np.load(tmp_path / "v.npz") as found:
        assert found["recordings"].tolist()[:2] == ["id10000/video0/00000.wav", "id10000/video0/00001.wav"]
        assert len(found["recordings"]) == 20


def test_training_data_are_told_by_their_content(folder, tmp_path):
    """Under other names of speakers and files, cut into shorter utterances, and beside new recordings."""
    corpus, new = Corpus.open(folder / "data"), tmp_path / "again"
    with CorpusWriter(new, "the same sound, prepared another way") as writer:
        for i, label in enumerate(corpus.labelled.labels):
            for piece in cut(corpus.labelled.mel(i)[7:], 60):
                writer.add(piece, f"somebody {label}")
        for speaker in range(2):
            for take in range(3):
                writer.add(np.random.default_rng([speaker, take]).normal(size=(80, 40)).astype(np.float32), f"new {speaker}")
    done = call("verify", "--run", folder / "run", "--data", new, "--json")
    found = json.loads(done.stdout)
    per_recording = len(cut(corpus.labelled.mel(0)[7:], 60))
    assert found["n_heard"] == 10 * per_recording and found["training_found"] and found["n_same_names"] == 0  # half is held out
    text = call("verify", "--run", folder / "run", "--data", new).stdout
    assert f"{10 * per_recording} of the utterances, in training, so the errors are too low" in text


def test_the_names_of_training_speakers_are_pointed_out_and_missing_data_too(folder, tmp_path):
    for speaker in range(3):
        for take in range(3):
            record(tmp_path / "audio" / f"id1000{speaker}" / f"{take}.wav", speaker, 50 + take)
    assert call("prepare", tmp_path / "audio", tmp_path / "data", "--session-from", "file", "--workers", 1).returncode == 0
    run = untrained(tmp_path / "run", Corpus.open(folder / "data")).folder
    said = call("verify", "--run", run, "--data", tmp_path / "data").stdout
    assert "3 speakers have names of the training data's, but none of these utterances" in said
    config = json.loads((run / "config.json").read_text())
    config["data"]["folder"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    assert "cannot be told" in call("verify", "--run", run, "--data", tmp_path / "data").stdout
