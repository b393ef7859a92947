"""The pitch of a voice: of tones, of simulated voices, and of noise."""

import math

import numpy as np
import pytest

from speaker_lib.simulation import Simulation, simulated_recording
from speaker_lib.simulation.voices import draw_voice, numpy_stream
from speaker_lib.sound import SAMPLE_RATE, median_pitch


def tone(hertz: float, harmonics: int = 8) -> np.ndarray:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, harmonics + 1))


@pytest.mark.parametrize("hertz", [70, 117, 160, 250, 390])
def test_the_pitch_of_a_tone_with_harmonics_is_its_fundamental(hertz):
    assert median_pitch(tone(hertz)) == pytest.approx(hertz, rel=0.01)


def test_a_missing_fundamental_is_found_as_we_hear_it():
    assert median_pitch(tone(120) - tone(120, harmonics=1)) == pytest.approx(120, rel=0.01)


@pytest.mark.parametrize("speaker", [3, 10, 7])
def test_the_pitch_of_a_simulated_voice_is_near_the_one_drawn_for_it(speaker):
    drawn = draw_voice(numpy_stream(0, 0, speaker)).pitch
    found = [median_pitch(simulated_recording(Simulation(), speaker, utterance)) for utterance in range(3)]
    assert np.median(found) == pytest.approx(drawn, rel=0.15)  # an utterance has a mood of its own


@pytest.mark.parametrize("samples", [np.zeros(100), np.zeros(SAMPLE_RATE), np.random.default_rng(0).normal(size=SAMPLE_RATE)])
def test_what_is_not_voiced_has_no_pitch(samples):
    assert math.isnan(median_pitch(samples))
