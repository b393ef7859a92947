"""A test set that does not give its speakers away, its key, the grade of a submission, and the leaderboard page."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from speaker_lib import Corpus, CorpusWriter
from speaker_lib.data import hold_out
from speaker_lib.evaluation.grading import Grade, Key, SubmissionError, grade, sign_test, wilson
from speaker_lib.utils.errors import CorpusError

from .conftest import call, write_corpus

VOICES = ("--speakers", 3, "--utterances", 3, "--test-utterances", 3, "--sessions", 2, "--workers", 1)
ROWS = [(f"u{n}", f"speaker{n % 4}") for n in range(20)]


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *found = csv.reader(file)
    assert header == ["Id", "Category"]
    return [(name, speaker) for name, speaker in found]


def write(path: Path, found: list[tuple[str, str]], wrong: int = 0) -> Path:
    """Answers as a submission, the first few of them wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = sorted({speaker for _, speaker in found})
    others = [named[(named.index(speaker) + 1) % len(named)] for _, speaker in found]
    lines = [
        f"{name},{other if n < wrong else speaker}" for n, ((name, speaker), other) in enumerate(zip(found, others, strict=True))
    ]
    path.write_text("\n".join(["Id,Category", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def key(tmp_path):
    return write(tmp_path / "key.csv", ROWS)


# --- test sets and their keys --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """A simulated corpus for students, its key, what the command said, and the same voices without a key."""
    folder = tmp_path_factory.mktemp("class")
    done = call("simulate", folder / "class", *VOICES, "--seed", 4, "--key", folder / "key.csv")
    assert done.returncode == 0, done.stderr
    assert call("simulate", folder / "open", *VOICES, "--seed", 4).returncode == 0
    return folder, done.stdout


def test_the_folder_says_nothing_of_the_test_sets_speakers_or_of_its_seed(handed_out):
    folder, said = handed_out
    seed = said.rpartition(": ")[2].strip(". \n")
    assert len(seed) >= 18 and seed.isdigit()
    testdata = json.loads((folder / "class" / "testdata.json").read_text())["utterances"]
    key = rows(folder / "key.csv")
    assert [entry["feature_path"] for entry in testdata] == [name for name, _ in key] == sorted(name for name, _ in key)
    assert all(entry.keys() == {"feature_path", "mel_len"} for entry in testdata)
    assert [speaker for _, speaker in key] != sorted(speaker for _, speaker in key)
    for name in ("testdata.json", "metadata.json", "mapping.json"):
        assert seed not in (folder / "class" / name).read_text()
    written = [(folder / "class" / name).stat().st_mtime_ns for name, _ in key]
    assert written == sorted(written)  # in the order of the names, so that the times tell nothing, either


def test_the_key_is_right_and_the_training_data_are_those_of_everybody(handed_out, tmp_path):
    folder, said = handed_out
    assert (folder / "class" / "metadata.json").read_bytes() == (folder / "open" / "metadata.json").read_bytes()
    given, everybodys = Corpus.open(folder / "class"), Corpus.open(folder / "open")
    np.testing.assert_array_equal(given.labelled.frames, everybodys.labelled.frames)
    assert sorted(given.test.lengths.tolist()) != sorted(everybodys.test.lengths.tolist())  # other words
    seed = said.rpartition(": ")[2].strip(". \n")
    again = ("simulate", tmp_path / "a", *VOICES, "--seed", 4, "--key", tmp_path / "k.csv", "--test-seed")
    assert call(*again, seed).returncode == 0
    assert (tmp_path / "k.csv").read_bytes() == (folder / "key.csv").read_bytes()
    again = ("simulate", tmp_path / "b", *VOICES, "--seed", 4, "--key", tmp_path / "b.csv", "--test-seed", 10**17)
    assert call(*again).returncode == 0
    given = Corpus.open(tmp_path / "b")  # another test set of the same voices, the same in every run of this test
    spectra = {
        s: np.mean([given.labelled.mel(i).mean(0) for i in np.flatnonzero(given.labelled.labels == s)], 0) for s in range(3)
    }
    nearest = [
        min(range(3), key=lambda s: np.linalg.norm(spectra[s] - given.test.mel(i).mean(0))) for i in range(len(given.test))
    ]
    right = sum(given.speakers[s] == speaker for s, (_, speaker) in zip(nearest, rows(tmp_path / "b.csv"), strict=True))
    assert right >= 6  # of 9; a shuffled key gives 3


def test_names_of_everybodys_test_set_do_not_tell_the_speaker(handed_out):
    folder, _ = handed_out
    entries = json.loads((folder / "open" / "testdata.json").read_text())["utterances"]
    assert all("session" not in entry for entry in entries)
    assert [entry["feature_path"] for entry in entries] == sorted(entry["feature_path"] for entry in entries)


def test_training_files_keep_the_names_that_runs_know(handed_out):
    """Of the fourth file, the first of the second voice, it is the digest of 6: once the test set was numbered with them."""
    folder, _ = handed_out
    assert Corpus.open(folder / "class").labelled.paths[3] == "uttr-1679091c5a880faf6fb5e6087eb1b2dc.pt"


def test_hold_out_takes_whole_sessions_and_keeps_what_is_left(tmp_path):
    corpus = Corpus.open(write_corpus(tmp_path / "people", n_utterances=16))  # four days each
    done = call(
        "hold-out", "--data", corpus.folder, "--to", tmp_path / "class", "--key", tmp_path / "key.csv", "--fraction", 0.25
    )
    assert done.returncode == 0, done.stderr
    assert "36 labelled utterances and 12 for the test set, of 3 speakers" in done.stdout
    assert "Whole sessions are held out of 3 speakers." in done.stdout
    given, key = Corpus.open(tmp_path / "class"), rows(tmp_path / "key.csv")
    assert given.speakers == corpus.speakers and "random numbers" in given.source
    original = {corpus.labelled.mel(i).tobytes(): i for i in range(len(corpus.labelled))}
    test = [original[given.test.mel(i).tobytes()] for i in range(len(given.test))]
    assert list(given.test.paths) == [name for name, _ in key] and given.test.sessions is None
    assert [corpus.speakers[corpus.labelled.labels[i]] for i in test] == [speaker for _, speaker in key]
    left = [original[given.labelled.mel(i).tobytes()] for i in range(len(given.labelled))]
    assert sorted(test + left) == list(range(48))
    days = [{(corpus.labelled.labels[i], corpus.labelled.sessions[i]) for i in part} for part in (test, left)]
    assert len(days[0]) == 3 and not days[0] & days[1]


def test_hold_out_without_sessions_and_with_copies(tmp_path):
    rng = np.random.default_rng(0)
    with CorpusWriter(tmp_path / "people", "noise") as writer:
        for speaker in "ab":
            for _ in range(10):
                mel = rng.normal(size=(50, 40)).astype(np.float32)
                name = writer.add(mel, speaker)
                writer.add(mel + 1, speaker, augmented_from=name)
    done = hold_out(Corpus.open(tmp_path / "people"), tmp_path / "class", tmp_path / "key.csv", 0.2, seed=10**17)
    assert (done.n_labelled, done.n_test, done.n_apart) == (16, 4, 0)
    given = Corpus.open(tmp_path / "class").labelled
    assert len(given) == 32 and len(given.clean) == 16 and len(given.copies_of(given.clean)) == 16
    assert sorted(speaker for _, speaker in rows(tmp_path / "key.csv")) == ["a", "a", "b", "b"]


def test_a_key_is_never_handed_out_or_replaced_and_nothing_is_half_written(corpus_folder, tmp_path, key):
    base = ("hold-out", "--data", corpus_folder, "--to", tmp_path / "class")
    inside = call(*base, "--key", tmp_path / "class" / ".." / "class" / "key.csv")
    assert inside.returncode == 2 and "which students get: name a file elsewhere" in inside.stderr
    assert "is there already, maybe the key of another test set" in call(*base, "--key", key).stderr and rows(key) == ROWS
    (tmp_path / "file").write_text("")
    assert call(*base, "--key", tmp_path / "file" / "key.csv").returncode == 1 and not (tmp_path / "class").exists()
    assert "choose a number of 18 digits" in call(*base, "--key", tmp_path / "k.csv", "--test-seed", 5).stderr
    assert "fraction is 1.5" in call(*base, "--key", tmp_path / "k.csv", "--fraction", 1.5).stderr
    voices = ("simulate", tmp_path / "class", *VOICES)
    assert "which students get" in call(*voices, "--key", tmp_path / "class" / "key.csv").stderr
    assert "name a file for it with --key" in call(*voices, "--test-seed", 10**17).stderr
    assert "nothing for a key" in call(*voices, "--key", tmp_path / "k.csv", "--test-utterances", 0).stderr
    assert not (tmp_path / "class").exists() and not (tmp_path / "k.csv").exists()


def test_a_speaker_with_one_utterance_is_named(tmp_path):
    with CorpusWriter(tmp_path / "people", "noise") as writer:
        for speaker in "aab":
            writer.add(np.zeros((50, 40)), speaker)
    with pytest.raises(CorpusError, match="speaker 'b' has 1 utterances, too few to hold one out"):
        hold_out(Corpus.open(tmp_path / "people"), tmp_path / "class", tmp_path / "key.csv")


# --- one submission ------------------------------------------------------------------------------------------------------------


def test_a_submission_is_graded(key, tmp_path):
    submission = write(tmp_path / "submission.csv", ROWS[::-1], wrong=5)
    done = call("grade", submission, "--key", key)
    assert done.returncode == 0, done.stderr
    assert "accuracy 0.7500 (95 % interval 0.531 to 0.888, Wilson), 15 of 20 utterances" in done.stdout
    assert "4 speakers; guessing is right in 0.2500 of cases" in done.stdout
    found = json.loads(call("grade", submission, "--key", key, "--json").stdout)
    assert (found["accuracy"], found["n_right"], found["n_utterances"], found["n_speakers"]) == (0.75, 15, 20, 4)


TEXT = "Id,Category\n" + "".join(f"{name},{speaker}\n" for name, speaker in ROWS)
SAME = {  # what programs make of a CSV file without changing what it says
    "a BOM": TEXT.encode("utf-8-sig"),
    "Excel": TEXT.replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"),
    "Excel's Unicode text": TEXT.replace(",", "\t").encode("utf-16"),
    "tabs": TEXT.replace(",", "\t").encode(),
    "quotes and spaces": TEXT.replace(",", ' , "').replace("\n", '"\n').encode(),
    "blank lines": TEXT.replace("\n", "\n\n").encode() + b"\n\n",
    "small letters": TEXT.replace("Id,Category", "id,category").encode(),
    "no last newline": TEXT.strip().encode(),
}


@pytest.mark.parametrize("how", SAME)
def test_what_is_unambiguous_is_accepted(key, tmp_path, how):
    (tmp_path / "s.csv").write_bytes(SAME[how])
    assert grade(tmp_path / "s.csv", Key.read(key)).accuracy == 1.0


REFUSED = {
    r"lacks utterances of the key \(3, the first is 'u17'\)": "\n".join(TEXT.splitlines()[:-3]),
    r"has utterances that are not in the key \(2, the first is 'x1'\)": TEXT + "x1,speaker0\nx2,speaker0\n",
    r"has several lines for utterances \(1, the first is 'u3'\)": TEXT + "u3,speaker3\n",
    r"names speakers who are not in the key \(5, the first is '1'\)": TEXT.replace("speaker1", "1"),
    "begins with 'Id,Speaker', not with Id,Category": TEXT.replace("Category", "Speaker"),
    "begins with 'u0,speaker0'": TEXT.partition("\n")[2],
    "line 2 is 'u0', not an utterance and a speaker": TEXT.replace("u0,speaker0", "u0"),
    "line 3 is 'u1,', not an utterance": TEXT.replace("u1,speaker1", "u1,"),
    "is empty": " \n",
    "has no lines below Id,Category": "Id,Category\n",
    "cannot be read as CSV": 'Id,Category\n"u0,speaker0\n',
    "is no text in UTF-8: save it as CSV UTF-8": TEXT.replace("speaker0", "José").encode("latin-1"),
    "is no submission": b"RIFF\0\0",
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence(key, tmp_path, sentence):
    content = REFUSED[sentence]
    (tmp_path / "s.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SubmissionError, match=rf"s\.csv,? .*{sentence.removeprefix('s.csv')}"):
        grade(tmp_path / "s.csv", Key.read(key))
    done = call("grade", tmp_path / "s.csv", "--key", key)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and not done.stdout


def test_files_that_are_not_there_and_options_that_do_not_fit(key, tmp_path):
    assert "cannot be read" in call("grade", tmp_path / "no.csv", "--key", key).stderr
    assert "cannot be read" in call("grade", key, "--key", tmp_path / "no.csv").stderr
    done = call("grade", key, "--key", key, "--page", tmp_path / "p.html")
    assert done.returncode == 2 and "--page is for a folder of submissions" in done.stderr


def test_intervals_and_tests_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for right, n in [(0, 1), (0, 20), (3, 7), (20, 20), (790, 1000)]:
        wanted = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    rng = np.random.default_rng(0)
    for n in (1, 10, 400):
        one, other = (Grade(tuple((rng.random(n) < p).tolist())) for p in (0.8, 0.7))
        won = sum(a and not b for a, b in zip(one.right, other.right, strict=True))
        lost = sum(b and not a for a, b in zip(one.right, other.right, strict=True))
        wanted = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        assert sign_test(one, other) == sign_test(other, one) == pytest.approx(wanted)


# --- the leaderboard -----------------------------------------------------------------------------------------------------------

MANY = [(f"u{n:03}", f"speaker{n % 4}") for n in range(100)]


class Page(HTMLParser):
    """The cells of each row, the tags, and the attributes that could fetch or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.tags, self.fetching, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.fetching += [name for name, _ in attributes if name in ("src", "href") or name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip() + " "


@pytest.fixture
def submissions(tmp_path):
    """A folder as an instructor has it: a key, a reference, good and bad submissions."""
    key, folder = write(tmp_path / "key.csv", MANY), tmp_path / "submissions"
    write(folder / "ada.csv", MANY, wrong=10)
    write(folder / "bo" / "submission.csv", MANY, wrong=12)
    write(folder / "林 <b>&cy.csv", MANY, wrong=12)
    write(folder / "dee.csv", MANY, wrong=60)
    write(folder / "bad.csv", MANY[:50])
    write(folder / "two.csv", MANY), write(folder / "two" / "submission.csv", MANY)
    (folder / "nothing").mkdir()
    (folder / "notes.txt").write_text("no submission")
    (folder / "cheat.csv").symlink_to(key)
    return folder, key, write(tmp_path / "lda.csv", MANY, wrong=50)


def test_a_folder_is_ranked(submissions):
    folder, key, reference = submissions
    done = call("grade", folder, "--key", key, "--reference", reference, "--json")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    found = [(place["rank"], place["name"], place["n_right"], place["behind"]) for place in board["places"]]
    assert found == [
        (1, "ada", 90, None),
        (2, "bo", 88, False),  # one has 2 more right than the other: no evidence
        (2, "林 <b>&cy", 88, False),
        (None, "lda", 50, None),
        (4, "dee", 40, True),
    ]
    said = " ".join(board["refused"])
    assert "bad.csv lacks utterances of the key (50, the first is 'u050')" in said and "nothing has no submission.csv" in said
    assert "have one name: keep one of them" in said and len(board["refused"]) == 3


def test_the_page_is_one_file_that_says_it_all_and_runs_nothing(submissions, tmp_path):
    folder, key, reference = submissions
    ask = ("grade", folder, "--key", key, "--reference", reference, "--page")
    for out in ("one.html", "new/two.html"):
        done = call(*ask, tmp_path / out)
        assert done.returncode == 0 and "not graded: bad.csv lacks" in done.stderr, done.stderr
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "new" / "two.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "b", "img", "link", "iframe"} & set(page.tags) and not page.fetching and "url(" not in text
    assert {"table", "caption", "thead", "tbody"} <= set(page.tags) and 'scope="row"' in text and 'lang="en"' in text
    ranks = [(row[0].strip(), row[1].split()[0], row[2].split()[0]) for row in page.rows[1:]]
    assert ranks == [
        ("1", "ada", "0.9000"),
        ("2", "bo", "0.8800"),
        ("2", "林", "0.8800"),
        ("", "lda", "0.5000"),
        ("4", "dee", "0.4000"),
        ("", "guessing", "0.2500"),
    ]
    assert "林 <b>&cy" in page.rows[3][1] and "not clearly behind the first" in page.rows[3][1] and "not" not in page.rows[5][1]
    assert "100 utterances of 4 speakers" in page.text and "McNemar" in page.text and "bad.csv lacks" in page.text
    assert str(tmp_path) not in page.text.replace(f"{folder}/two", "")


def test_a_folder_without_a_submission_is_refused(tmp_path, key):
    (tmp_path / "empty").mkdir()
    done = call("grade", tmp_path / "empty", "--key", key)
    assert done.returncode == 1 and "has no submission that can be graded" in done.stderr
    write(tmp_path / "empty" / "ada.csv", ROWS[:3])
    assert "ada.csv lacks utterances" in call("grade", tmp_path / "empty", "--key", key).stderr
