import numpy as np
import pytest
import soundfile

from speaker_lib.data.features import (
    HOP,
    PEAK,
    POWER_FLOOR,
    SAMPLE_RATE,
    extract_features,
    log_mel,
    normalise_peak,
    remove_silence,
)
from speaker_lib.data.sound import read_audio
from speaker_lib.simulation.corpus import simulated_recording
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
