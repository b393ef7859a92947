"""Augmentation: what a channel does to a waveform, and that no copy of a held-out utterance is ever trained on."""

import json

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.channels.__main__ import RESULTS
from benchmarks.channels.conditions import CONDITIONS, ENROLMENT
from benchmarks.channels.report import channel_table
from benchmarks.channels.tasks import recognise
from speaker_lib import PRESETS, Corpus, CorpusWriter, Run, get_dataloader, split_utterances
from speaker_lib.data.audio import utterance_audio
from speaker_lib.data.recordings import prepare
from speaker_lib.data.writer import write_subset
from speaker_lib.evaluation import heldout_indices
from speaker_lib.evaluation.embeddings import unseen_indices
from speaker_lib.experiments.published import read_rows
from speaker_lib.simulation.corpus import Simulation, simulate
from speaker_lib.sound.channels import TELEPHONE, Channel, apply_channel, augmented_copies, draw_channel
from speaker_lib.sound.features import SAMPLE_RATE, mel_edges
from speaker_lib.utils.errors import ConfigError, CorpusError

from .conftest import call

TONES = (500.0, 800.0, 1_100.0, 1_500.0, 2_000.0, 2_600.0)  # Hz, all within a telephone's band
TRAIN = PRESETS["laptop_baseline"].train


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(seconds=2.0, seed=0):
    return rng(seed).normal(0.0, 0.1, int(seconds * SAMPLE_RATE))


def tone(hertz, seconds=1.0):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)


def decibels(power):
    return 10 * np.log10(power)


def gain_at(hertz, channel):
    """dB that a tone of one second gains, measured away from its ends."""
    sent, middle = tone(hertz), slice(SAMPLE_RATE // 4, -SAMPLE_RATE // 4)
    return decibels(np.mean(apply_channel(sent, channel, rng())[middle] ** 2) / np.mean(sent[middle] ** 2))


# --- one channel -------------------------------------------------------------------------------------------------------------


def test_a_channel_of_defaults_changes_nothing():
    np.testing.assert_allclose(apply_channel(noise(), Channel(), rng()), noise(), atol=1e-6)


@pytest.mark.parametrize("swing", [0.0, 6.0])
@pytest.mark.parametrize("slope", [0.0, -3.0, -9.0])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 13.7, 25.0])
def test_noise_has_the_level_that_was_drawn(snr, slope, swing):
    speech = noise(seed=1)
    added = apply_channel(speech, Channel(snr=snr, noise_tilt=slope, noise_swing=swing), rng()) - speech
    assert decibels(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.1)


def test_noise_has_its_slope():
    """Pink noise falls by 3 dB per octave."""
    speech = noise(20.0, seed=1)
    added = apply_channel(speech, Channel(snr=0.0, noise_tilt=-3.0), rng()) - speech
    power, frequency = np.abs(np.fft.rfft(added)) ** 2, np.fft.rfftfreq(len(added), 1 / SAMPLE_RATE)
    octaves = [power[(frequency >= low) & (frequency < 2 * low)].mean() for low in (200, 400, 800, 1_600, 3_200)]
    np.testing.assert_allclose(np.diff(decibels(np.array(octaves))), -3.0, atol=0.5)


def test_the_telephone_passes_its_band_only():
    line = Channel(low_cut=TELEPHONE[0], high_cut=TELEPHONE[1], low_order=8, high_order=12)
    assert all(abs(gain_at(hertz, line)) < 0.5 for hertz in (450, 1_000, 2_800))
    assert all(gain_at(hertz, line) == pytest.approx(-3.0, abs=0.2) for hertz in TELEPHONE)
    assert gain_at(150, line) < -40 and gain_at(6_800, line) < -40


def test_a_microphone_tilts_and_ripples():
    assert gain_at(1_600, Channel(tilt=-3.0)) - gain_at(800, Channel(tilt=-3.0)) == pytest.approx(-3.0, abs=0.1)
    assert gain_at(60, Channel(ripple=(6.0,))) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_an_echo_decays_in_its_time(seconds):
    click = np.zeros(SAMPLE_RATE)
    click[0] = 1.0
    response = apply_channel(click, Channel(reverberation=seconds, echo=1.0), rng()).astype(np.float64)
    left = decibels(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response[1:] ** 2) + 1e-30)  # Schroeder's decay
    time = [int(part * seconds * SAMPLE_RATE) for part in (0.1, 0.5)]
    assert (left[time[1]] - left[time[0]]) / 0.4 == pytest.approx(-60.0, abs=3.0)
    assert response[0] ** 2 == pytest.approx(np.sum(response[1:] ** 2), rel=0.1)  # the echo is as loud as the direct sound


def test_gain_drifts_and_peaks_are_cut():
    drifting = apply_channel(np.ones(SAMPLE_RATE), Channel(drift=6.0), rng())[[0, -1]]
    assert decibels((drifting[1] / drifting[0]) ** 2) == pytest.approx(6.0, abs=0.3)
    clipped = apply_channel(tone(440), Channel(clip=0.5), rng())
    assert np.abs(clipped).max() == pytest.approx(0.15, abs=1e-3)
    assert (np.abs(clipped) > 0.149).mean() > 0.5


@pytest.mark.parametrize("n", [1, 399, 12_345, 5 * SAMPLE_RATE])
def test_lengths_and_silence_stay_and_every_draw_is_a_number(n):
    for seed in range(40):
        channel = draw_channel(rng(seed))
        heard = apply_channel(noise(n / SAMPLE_RATE, seed), channel, rng(seed))
        assert heard.shape == (n,) and heard.dtype == np.float32 and np.isfinite(heard).all()
        assert not apply_channel(np.zeros(n), channel, rng(seed)).any()


def test_draws_are_repeatable_and_of_every_kind():
    drawn = [draw_channel(rng(seed)) for seed in range(400)]
    assert drawn == [draw_channel(rng(seed)) for seed in range(400)]
    for share, kind in (
        (0.5, [channel.reverberation > 0 for channel in drawn]),
        (0.7, [channel.snr is not None for channel in drawn]),
        (0.3, [(channel.low_cut, channel.high_cut) == TELEPHONE for channel in drawn]),
        (0.15, [channel.clip is not None for channel in drawn]),
    ):
        assert np.mean(kind) == pytest.approx(share, abs=0.08)


# --- copies of utterances ----------------------------------------------------------------------------------------------------


def test_a_copy_holds_its_own_utterance_only():
    """Six tones with pauses between them: were a copy cut at another place, it would hold two of them."""
    pause = np.zeros(SAMPLE_RATE // 2)
    recording = np.concatenate([part for hertz in TONES for part in (tone(hertz), pause)])
    bands = [int(np.argmin(np.abs(mel_edges()[1:-1] - hertz))) for hertz in TONES]
    for i, copies in enumerate(augmented_copies(recording, [100] * len(TONES), 6, "a recording")):
        for mel in copies:
            levels = np.exp(mel[:, bands]).mean(axis=0)  # (tones,)
            assert levels.argmax() == i and 25 <= len(mel) <= 101


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for speaker in ("ada", "bo", "cy"):
        (folder / "in" / speaker).mkdir(parents=True)
        for session in range(3):
            seed = 10 * session + ord(speaker[0])
            soundfile.write(folder / "in" / speaker / f"{session}.wav", noise(4.3, seed), SAMPLE_RATE)
    return folder / "in"


@pytest.fixture(scope="module")
def both(recordings, tmp_path_factory):
    """The corpus with two copies of each utterance, and the one without."""
    folder = tmp_path_factory.mktemp("both")
    prepare(recordings, folder / "augmented", chunk=1.0, workers=1, augment=2)
    prepare(recordings, folder / "clean", chunk=1.0, workers=1)
    return Corpus.open(folder / "augmented"), Corpus.open(folder / "clean")


def test_copies_leave_the_clean_utterances_as_they_are(both):
    augmented, clean = (corpus.labelled for corpus in both)
    assert len(augmented) == 3 * len(clean) and len(augmented.clean) == len(clean) == 36
    for i, j in enumerate(augmented.clean.tolist()):
        np.testing.assert_array_equal(clean.mel(i), augmented.mel(j))
        copies = augmented.copies_of([j])
        assert len(copies) == 2 and len({augmented.mel(k).tobytes() for k in (j, *copies)}) == 3
        assert {(augmented.labels[k], augmented.sessions[k]) for k in copies} == {(augmented.labels[j], augmented.sessions[j])}
    assert both[0].source == "recordings of in, with 2 augmented copies of each utterance"


def test_a_clean_utterance_is_played_and_a_copy_is_not(both):
    augmented, clean = both
    for i, j in enumerate(augmented.labelled.clean.tolist()):
        np.testing.assert_array_equal(utterance_audio(augmented, j), utterance_audio(clean, i))
        assert utterance_audio(augmented, int(augmented.labelled.copies_of([j])[0])) is None


def test_one_process_or_two_make_the_same_copies(recordings, tmp_path, both):
    prepare(recordings, tmp_path / "again", chunk=1.0, workers=2, augment=2)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (both[0].folder / path.name).read_bytes()


@pytest.mark.parametrize("split", ["random", "session"])
@pytest.mark.parametrize("seed", [0, 87])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_nothing_held_out_is_trained_on_in_another_channel(both, split, seed, fraction):
    config = TRAIN.__class__(**{**vars(TRAIN), "split": split, "split_seed": seed, "valid_fraction": fraction})
    augmented, clean = (corpus.labelled for corpus in both)
    training, heldout = (part.numpy() for part in split_utterances(augmented, config))
    originals = augmented.originals
    assert not set(originals[training]) & set(originals[heldout])
    assert set(heldout) <= set(augmented.clean) and not set(training) & set(heldout)
    assert len(training) + 3 * len(heldout) == len(augmented)  # all copies of what is trained on
    names = augmented.clean  # the clean utterances of both corpora are the same, in the same order
    expected = [names[part.numpy()] for part in split_utterances(clean, config)]
    np.testing.assert_array_equal(heldout, expected[1])
    np.testing.assert_array_equal(training[: len(expected[0])], expected[0])


def test_batches_of_validation_are_clean(both):
    corpus = both[0]
    train_batches, valid_batches, _ = get_dataloader(corpus, TRAIN)
    assert set(valid_batches.utterances.tolist()) <= set(corpus.labelled.clean.tolist())
    assert len(train_batches.utterances) > len(corpus.labelled.clean)


def test_all_means_all_clean_utterances(both, tmp_path):
    augmented, clean = both
    run = Run.create(tmp_path / "run", PRESETS["laptop_baseline"], augmented)
    every = torch.from_numpy(augmented.labelled.clean)
    assert torch.equal(heldout_indices(run, augmented, everything=True), every)
    assert torch.equal(unseen_indices(run, augmented, everything=True), every)
    assert torch.equal(unseen_indices(Run.create(tmp_path / "other", run.preset, clean), augmented), every)


def test_a_subset_keeps_the_copies_of_what_it_takes(both, tmp_path):
    write_subset(both[0], tmp_path / "few", n_speakers=2, n_utterances=3)
    few = Corpus.open(tmp_path / "few").labelled
    assert len(few.clean) == 6 and all(len(few.copies_of([i])) == 2 for i in few.clean)
    of_first = [[part.mel(int(k)).tobytes() for k in part.copies_of([0])] for part in (few, both[0].labelled)]
    assert of_first[0] == of_first[1]


@pytest.mark.parametrize("wrong", ["uttr-none.pt", "another speaker", "a copy", "another session", 7, None, "itself"])
def test_a_copy_of_nothing_is_refused(tmp_path, wrong):
    with CorpusWriter(tmp_path / "bad", "random numbers") as writer:
        names = {
            "itself": writer.add(np.ones((9, 40)), "ada", "monday"),
            "another session": writer.add(np.ones((9, 40)), "ada", "tuesday"),
            "another speaker": writer.add(np.ones((9, 40)), "bo", "monday"),
        }
        names["a copy"] = writer.add(np.ones((9, 40)), "ada", "monday", augmented_from=names["itself"])
        last = writer.add(np.ones((9, 40)), "ada", "monday", augmented_from=names["itself"])
    names["itself"] = last
    index = tmp_path / "bad" / "metadata.json"
    content = json.loads(index.read_text())
    content["speakers"]["ada"][-1]["augmented_from"] = names.get(wrong, wrong)
    index.write_text(json.dumps(content))
    with pytest.raises(CorpusError, match=f"augmented_from of {last} is .*, no clean utterance of its speaker and session"):
        Corpus.open(tmp_path / "bad")


# --- the commands ------------------------------------------------------------------------------------------------------------


def test_the_commands_tell_of_copies(recordings, tmp_path):
    done = call("prepare", recordings, tmp_path / "out", "--chunk", 1, "--augment", 1, "--workers", 1)
    assert done.returncode == 0 and "36 augmented copies" in done.stdout
    assert "72 labelled utterances (36 of them augmented copies)" in call("check", tmp_path / "out").stdout
    for number in (-1, 101):
        done = call("prepare", recordings, tmp_path / "no", "--augment", number)
        assert done.returncode == 2 and f"augment is {number}: choose" in done.stderr and not (tmp_path / "no").exists()


def test_simulated_voices_have_copies_too(tmp_path):
    size = {"speakers": 2, "utterances": 2, "test_utterances": 1, "sessions": 2}
    simulate(tmp_path / "plain", Simulation(**size), workers=1)
    simulate(tmp_path / "augmented", Simulation(**size, augment=2), workers=1)
    plain, augmented = Corpus.open(tmp_path / "plain"), Corpus.open(tmp_path / "augmented")
    assert len(augmented.labelled) == 12 and len(augmented.test) == 2
    for i, j in enumerate(augmented.labelled.clean.tolist()):
        np.testing.assert_array_equal(plain.labelled.mel(i), augmented.labelled.mel(j))
    with pytest.raises(ConfigError, match="augment is -1"):
        Simulation(augment=-1)


# --- the benchmark -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path):
    """Ten people of five recordings, each enrolled and asked in two conditions."""
    with CorpusWriter(tmp_path / "asked", "random numbers") as writer:
        for speaker in range(10):
            for _ in range(5):
                for session in (ENROLMENT, "the same", "another"):
                    writer.add(np.ones((9, 40)), f"speaker{speaker}", session)
    return Corpus.open(tmp_path / "asked")


def test_people_are_named_by_the_nearest_mean_of_their_enrolment(asked):
    vectors = np.eye(10)[asked.labelled.labels]  # (utterances, 10)
    another = np.array(asked.labelled.sessions) == "another"
    vectors[another] = np.roll(vectors[another], 1, axis=1)  # everybody sounds like the next one
    assert recognise(vectors, asked) == {"the same": 1.0, "another": 0.0}


@pytest.mark.parametrize("name", [name for name, through in CONDITIONS.items() if through and "MP3" not in name])
def test_a_condition_keeps_the_length_and_does_something(name):
    speech, others = noise(3.0, seed=1), [noise(1.0, seed=i) for i in range(2, 8)]
    heard = CONDITIONS[name](speech, rng(), others)
    assert heard.shape == speech.shape and np.isfinite(heard).all() and not np.allclose(heard, speech)
    if "10 dB" in name:
        assert decibels(np.mean(speech**2) / np.mean((heard - speech) ** 2)) == pytest.approx(10.0, abs=0.1)


def test_docs_show_the_committed_rows():
    page = (RESULTS.parents[3] / "docs" / "channels.md").read_text(encoding="utf-8")
    assert channel_table(read_rows(RESULTS)) in page
