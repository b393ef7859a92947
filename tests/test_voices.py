"""Simulated voices: alike within a speaker, different between speakers, the same for the same seed."""

import json

import numpy as np
import pytest

from speaker_lib import Corpus
from speaker_lib.simulation.corpus import Simulation, simulate, simulated_recording
from speaker_lib.simulation.sessions import apply_session, draw_session
from speaker_lib.simulation.voices import Voice, draw_voice, speak
from speaker_lib.sound.features import SAMPLE_RATE, log_mel, normalise_peak, remove_silence
from speaker_lib.utils.errors import ConfigError, CorpusError

from .conftest import SMALL


def voice(pitch: float = 120.0, tract: float = 1.0) -> Voice:
    return Voice(pitch, 0.5, tract, formant_offsets=(0.0,) * 5, bandwidth=1.0, tilt=4.0, breath=0.01, rate=1.0)


def pitch_of(samples: np.ndarray) -> float:
    """Hz, the median over 60 ms windows of the autocorrelation's peak between 60 and 400 Hz."""
    width, shortest, longest = 960, SAMPLE_RATE // 400, SAMPLE_RATE // 60
    windows = samples[: len(samples) // width * width].reshape(-1, width)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(windows, 2 * width)) ** 2)  # (windows, 2 * width)
    return float(np.median(SAMPLE_RATE / (shortest + correlation[:, shortest:longest].argmax(axis=1))))


def centre_of(samples: np.ndarray) -> float:
    """Hz, the centre of gravity of the spectrum up to 4 kHz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low = frequency < 4_000
    return float((power * frequency)[low].sum() / power[low].sum())


@pytest.mark.parametrize("pitch", [90.0, 150.0, 230.0])
def test_a_voice_has_the_pitch_it_was_given(pitch):
    samples = speak(voice(pitch=pitch), 3.0, np.random.default_rng(0))
    assert pitch_of(samples) == pytest.approx(pitch, rel=0.12)


def test_a_longer_tract_is_darker():
    long, short = (speak(voice(tract=tract), 4.0, np.random.default_rng(0)) for tract in (0.85, 1.15))
    assert centre_of(long) < 0.9 * centre_of(short)


def test_speech_is_a_waveform_of_the_length_asked_for():
    samples = speak(draw_voice(np.random.default_rng(3)), 2.5, np.random.default_rng(0))
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(2.5 * SAMPLE_RATE, abs=256)
    assert np.abs(samples).max() == pytest.approx(1.0) and np.isfinite(samples).all()


def test_a_session_leaves_its_mark():
    samples = speak(voice(), 3.0, np.random.default_rng(0))
    one, other = (draw_session(np.random.default_rng(seed)) for seed in (1, 2))
    mel = [log_mel(normalise_peak(apply_session(samples, s, np.random.default_rng(0)))).mean(axis=0) for s in (one, one, other)]
    np.testing.assert_array_equal(mel[0], mel[1])
    assert np.abs(mel[0] - mel[2]).mean() > 0.5


def test_any_utterance_can_be_made_alone(simulated):
    corpus = Corpus.open(simulated)
    samples = simulated_recording(SMALL, speaker=2, utterance=7)
    mel = log_mel(remove_silence(normalise_peak(samples)))
    np.testing.assert_array_equal(corpus.labelled.mel(2 * SMALL.utterances + 7), mel.astype(np.float16).astype(np.float32))


def test_a_corpus_says_what_it_is(simulated):
    corpus = Corpus.open(simulated)
    assert len(corpus.labelled) == 40 and len(corpus.test) == 8
    assert corpus.speakers == ("sim1-0000", "sim1-0001", "sim1-0002", "sim1-0003")
    assert "simulated voices (not people)" in corpus.source
    assert len(set(corpus.labelled.sessions)) == 4 * 3
    seconds = corpus.labelled.lengths / 100
    assert seconds.min() > 1.0 and seconds.max() < 8.1


def test_the_seed_decides_everything_and_the_number_of_processes_nothing(tmp_path):
    small = Simulation(speakers=2, utterances=2, test_utterances=1, sessions=2, seed=5)
    simulate(tmp_path / "one", small, workers=1)
    simulate(tmp_path / "two", small, workers=2)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert len(names) == 6 + 3
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    simulate(tmp_path / "other", Simulation(speakers=2, utterances=2, test_utterances=1, sessions=2, seed=6), workers=1)
    lengths = [json.loads((tmp_path / f / "testdata.json").read_text()) for f in ("one", "other")]
    assert lengths[0] != lengths[1]


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="speakers is 0"):
        Simulation(speakers=0)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorpusError, match="is there already"):
        simulate(tmp_path)
    assert (tmp_path / "file").read_text() == "mine"
