"""Enrolment through the command line: people are added by recordings, recognised by name, and a stranger is nobody."""

import json

import numpy as np
import pytest
import safetensors.numpy
import soundfile
import torch

from speaker_lib import Classifier, Corpus, ModelConfig, Preset, Run, TrainConfig
from speaker_lib.evaluation.book import Book, Reference, unit
from speaker_lib.evaluation.enrolment import COHORT, LEAST_COHORT, calibrate, cohort_of, make_reference, score_people
from speaker_lib.evaluation.recordings import LONG, WINDOW, embed_recording, window_outputs
from speaker_lib.training.checkpoints import Checkpoints
from speaker_lib.training.distributed import ALONE
from speaker_lib.training.run import weights_bytes
from speaker_lib.utils.errors import ConfigError

from .conftest import call

CPU = torch.device("cpu")
MODEL = ModelConfig(d_model=16, nhead=2, dim_feedforward=16, activation="relu", input_norm="none")
PRESET = Preset(MODEL, TrainConfig(valid_fraction=0.4, split="session"))


def voice(speaker: int, take: int, seconds: float = 2.0) -> np.ndarray:
    """Noise in the colour of a speaker, (samples,) at 16 kHz; every take is other noise."""
    n = round(16_000 * seconds)
    gain = np.repeat(np.random.default_rng(speaker).normal(0, 12, 41), 200)[:8001]  # decibels, in bands of 200 Hz
    spectrum = np.fft.rfft(np.random.default_rng([speaker, take]).normal(size=n))  # (bins,)
    spectrum *= 10 ** (np.interp(np.fft.rfftfreq(n, 1 / 16_000), np.arange(8001), gain) / 20)
    sound = np.fft.irfft(spectrum, n)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def record(path, speaker: int, take: int, seconds: float = 2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(speaker, take, seconds), 16_000)
    return path


def untrained(folder, corpus: Corpus, seed: int = 0) -> Run:
    """A run as it begins: even random weights keep spectra that differ as much as these apart."""
    run = Run.create(folder, PRESET, corpus)
    torch.manual_seed(seed)
    Checkpoints(run, ALONE).write("model.safetensors", weights_bytes(Classifier(run.preset.model)))
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight speakers with five recordings each, prepared."""
    folder = tmp_path_factory.mktemp("data")
    for speaker in range(8):
        for take in range(5):
            record(folder / "audio" / f"s{speaker}" / f"{take}.wav", speaker, take)
    done = call("prepare", folder / "audio", folder / "corpus", "--session-from", "file", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return folder / "corpus"


@pytest.fixture
def run(data, tmp_path):
    return untrained(tmp_path / "run", Corpus.open(data)).folder


@pytest.fixture
def sounds(tmp_path):
    """Three recordings of each of four people who are not in the data."""
    return [[record(tmp_path / "sounds" / f"{who}{take}.wav", 100 + who, take) for take in range(3)] for who in range(4)]


def enrol(run, name, *recordings, code=0):
    done = call("enrol", "--run", run, "--name", name, *recordings)
    assert done.returncode == code, done.stderr
    return done


def test_enrolled_people_are_recognised_and_a_stranger_is_nobody(run, sounds):
    said = enrol(run, "ada", *sounds[0][:2]).stdout
    assert "ada is enrolled by 2 recordings" in said and "1 person in the book" in said
    assert "of strangers reach it" in said and "held-out utterances of the training data's people" in said
    enrol(run, "小明", *sounds[1][:2])
    done = call("identify", "--run", run, sounds[0][2], sounds[1][2], sounds[2][2], sounds[3][2], "--json")
    assert done.returncode == 0, done.stderr
    assert [found["name"] for found in json.loads(done.stdout)] == ["ada", "小明", None, None]
    table = call("identify", "--run", run, sounds[0][2], sounds[3][2]).stdout
    assert table.splitlines()[2].split()[1] == "ada" and "nobody in the book" in table.splitlines()[3]
    assert "Threshold " in table and "book of 2 people by 2 recordings each" in table
    strict = call("identify", "--run", run, sounds[0][2], "--threshold", "99").stdout
    assert "nobody in the book" in strict and "given by hand" in strict


def test_the_book_is_listed_extended_and_emptied(run, sounds):
    enrol(run, "ada", sounds[0][0])
    assert "1 person in the book" in enrol(run, " ada ", sounds[0][1]).stdout
    enrol(run, "bo", *sounds[1])
    rows = [line.split() for line in call("enrol", "--run", run, "--list").stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["ada", "2"], ["bo", "3"]] and float(rows[1][2]) == pytest.approx(6, abs=0.2)
    assert "1 person left" in call("enrol", "--run", run, "--remove", "bo").stdout
    gone = call("enrol", "--run", run, "--remove", "bo")
    assert gone.returncode == 2 and "nobody in the book is called 'bo': it has ada." in gone.stderr
    assert "0 people left" in call("enrol", "--run", run, "--remove", "ada").stdout
    assert "nobody." in call("enrol", "--run", run, "--list").stdout
    empty = call("identify", "--run", run, sounds[0][0])
    assert empty.returncode == 2 and "the book is empty" in empty.stderr
    content = (run / "people.safetensors").read_bytes()
    assert b"bo" not in content.split(b"}}")[0].replace(b"book", b"")  # nothing of who was removed stays


def test_a_mean_is_that_of_unit_vectors(run, sounds):
    enrol(run, "ada", *sounds[0])
    opened = Run.open(run)
    book, model = Book.open(run / "people.safetensors", opened), opened.load_model()
    from speaker_lib.sound.features import extract_features

    with torch.inference_mode():
        raw = [model.embed(torch.from_numpy(extract_features(path))[None])[0].numpy() for path in sounds[0]]
    units = np.stack([vector / np.linalg.norm(vector) for vector in raw])
    mean = units.mean(axis=0)
    np.testing.assert_allclose(book.means()[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_what_is_odd_about_a_recording_is_noted_and_json_stays_json(run, sounds, tmp_path):
    cut_off = tmp_path / "cut.wav"
    cut_off.write_bytes(sounds[0][0].read_bytes()[: 44 + 2 * 16_000 * 3 // 2])  # 1.5 of 2 s, 16 bits each
    done = call("identify", "--run", run, cut_off, "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 1
    assert done.stderr.startswith("note: ") and "holds 1.5 of the 2.0 s that its header names" in done.stderr


def test_a_folder_and_the_files_in_it_that_are_no_recordings(run, sounds, tmp_path):
    (tmp_path / "sounds" / "notes.txt").write_text("no sound")
    (tmp_path / "sounds" / "broken.wav").write_bytes(b"RIFF")
    enrol(run, "ada", sounds[0][0])
    done = call("identify", "--run", run, tmp_path / "sounds")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2 + 12 + 3
    assert "broken.wav" in done.stderr and "1 .txt" in done.stderr
    refused = call("enrol", "--run", run, "--name", "bo", tmp_path / "sounds")
    assert refused.returncode == 1 and "error: " in refused.stderr and "broken.wav" in refused.stderr
    assert call("enrol", "--run", run, "--list").stdout.count("\n") == 3  # nothing was added by half
    (tmp_path / "sounds" / "broken.wav").unlink()
    added = call("enrol", "--run", run, "--name", "bo", tmp_path / "sounds", "--book", tmp_path / "new" / "book")
    assert added.returncode == 0 and "by 12 recordings" in added.stdout and "1 .txt" in added.stderr


@pytest.mark.parametrize(
    ("name", "seconds", "said"),
    [
        ("", 2.0, "is empty"),
        ("a\x1b[2Jb", 2.0, "cannot be shown"),
        ("a\nb", 2.0, "cannot be shown"),
        ("x" * 101, 2.0, "longer than"),
        ("ada", 0.4, "too short"),
        ("ada", 0.0, "0.wav"),
    ],
)
def test_what_cannot_be_enrolled_is_one_sentence(run, tmp_path, name, seconds, said):
    path = tmp_path / "0.wav"
    soundfile.write(path, voice(100, 0, max(seconds, 0.1))[: round(16_000 * seconds)], 16_000)
    done = call("enrol", "--run", run, "--name", name, path)
    assert done.returncode in (1, 2) and said in done.stderr and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert not (run / "people.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("enrol --run {run}", "nothing to do"),
        ("enrol --run {run} --name ada", "no recording of ada"),
        ("enrol --run {run} {wav}", "nobody is named"),
        ("enrol --run {run} --list", "is not there"),
        ("enrol --run {run} --remove ada", "is not there"),
        ("enrol --run {run} --name ada {run}/none.wav", "none.wav is not there"),
        ("identify --run {run} --book none {wav}", "none is not there"),
        ("identify --run {run} --threshold 0.5 {wav}", "a threshold is for the people in a book"),
        ("verify --run {run} {wav}", "1 recordings are named"),
        ("verify --run {run} {wav} {wav} --all", "--all is for a data set"),
        ("verify --run {run} {wav} {wav} --threshold nan", "choose a finite number"),
    ],
)
def test_wrong_usage_is_one_sentence(run, sounds, monkeypatch, arguments, said):
    monkeypatch.delenv("SPEAKER_DATA", raising=False)
    done = call(*arguments.format(run=run, wav=sounds[0][0]).split())
    assert done.returncode in (1, 2) and said in done.stderr and done.stderr.count("\n") == 1


def test_the_same_sound_is_enrolled_once(run, sounds, tmp_path):
    enrol(run, "ada", sounds[0][0])
    copy = tmp_path / "copy.wav"
    copy.write_bytes(sounds[0][0].read_bytes())
    assert "copy.wav holds the same sound as 00.wav, which is enrolled already" in enrol(run, "ada", copy, code=1).stderr
    assert "is enrolled as ada" in enrol(run, "bo", copy, code=1).stderr
    copy.write_bytes(sounds[1][0].read_bytes())
    assert "the same sound" in enrol(run, "bo", sounds[1][0], copy, code=1).stderr
    assert "by 1 recording," in enrol(run, "bo", sounds[1][0], sounds[1][0]).stdout  # one file named twice is one


def test_a_book_belongs_to_the_weights_it_was_made_with(run, data, sounds, tmp_path):
    book = tmp_path / "people"
    assert call("enrol", "--run", run, "--book", book, "--name", "ada", sounds[0][0]).returncode == 0
    other = untrained(tmp_path / "other", Corpus.open(data), seed=1).folder
    done = call("identify", "--run", other, "--book", book, sounds[0][0])
    assert done.returncode == 1 and "other weights" in done.stderr and done.stderr.count("\n") == 1


def test_a_damaged_book_is_one_sentence(run, sounds):
    enrol(run, "ada", *sounds[0])
    path, rng = run / "people.safetensors", np.random.default_rng(0)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    spoiled = [b"", whole[:-1], whole[: len(whole) // 2], safetensors.numpy.save({"vectors": np.ones((2, 2))})]
    spoiled += [whole.replace(b"ada", b"a\x1bd"), whole.replace(b"book 1", b"book 9"), whole.replace(b"seconds", b"sekunde")]
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, 8 + header, 3):
            damaged[at] = rng.integers(256)
        spoiled.append(bytes(damaged))
    refused = 0
    for content in spoiled:
        path.write_bytes(content)
        done = call("identify", "--run", run, sounds[0][0], "--threshold", 0.5)
        assert done.returncode in (0, 1), done.stderr
        assert done.returncode == 0 or (done.stderr.startswith("error: ") and done.stderr.count("\n") == 1)
        refused += done.returncode
    assert refused > 40


def test_without_data_there_is_no_threshold_until_one_is_given(run, data, sounds, monkeypatch, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["data"]["folder"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    said = enrol(run, "ada", *sounds[0][:2]).stdout
    assert "no threshold" in said and "gone" in said
    refused = call("identify", "--run", run, sounds[0][2])
    assert refused.returncode == 2 and "--threshold" in refused.stderr and "enrol --data" in refused.stderr
    assert "ada" in call("identify", "--run", run, sounds[0][2], "--threshold", "0.5").stdout.splitlines()[2]
    assert "no answer" in call("verify", "--run", run, *sounds[0][:2]).stdout
    calibrated = call("enrol", "--run", run, "--data", data)
    assert calibrated.returncode == 0 and "Threshold" in calibrated.stdout, calibrated.stderr
    assert call("identify", "--run", run, sounds[0][2]).returncode == 0


def test_other_people_calibrate_without_those_that_were_trained_on(run, data, tmp_path):
    for speaker in (0, 1, *range(50, 55)):
        for take in range(4):
            record(tmp_path / "audio" / f"s{speaker}" / f"{take}.wav", speaker, 20 + take)
    done = call("prepare", tmp_path / "audio", tmp_path / "others", "--session-from", "file", "--workers", 1)
    assert done.returncode == 0, done.stderr
    others = Corpus.open(tmp_path / "others")
    reference = make_reference(Run.open(run), others, CPU)
    assert reference.n_speakers == 5 and reference.tests.sum() == 10 and "not trained on" in reference.source
    assert len(reference.vectors) == 20
    few = call("enrol", "--run", run, "--name", "x", tmp_path / "audio" / "s50", "--data", data)
    assert few.returncode == 0, few.stderr


def random_reference(n_speakers: int, each: int = 8, spread: float = 0.35, d: int = 24) -> Reference:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_speakers, d)) / np.sqrt(d)
    speakers = np.repeat(np.arange(n_speakers), each)
    vectors = unit(centres[speakers] + rng.normal(0, spread / np.sqrt(d), (len(speakers), d)))
    return Reference(vectors.astype(np.float32), speakers, np.tile(np.arange(each) >= each // 2, n_speakers), "random")


@pytest.mark.parametrize("n_speakers", [20, LEAST_COHORT])
def test_a_threshold_lets_in_as_many_strangers_as_asked_and_more_people_raise_it(n_speakers):
    reference = random_reference(n_speakers)
    rates = [calibrate(reference, 5, 2, rate) for rate in (0.01, 0.05, 0.2)]
    assert [found.false_accepts for found in rates] == pytest.approx([0.01, 0.05, 0.2], abs=0.003)
    assert rates[0].score > rates[1].score > rates[2].score and rates[0].false_rejects >= rates[2].false_rejects
    assert calibrate(reference, 1, 2).score < calibrate(reference, 5, 2).score < calibrate(reference, 10, 2).score
    assert calibrate(reference, 500, 2).n_people == n_speakers // 2
    assert calibrate(reference, 5, 2) == rates[1]
    with pytest.raises(ConfigError, match="false-accepts is"):
        calibrate(reference, 5, 2, 1.5)


def test_scores_are_normalised_as_the_paper_says():
    reference, rng = random_reference(LEAST_COHORT), np.random.default_rng(1)
    tests, means = unit(rng.normal(size=(3, 24))), unit(rng.normal(size=(2, 24)))
    cohort = cohort_of(reference)
    assert cohort.shape == (LEAST_COHORT, 24) and cohort_of(random_reference(LEAST_COHORT - 1)) is None
    found = score_people(tests, means, cohort, np.array([0, 1, 2]), np.array([3, 4]))
    for i, test in enumerate(tests):
        for j, mean in enumerate(means):
            of_test = np.sort(np.delete(cohort @ test, i))[-COHORT:]
            of_mean = np.sort(np.delete(cohort @ mean, 3 + j))[-COHORT:]
            expected = sum((test @ mean - c.mean()) / c.std() for c in (of_test, of_mean)) / 2
            assert found[i, j] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(score_people(tests, means, None), tests @ means.T)


class Counting:
    """A model that notes the frames of each forward pass, and gives their mean."""

    def __init__(self) -> None:
        self.frames = []

    def __call__(self, mels, lengths):
        self.frames.append(mels.shape[1])
        return mels.mean(dim=1)  # (batch, n_mels)


@pytest.mark.parametrize(("frames", "passes"), [(10, 1), (LONG, 1), (LONG + 1, 4), (10 * LONG + 7, 31)])
def test_a_long_recording_goes_through_in_windows(frames, passes):
    model, mels = Counting(), np.random.default_rng(0).normal(size=(frames, 4)).astype(np.float32)
    found = window_outputs(model, mels, CPU)
    assert len(found) == len(model.frames) == passes and sum(model.frames) == frames
    assert passes == 1 or (max(model.frames) <= WINDOW and max(model.frames) - min(model.frames) <= 1)
    np.testing.assert_allclose(found.mean(dim=0), mels.mean(axis=0), atol=1e-3)


def test_a_voice_repeated_is_recognised_as_the_voice(run, sounds, tmp_path):
    from speaker_lib.sound.features import extract_features

    once, model = extract_features(sounds[0][0]), Run.open(run).load_model()
    many = np.tile(once, (-(-2 * LONG // len(once)), 1))
    assert embed_recording(model, once, CPU) @ embed_recording(model, many, CPU) > 0.999
    soundfile.write(tmp_path / "long.wav", np.tile(voice(100, 0), 40), 16_000)  # 80 s
    enrol(run, "ada", *sounds[0][1:])
    assert call("identify", "--run", run, tmp_path / "long.wav").stdout.splitlines()[2].split()[1] == "ada"
    one, long = (
        {
            row["recording"]: dict(row["best"])
            for row in json.loads(call("identify", "--run", run, "--trained", "--json", path).stdout)
        }
        for path in (sounds[0][0], tmp_path / "long.wav")
    )
    for speaker, probability in next(iter(one.values())).items():
        assert next(iter(long.values()))[speaker] == pytest.approx(probability, abs=0.02)


def test_without_a_book_identify_says_that_somebody_is_always_named(run, data, sounds):
    first = call("identify", "--run", run, sounds[0][0]).stdout
    assert "One of the 8 speakers of the training data is always named" in first and "`evaluate` this run once" in first
    assert call("evaluate", "--run", run, "--data", data).returncode == 0
    confidence = json.loads((run / "evaluation.json").read_text())["confidence"]
    assert len(confidence) == 21 and confidence == sorted(confidence) and confidence[0] > 0 and confidence[-1] <= 1
    assert f"95 % have a probability of {confidence[1]:.2f} or more" in call("identify", "--run", run, sounds[0][0]).stdout
    many = call("identify", "--run", run, *sounds[0]).stdout
    assert "of the 3 recordings have" in many and many.splitlines()[0].split() == ["recording", "speaker", "probability"]
    short = call("identify", "--run", run, record(run / "short.wav", 100, 0, 0.3))
    assert short.returncode == 1 and "too short to tell a voice" in short.stderr


def test_two_recordings_are_compared(run, sounds):
    same = call("verify", "--run", run, *sounds[0][:2])
    assert same.returncode == 0 and same.stdout.startswith("same person: cosine ") and "pairs of two people" in same.stdout
    assert call("verify", "--run", run, sounds[0][0], sounds[3][0]).stdout.startswith("different people: cosine ")
    found = json.loads(call("verify", "--run", run, *sounds[0][:2], "--threshold", 2, "--json").stdout)
    assert found["same"] is False and found["threshold"] == 2 and found["calibrated"] is None
