import re

import numpy as np
import pytest
import soundfile

from speaker_lib.simulation.corpus import simulated_recording
from speaker_lib.sound.features import (
    HOP,
    PEAK,
    POWER_FLOOR,
    SAMPLE_RATE,
    extract,
    extract_features,
    log_mel,
    normalise_peak,
    remove_silence,
)
from speaker_lib.sound.reading import read_audio
from speaker_lib.utils.errors import SpeakerError

from .conftest import SMALL


def tone(seconds: float, frequency: float = 440.0, level: float = 0.5, rate: int = SAMPLE_RATE) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_log_mel_is_librosas(kind, request):
    import librosa

    if kind == "real":
        recordings = [read_audio(path).samples for path in sorted(request.getfixturevalue("speech").glob("*/*.flac"))[::10]]
    else:
        recordings = [simulated_recording(SMALL, speaker, 0) for speaker in range(4)]
    for recording in recordings:
        samples = remove_silence(normalise_peak(recording))
        expected = librosa.feature.melspectrogram(
            y=samples.astype(np.float64), sr=16_000, n_fft=400, hop_length=160, window="hann", center=True, pad_mode="reflect",
            power=2.0, n_mels=40, fmin=50.0, fmax=8_000.0, htk=True, norm=None,
        )  # fmt: skip
        expected = np.log(np.maximum(expected, 1e-9)).T
        found = log_mel(samples)
        assert found.shape == expected.shape == (1 + len(samples) // HOP, 40)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_values_have_hw4s_floor_and_order(speech):
    mel = extract_features(sorted(speech.glob("*/*.flac"))[0])
    assert mel.dtype == np.float32
    assert mel.min() >= np.float32(np.log(POWER_FLOOR)) and 0 < mel.max() < 12
    assert np.isclose(log_mel(np.zeros(1600, dtype=np.float32)), np.log(1e-9)).all()


def test_pauses_are_cut_wherever_they_are_and_gaps_stay():
    silence, gap = np.zeros(SAMPLE_RATE // 2, dtype=np.float32), np.zeros(SAMPLE_RATE // 20, dtype=np.float32)  # 0.5 s, 0.05 s
    voice = tone(0.4)
    speech = np.concatenate([silence, voice, silence, voice, gap, voice, silence])
    kept = remove_silence(speech)
    expected = 3 * len(voice) + len(gap)
    assert abs(len(kept) - expected) <= 6 * SAMPLE_RATE // 50  # to within a 20 ms block at each edge
    assert np.array_equal(remove_silence(voice), voice)


def test_the_peak_is_minus_three_decibels():
    assert np.abs(normalise_peak(tone(0.1, level=0.003))).max() == pytest.approx(PEAK)


KINDS = [(s, *kind) for s in ("wav", "flac", "ogg", "mp3") for kind in ((16_000, 1), (44_100, 2), (8_000, 1))]


@pytest.mark.parametrize(("suffix", "rate", "channels"), [*KINDS, ("wav", 192_000, 8), ("flac", 192_000, 8)])
def test_recordings_of_every_kind_become_16_khz_mono(tmp_path, suffix, rate, channels):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.repeat(tone(1.0, rate=rate)[:, None], channels, axis=1), rate)
    samples = read_audio(path).samples
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(SAMPLE_RATE, rel=0.05)
    spectrum = np.abs(np.fft.rfft(samples[: SAMPLE_RATE // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("kind", ["simulated", "real"])
def test_an_ordinary_recording_has_hw4s_features_bit_for_bit(tmp_path, kind, request):
    if kind == "real":
        paths = sorted(request.getfixturevalue("speech").glob("*/*.flac"))[::7]
    else:
        paths = [tmp_path / f"{speaker}.wav" for speaker in range(4)]
        for speaker, path in enumerate(paths):
            soundfile.write(path, simulated_recording(SMALL, speaker, 0), SAMPLE_RATE)
    for path in paths:
        samples, _ = soundfile.read(path, dtype="float32")
        found = extract(path)
        assert np.array_equal(found.mel, log_mel(remove_silence(normalise_peak(samples))))
        assert np.array_equal(found.mel, extract_features(path))
        assert found.notes == () and found.seconds == len(samples) / SAMPLE_RATE


def talk(seconds: float = 15.0, peak: float = 0.9) -> np.ndarray:
    """A simulated voice, with a pause of three seconds after five, in the noise of a room at -36 dB of its peak."""
    voice = np.resize(remove_silence(normalise_peak(simulated_recording(SMALL, 0, 0))), int(seconds * SAMPLE_RATE))
    voice = np.insert(voice, 5 * SAMPLE_RATE, np.zeros(3 * SAMPLE_RATE, dtype=np.float32))
    return (peak / PEAK * (voice + noise(seconds + 3, -60))).astype(np.float32)


def noise(seconds: float, level: float) -> np.ndarray:
    return 10 ** (level / 20) * np.random.default_rng(0).normal(size=int(seconds * SAMPLE_RATE))


def with_a_moment(samples: np.ndarray, length: int, level: float) -> np.ndarray:
    return np.concatenate([samples[: 6 * SAMPLE_RATE], np.full(length, level), samples[6 * SAMPLE_RATE + length :]])


@pytest.mark.parametrize("length", [200, 800])  # samples: a tap, and a thump of 50 ms
def test_a_loud_moment_that_leaves_little_is_named(tmp_path, length):
    soundfile.write(tmp_path / "good.wav", talk(peak=0.025), SAMPLE_RATE, subtype="FLOAT")
    good = extract(tmp_path / "good.wav")  # quiet, but speech
    assert good.notes == () and good.seconds == pytest.approx(18.0) and len(good.mel) == pytest.approx(1500, abs=60)
    soundfile.write(tmp_path / "a.wav", with_a_moment(talk(peak=0.025), length, 0.9), SAMPLE_RATE, subtype="FLOAT")
    because = "because a loud moment at 6.0 s sets the level: "
    if length == 200:  # shorter than a window is left
        with pytest.raises(SpeakerError, match=f"no sound longer than a pause, {because}leave it out"):
            extract(tmp_path / "a.wav")
    else:
        (note,) = extract(tmp_path / "a.wav").notes
        assert re.fullmatch(rf".*a\.wav has 0\.\d of 18\.0 s left after pauses were cut, {because}cut it out and .*\.", note)


def test_little_sound_is_said(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.pad(tone(2.0), (0, 8 * SAMPLE_RATE)), SAMPLE_RATE)
    assert "has 2.0 of 10.0 s left after pauses were cut: check" in extract(tmp_path / "a.wav").notes[0]
    soundfile.write(tmp_path / "b.wav", tone(0.3), SAMPLE_RATE)
    assert "has only 0.3 s of sound" in extract(tmp_path / "b.wav").notes[0]


def test_an_offset_that_hides_the_pauses_is_taken_off(tmp_path):
    clean = talk()
    soundfile.write(tmp_path / "clean.wav", clean, SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "a.wav", clean + 0.05, SAMPLE_RATE, subtype="FLOAT")
    found = extract(tmp_path / "a.wav")
    assert re.search(r"has a constant offset of [56]% of its peak", found.notes[0])
    expected = extract_features(tmp_path / "clean.wav")
    assert found.mel.shape == expected.shape
    np.testing.assert_allclose(found.mel.mean(axis=0), expected.mean(axis=0), atol=0.1)


@pytest.mark.parametrize(
    "samples",
    [noise(3, -60), noise(3, -50), np.random.default_rng(0).integers(-1, 2, 48_000) / 32768],
    ids=["room", "fan", "dither"],
)
def test_what_holds_no_speech_is_refused(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(
        SpeakerError, match=r"a\.wav holds no speech, its loudest 20 ms are at -\d\d dB of full scale: leave it out"
    ):
        extract(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("noise.wav", b"this is not audio", "not a readable recording"),
        ("empty.flac", b"", "not a readable recording"),
        ("silent.wav", np.zeros(16_000, dtype=np.float32), "holds no sound"),
        ("short.wav", tone(0.01), "no sound longer than a pause"),
        ("one.wav", np.ones(1, dtype=np.float32), "no sound longer than a pause"),
        ("none.wav", np.zeros(0, dtype=np.float32), "holds no sound"),
        ("nan.wav", np.full(16_000, np.nan, dtype=np.float32), "NaN"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named(tmp_path, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(SpeakerError, match=said) as problem:
        extract_features(path)
    assert str(path) in str(problem.value)


def test_a_header_that_claims_the_impossible_is_not_believed(tmp_path):
    slow, long = tmp_path / "slow.wav", tmp_path / "long.flac"
    soundfile.write(slow, tone(0.1), 1)
    soundfile.write(long, tone(0.1), SAMPLE_RATE)
    content = bytearray(long.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: the upper four of 36 bits that count the samples
    long.write_bytes(content)
    for path in (slow, long):
        with pytest.raises(SpeakerError, match="not a readable recording") as problem:
            read_audio(path)
        assert str(path) in str(problem.value)


def test_a_recording_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpeakerError, match="is not there"):
        read_audio(tmp_path / "a.wav")
