"""Whose recordings they are, and on which occasion each was made."""

import codecs
import unicodedata

import pytest

from speaker_lib import Corpus
from speaker_lib.data.recordings import prepare
from speaker_lib.utils.errors import ConfigError, CorpusError

from .conftest import call
from .recordings import write, write_all

VOX = [f"{speaker}/{video}/0000{k}.wav" for speaker in ("id10000", "id10001") for video in ("5r0d", "7GKA") for k in range(2)]
LIBRI = [
    f"{speaker}/{chapter}/{speaker}-{chapter}-000{k}.flac" for speaker in ("84", "174") for chapter in ("1", "2") for k in (0, 1)
]
FLAT = [f"{speaker}_{k}.wav" for speaker in ("ada", "bo") for k in range(2)]


def prepared(folder, out, **options):
    """What `prepare` says, and the pairs of speaker and session that it wrote."""
    done = prepare(folder, out, workers=1, **options)
    corpus = Corpus.open(out)
    names = [corpus.speakers[label] for label in corpus.labelled.labels]
    return done, set(zip(names, corpus.labelled.sessions, strict=True))


# Sessions


@pytest.mark.parametrize(("names", "speakers"), [(VOX, ("id10000", "id10001")), (LIBRI, ("174", "84"))])
def test_the_first_folder_below_a_speaker_is_the_session(tmp_path, names, speakers):
    done, sessions = prepared(write_all(tmp_path / "in", names), tmp_path / "out")
    assert done.speakers == speakers and len(sessions) == 4
    assert done.sessions == "Sessions: 4, taken from the first folder below each speaker's; at least 2 per speaker."
    _, files = prepared(tmp_path / "in", tmp_path / "files", session_from="file")
    assert files == {tuple(name.split("/", 1)) for name in names}


def test_names_as_librispeech_gives_them_say_the_chapter(tmp_path):
    names = [f"{speaker}/{speaker}-{chapter}-000{k}.flac" for speaker, chapter in (("84", "7"), ("174", "9")) for k in range(3)]
    done, sessions = prepared(write_all(tmp_path / "in", names), tmp_path / "out")
    assert sessions == {("84", "7"), ("174", "9")}
    assert "as LibriSpeech's do; one per speaker, so train.split=session is not possible" in done.sessions
    assert "--session-from file" in done.sessions


@pytest.mark.parametrize("name", ["ada-2024-01-05.wav", "adam-1-2.wav", "1-2-3.wav", "ada-1-.wav", "ada-1.wav"])
def test_other_names_with_hyphens_are_a_session_each(tmp_path, name):
    _, sessions = prepared(write_all(tmp_path / "in", [f"ada/{name}", "bo/x.wav"]), tmp_path / "out")
    assert ("ada", name) in sessions


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (
            ["ada/P1_a.wav", "ada/P1_b.wav", "ada/P2_a.wav", "bo/P1_a.wav"],
            r"([^_]+)_",
            {("ada", "P1"), ("ada", "P2"), ("bo", "P1")},
        ),
        (["ada/P1_a.wav", "ada/P1_b.wav", "bo/P1_a.wav"], r"P\d+", {("ada", "P1"), ("bo", "P1")}),
        (["ada/x/day1/a.wav", "ada/x/day1/b.wav", "bo/x/day2/a.wav"], r"x/(\w+)/", {("ada", "day1"), ("bo", "day2")}),
    ],
)
def test_a_pattern_names_the_sessions(tmp_path, names, pattern, expected):
    options = {"session_from": pattern, "speaker_from": "folder"}
    assert prepared(write_all(tmp_path / "in", names), tmp_path / "out", **options)[1] == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"session_from": r"Q(\d)"}, r"gives no session for .*ada/a\.wav: it is matched from the beginning"),
        ({"session_from": r"(x*)a"}, r"gives no session for .*ada/a\.wav"),
        ({"session_from": "("}, r"--session-from is '\(', no regular expression"),
        ({"speaker_from": "["}, r"--speaker-from is '\[', no regular expression"),
        ({"session_from": "folder"}, "no recording lies in a folder below its speaker's"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(tmp_path, options, said):
    write_all(tmp_path / "in", ["ada/a.wav", "bo/b.wav"])
    with pytest.raises(ConfigError, match=said):
        prepare(tmp_path / "in", tmp_path / "out", workers=1, **options)
    assert not (tmp_path / "out").exists()


def test_copies_are_one_session_of_their_speaker_and_a_doubt_between_two(tmp_path):
    for name, seed in {"a/1.wav": 1, "a/1 (1).wav": 1, "a/2.wav": 2, "b/3.wav": 3, "b/x.wav": 1, "b/x2.wav": 1}.items():
        write(tmp_path / "in" / name, seed=seed)
    write(tmp_path / "test" / "t.wav", seed=2)
    done, sessions = prepared(tmp_path / "in", tmp_path / "out", test_folder=tmp_path / "test")
    assert len(sessions) == 4 and "Sessions: 4," in done.sessions
    assert done.warnings == (
        "a/1 (1).wav and b/x.wav are the same sound: copied to the wrong folder?",
        "a/2.wav and t.wav are the same sound: a training recording in the test set?",
    )
    assert done.notes[-1].startswith(
        "2 recordings repeat another of their speaker and share its session: a/1.wav (as a/1 (1).wav)"
    )
    checked = call("check", tmp_path / "out").stdout
    assert "1 utterances repeat one of the same speaker: a/1.wav and a/1 (1).wav of a." in checked
    assert "3 utterances repeat one of another speaker: b/x.wav of b and a/1 (1).wav of a." in checked


# Speakers


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([f"wav/{name}" for name in VOX], "wav"),
        ([f"vox1/dev/wav/{name}" for name in VOX], "vox1/dev/wav"),
        ([f"LibriSpeech/dev-clean/{name}" for name in LIBRI], "LibriSpeech/dev-clean"),
        ([f"{part}/{name}" for part in ("dev-clean", "test-clean") for name in LIBRI], "dev-clean"),
        ([f"{part}/{name}" for part in ("north", "south") for name in LIBRI], "north"),
        ([f"{part}/{name}" for part in ("train", "test") for name in ("ada/1.wav", "bo/2.wav")], "test"),
        (["ada/monday/1.wav", "ada/tuesday/1.wav"], "ada"),
        ([*(f"wav/{name}" for name in VOX), "wav/intro.wav"], "wav"),
    ],
)
def test_a_folder_one_level_too_high_is_refused_with_the_one_meant(tmp_path, names, meant):
    write_all(tmp_path / "up", names)
    done = call("prepare", tmp_path / "up", tmp_path / "out", "--workers", 1)
    assert done.returncode == 1 and f"did you mean {tmp_path / 'up' / meant}" in done.stderr, done.stderr
    assert "--speaker-from folder" in done.stderr and not (tmp_path / "out").exists()
    assert call("prepare", tmp_path / "up", tmp_path / "out", "--workers", 1, "--speaker-from", "folder").returncode == 0


def test_a_folder_of_names_in_one_folder_is_refused_and_a_pattern_takes_it(tmp_path):
    write_all(tmp_path / "up" / "audio", FLAT)
    with pytest.raises(CorpusError, match="1 speaker, 'audio': its speakers may stand in the files' names"):
        prepare(tmp_path / "up", tmp_path / "out", workers=1)
    with pytest.raises(CorpusError, match="its 4 lie loose: make one folder per speaker, or take the speakers"):
        prepare(tmp_path / "up" / "audio", tmp_path / "out", workers=1)
    for folder in (tmp_path / "up", tmp_path / "up" / "audio"):
        done, _ = prepared(folder, tmp_path / f"out-{folder.name}", speaker_from=r"(\w+)_\d+\.wav")
        assert done.speakers == ("ada", "bo") and done.n_recordings == 4


def test_a_pattern_takes_no_part_of_a_name_and_leaves_nothing_out_in_silence(tmp_path):
    write_all(tmp_path / "in", [*FLAT, "ada-smith_3.wav"])
    done, _ = prepared(tmp_path / "in", tmp_path / "out", speaker_from=r"(\w+)_\d+\.wav")
    assert done.speakers == ("ada", "bo")
    assert len(done.skipped) == 1 and "ada-smith_3.wav gives no speaker by --speaker-from" in done.skipped[0]
    with pytest.raises(CorpusError, match=r"none of the 5 recordings of .* has a speaker; the first: .*ada-smith_3\.wav"):
        prepare(tmp_path / "in", tmp_path / "out2", workers=1, speaker_from=r"(\d+)_")


def test_a_pattern_with_a_slash_puts_the_parts_of_a_data_set_together(tmp_path):
    write_all(tmp_path / "LibriSpeech" / "dev-clean", LIBRI)
    write_all(tmp_path / "LibriSpeech" / "test-clean", [name.replace("84", "61") for name in LIBRI if name.startswith("84")])
    done, sessions = prepared(tmp_path / "LibriSpeech", tmp_path / "out", speaker_from="[^/]+/([^/]+)/")
    assert done.speakers == ("174", "61", "84") and len(sessions) == 6 and ("61", "1") in sessions


def test_names_that_look_alike_are_told_and_the_two_forms_of_unicode_are_one(tmp_path):
    for form in ("NFC", "NFD"):
        write(tmp_path / "in" / unicodedata.normalize(form, "José") / f"{form}.wav")
    if len(list((tmp_path / "in").iterdir())) == 1:
        pytest.skip("this file system takes both forms of a name for one")
    write_all(
        tmp_path / "in",
        ["Ada/1.wav", "ada /1.wav", "王　小明/a.wav", "-x/-y.wav", f"{'x' * 200}/{'y' * 240}.wav", "c\x1b[2J/1.wav"],
    )
    done, sessions = prepared(tmp_path / "in", tmp_path / "out")
    assert done.speakers == ("-x", "Ada", "José", "ada ", "x" * 200, "王　小明")
    assert {session for speaker, session in sessions if speaker == "José"} == {"NFC.wav", "NFD.wav"}
    assert "'José' is written in two ways" in done.warnings[0] and "'Ada' and 'ada ' look alike" in done.warnings[1]
    assert len(done.skipped) == 1 and "characters that cannot be shown" in done.skipped[0]


def test_training_one_speaker_is_refused(tmp_path):
    write_all(tmp_path / "in", ["ada/1.wav", "ada/2.wav"])
    done = call("prepare", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert done.returncode == 0 and "of 1 speaker (ada)" in done.stdout and "nothing to tell apart" in done.stdout
    train = ["train", "--data", tmp_path / "out", "--run", tmp_path / "run", "--preset", "laptop_baseline"]
    for more in ([], ["--resume"], ["--seeds", "0,1"]):
        done = call(*train, *more)
        assert done.returncode == 1 and "has 1 speaker (ada): there is nothing to tell apart" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_a_speaker_with_one_session_is_not_evaluated_and_that_is_said(tmp_path):
    write_all(tmp_path / "in", ["ada/1.wav", "ada/2.wav", "ada/3.wav", "bo/1.wav", "cy/1.wav"])
    done = call("prepare", tmp_path / "in", tmp_path / "out", "--workers", 1)
    assert "2 of 3 speakers have only one, and train.split=session never evaluates them" in done.stdout
    assert "5 sessions; 2 of 3 speakers have only one" in call("check", tmp_path / "out").stdout
    data, run = ("--data", tmp_path / "out"), ("--run", tmp_path / "run")
    done = call("train", *data, *run, "--preset", "laptop_baseline", "--steps", 1, "--set", "train.split=session")
    assert done.returncode == 0, done.stderr
    assert "No utterance of 2 speakers is held out (bo, cy), so the validation accuracy is that of the other 1" in done.stderr
    assert "1 utterances, 1 of 3 speakers" in call("evaluate", *data, *run).stdout


# Lists


def test_a_list_names_files_speakers_and_sessions(tmp_path):
    write_all(tmp_path / "clips", ["a.wav", "b.wav", "c.wav"])
    (tmp_path / "list.csv").write_text("path,speaker,session\nclips/a.wav,ada,monday\nclips/b.wav,ada,monday\nclips/c.wav,bo,\n")
    done, sessions = prepared(tmp_path / "list.csv", tmp_path / "out")
    assert sessions == {("ada", "monday"), ("bo", "c.wav")} and done.n_files == 3
    with pytest.raises(ConfigError, match="has a column session: leave out --session-from"):
        prepare(tmp_path / "list.csv", tmp_path / "no", workers=1, session_from="file")
    with pytest.raises(ConfigError, match="is a list, which names the speakers"):
        prepare(tmp_path / "list.csv", tmp_path / "no", workers=1, speaker_from="(.)")


@pytest.mark.parametrize(
    "content",
    [
        b"path,speaker\na.wav,ada\nb.wav,bo\n",
        codecs.BOM_UTF8 + b"Path;Speaker\r\na.wav;ada\r\nb.wav;bo\r\n",
        "speaker\tpath\r\nada\ta.wav\r\nbo\tb.wav".encode("utf-16"),
        b'path,speaker\n\n"a.wav", "ada"\n.\\b.wav,bo\n,\n',
    ],
    ids=["plain", "BOM, semicolons, CRLF", "UTF-16 of Excel, tabs", "spaces, quotes, a path of Windows"],
)
def test_lists_as_programs_write_them(tmp_path, content):
    write_all(tmp_path, ["a.wav", "b.wav"])
    (tmp_path / "list.csv").write_bytes(content)
    done, sessions = prepared(tmp_path / "list.csv", tmp_path / "out")
    assert done.speakers == ("ada", "bo") and sessions == {("ada", "a.wav"), ("bo", "b.wav")} and not done.skipped


def test_the_speakers_folder_in_a_listed_path_says_the_session(tmp_path):
    write_all(tmp_path / "wav", VOX)
    (tmp_path / "list.csv").write_text("path,speaker\n" + "".join(f"wav/{name},{name.split('/')[0]}\n" for name in VOX))
    assert prepared(tmp_path / "list.csv", tmp_path / "out")[1] == {(name.split("/")[0], name.split("/")[1]) for name in VOX}


def test_rows_that_cannot_be_used_are_skipped_with_a_reason(tmp_path):
    write_all(tmp_path, ["a.wav", "b.wav"])
    rows = ["a.wav,ada,x", "gone.wav,ada,x", "a.wav,ada,x", ",ada,x", "b.wav,,x", "b.wav,bo,x", "\x07.wav,bo,x"]
    (tmp_path / "list.csv").write_text("\n".join(["path,speaker,text", *rows]))
    done, _ = prepared(tmp_path / "list.csv", tmp_path / "out")
    assert (done.n_files, done.n_recordings, len(done.skipped)) == (7, 2, 5)
    assert done.warnings[0].endswith("has columns that are not used: 'text' (path, speaker and session are).")
    said = "\n".join(done.skipped)
    for words in (
        "line 3 names gone.wav, which is no file",
        "line 4 names a.wav, as line 2",
        "line 5 has no path",
        "line 6 has no speaker",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column path and no column speaker"),
        (b"a.wav,ada\n", "begin it with path,speaker"),
        (b"path,name\na.wav,ada\n", "has no column speaker"),
        (b"path,path,speaker\n", "has the column path more than once"),
        (b"path,speaker\n", "names no recording that is there: add a line"),
        (b"path,speaker\nx.wav,ada\n", "names no recording that is there; the first: .*line 2 names x.wav"),
        (b"path,speaker\na,b.wav,ada\n", "line 2 has 3 columns and the first line 2"),
        (b"path,speaker\na.wav,ada\na.wav,bo\n", "gives a.wav to 'ada' in line 2 and to 'bo' in line 3"),
        (b'path,speaker\n"a.wav,ada\n', "cannot be read as CSV"),
        ("path,speaker\na.wav,José\n".encode("latin-1"), "is no text in UTF-8"),
        (b"RIFF\0\0\0\0WAVE", "neither a folder nor a CSV list"),
    ],
)
def test_lists_that_cannot_be_used_get_a_sentence(tmp_path, content, said):
    write(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(CorpusError, match=said):
        prepare(tmp_path / "list.csv", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
