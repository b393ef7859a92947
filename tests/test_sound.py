"""Reading one recording: every format, known by its content, to the true end of the sound."""

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speaker_lib.sound.reading import SAMPLE_RATE, is_audio, read_audio
from speaker_lib.utils.errors import SpeakerError

from .conftest import call

RATE = SAMPLE_RATE
FORMATS = {  # libsndfile's names
    "wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16"), "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"), "mp3": ("MP3", None),
}  # fmt: skip


def sound(seconds: float, pitch: float = 440.0, rate: int = RATE) -> np.ndarray:
    """A faint tone that swells to noise, so that an MP3's bit rate at the beginning says little of the rest."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    loudness = np.minimum(1, time / 0.3 + 0.01)
    return (loudness * (0.4 * np.sin(2 * np.pi * pitch * time) + 0.1 * rng.normal(size=len(time)))).astype(np.float32)


def written(path: Path, kind: str, samples: np.ndarray, rate: int = RATE, **options: object) -> bytes:
    container, subtype = FORMATS[kind]
    soundfile.write(path, samples, rate, format=container, subtype=subtype, **options)
    return path.read_bytes()


def pitch_of(samples: np.ndarray) -> float:
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


def assert_holds(path: Path, seconds: float, notes: int = 0, within: float = 0.15) -> np.ndarray:
    found = read_audio(path)
    assert len(found.samples) / RATE == pytest.approx(seconds, abs=within)
    assert len(found.notes) == notes, found.notes
    assert found.samples.dtype == np.float32 and found.samples.ndim == 1
    return found.samples


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["voice", "voice.txt", "-voice.mp3", "voice.wav"])
def test_a_recording_is_known_by_its_content(tmp_path, kind, name):
    written(tmp_path / name, kind, sound(2.0))
    assert is_audio(tmp_path / name)
    assert pitch_of(assert_holds(tmp_path / name, 2.0)) == pytest.approx(440, abs=4)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(2000)
NOT_SOUND = {
    "notes.txt": b"The wide room.\n" * 50, "a.json": b"{}", "empty": b"", "zeros.bin": bytes(5000), "photo.heic": HEIC,
    "list.txt": b"ffconcat version 1.0\nfile secret.wav\n", "utf16.txt": "\ufeffwords".encode("utf-16-le"),
    "mac": b"MAC address\n", "id.txt": b"ID3 is a tag, caff is not, fLaC neither\n",
    "noise.bin": np.random.default_rng(0).bytes(70_000),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_SOUND)
def test_what_is_no_recording_is_not_taken_for_one(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(NOT_SOUND[name])
    assert not is_audio(path)
    with pytest.raises(SpeakerError, match="not a readable recording") as problem:
        read_audio(path)
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)


def test_folders_pipes_and_nothing_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, said in (("pipe.wav", "not there"), ("", "is a folder"), ("none.wav", "not there"), ("none/a.wav", "not there")):
        assert not is_audio(tmp_path / name)
        with pytest.raises(SpeakerError, match=said):
            read_audio(tmp_path / name)


# MP3s without a length, and joined ones


def without_table(content: bytes) -> bytes:
    assert content.count(b"Xing") + content.count(b"Info") == 1
    return content.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4))


@pytest.mark.parametrize("level", [0.0, 0.2, 0.4, 0.7, 0.99])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_without_a_length_is_read_to_its_end(tmp_path, level, rate):
    path = tmp_path / "a.mp3"
    content = written(path, "mp3", sound(6.0, rate=rate), rate, bitrate_mode="VARIABLE", compression_level=level)
    whole = assert_holds(path, 6.0)
    path.write_bytes(without_table(content))
    found = assert_holds(path, 6.0, within=0.2)
    padding = len(found) - len(whole)  # only the table tells it
    start = slice(RATE, RATE + 2000)
    places = range(RATE, RATE + padding + 1)
    assert max(np.corrcoef(found[i : i + 2000], whole[start])[0, 1] for i in places) > 0.99


def test_the_length_of_such_an_mp3_is_wrong_in_libsndfile(tmp_path):
    """What the tests around this one are for."""
    path = tmp_path / "a.mp3"
    path.write_bytes(without_table(written(path, "mp3", sound(6.0), bitrate_mode="VARIABLE", compression_level=0.7)))
    assert soundfile.info(path).duration < 4.0
    with soundfile.SoundFile(path) as file:
        assert len(file.read()) / RATE < 4.0


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_joined_mp3s_are_read_one_after_the_other(tmp_path, mode, rate):
    options = {"bitrate_mode": mode, "compression_level": 0.5}
    one = written(tmp_path / "1.mp3", "mp3", sound(3.0), **options)
    two = written(tmp_path / "2.mp3", "mp3", sound(4.0, pitch=880, rate=rate), rate, **options)
    tag = b"ID3\x03\0\0\0\0\x01\x00" + bytes(128)
    for content in (one + two, tag + one + tag + two, one + two + b"TAG" + bytes(125), without_table(one) + without_table(two)):
        (tmp_path / "both.mp3").write_bytes(content)
        samples = assert_holds(tmp_path / "both.mp3", 7.0, within=0.4)
        assert pitch_of(samples[: 2 * RATE]) == pytest.approx(440, abs=4)
        assert pitch_of(samples[-2 * RATE :]) == pytest.approx(880, abs=4)


def test_bytes_around_an_mp3_do_not_hide_it(tmp_path):
    content, path = written(tmp_path / "1.mp3", "mp3", sound(3.0)), tmp_path / "a.mp3"
    cover = np.random.default_rng(1).bytes(100_000).replace(b"\xff", b"\xfe")
    size = bytes((len(cover) >> shift) & 127 for shift in (21, 14, 7, 0))
    for junk, sound_, tail in (
        (b"a header of the recorder's own", content, b""),
        (b"ID3\x04\0\0" + size + cover, content, b""),
        (b"", content, b"APETAGEX" + cover),
        (b"", without_table(content), b"APETAGEX" + cover),
    ):
        path.write_bytes(junk + sound_ + tail)
        assert_holds(path, 3.0)


def test_a_damaged_mp3_goes_on_behind_the_damage(tmp_path):
    path = tmp_path / "a.mp3"
    content = bytearray(written(path, "mp3", sound(8.0), bitrate_mode="VARIABLE", compression_level=0.4))
    half = len(content) // 2
    content[half : half + 3000] = bytes(3000)
    path.write_bytes(content)
    assert_holds(path, 7.2, notes=1, within=0.6)


# Joined files, streams, recorders that crashed


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus"])
def test_joined_files_are_read_one_after_the_other(tmp_path, kind):
    one = written(tmp_path / "1", kind, sound(3.0))
    two = written(tmp_path / "2", kind, sound(4.0, pitch=880, rate=48_000), 48_000)
    (tmp_path / "both").write_bytes(one + two)
    samples = assert_holds(tmp_path / "both", 7.0)
    assert pitch_of(samples[: 2 * RATE]) == pytest.approx(440, abs=4)
    assert pitch_of(samples[-2 * RATE :]) == pytest.approx(880, abs=4)


def patched(content: bytes, *patches: tuple[int, bytes]) -> bytes:
    changed = bytearray(content)
    for place, patch in patches:
        changed[place : place + len(patch)] = patch
    return bytes(changed)


def streams(folder: Path) -> dict[str, bytes]:
    """Three seconds each, with a length in the header that is unknown, zero, or was right a second after the beginning."""
    made = {kind: written(folder / kind, kind, sound(3.0)) for kind in ("wav", "flac", "au", "aiff", "rf64")}
    data = {kind: content.index(b"data") + 4 for kind, content in made.items() if kind in ("wav", "rf64")}
    nothing, every, early = bytes(4), b"\xff" * 4, struct.pack("<I", 2 * RATE)
    flac = made["flac"]
    return {
        "zero.wav": patched(made["wav"], (4, nothing), (data["wav"], nothing)),
        "zero data.wav": patched(made["wav"], (data["wav"], nothing)),
        "header only.wav": patched(made["wav"], (4, struct.pack("<I", 36)), (data["wav"], nothing)),
        "unknown.wav": patched(made["wav"], (4, every), (data["wav"], every)),
        "early.wav": patched(made["wav"], (4, early), (data["wav"], early)),
        "zero.rf64": patched(made["rf64"], (20, bytes(16)), (data["rf64"], every)),
        "unknown.flac": patched(flac, (21, bytes([flac[21] & 0xF0])), (22, nothing)),
        "unknown.au": patched(made["au"], (8, every)),
        "zero.aiff": patched(made["aiff"], (4, nothing), (made["aiff"].index(b"SSND") + 4, nothing)),
    }


def test_a_stream_is_read_to_its_end(tmp_path):
    for name, content in streams(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        samples = assert_holds(path, 3.0, within=0.01)
        assert pitch_of(samples) == pytest.approx(440, abs=4)


def test_what_follows_the_sound_of_a_wav_is_not_read_as_sound(tmp_path):
    wav = written(tmp_path / "1.wav", "wav", sound(2.0))
    text = b"LIST" + struct.pack("<I", 20_000) + bytes(range(250)) * 80
    nothing = written(tmp_path / "0.wav", "wav", sound(0.0))
    tag = b"ID3\x03" + text
    for content, seconds in ((wav + text, 2.0), (wav + tag, 2.0), (wav + text + wav, 4.0), (nothing + text, 0.0)):
        (tmp_path / "a.wav").write_bytes(content)
        assert_holds(tmp_path / "a.wav", seconds, within=0)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "aiff", "au", "caf", "rf64"])
def test_a_recording_that_was_cut_off_says_how_much_it_holds(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    content = written(path, kind, sound(6.0))
    assert_holds(path, 6.0)
    path.write_bytes(content[: len(content) // 2])
    held = len(assert_holds(path, 3.0, notes=1, within=0.4)) / RATE
    said = rf"{path} holds {held:.1f} of the 6\.\d s that its header names: record it again if the rest matters\."
    assert re.fullmatch(said, read_audio(path).notes[0])


def test_a_stream_that_was_cut_off_says_where(tmp_path):
    path = tmp_path / "a.flac"
    content = written(path, "flac", sound(6.0))
    content = patched(content, (21, bytes([content[21] & 0xF0])), (22, bytes(4)))
    path.write_bytes(content[: len(content) // 2])
    assert_holds(path, 3.0, notes=1, within=0.4)
    assert "cannot be decoded after" in read_audio(path).notes[0]


def test_more_than_two_hours_are_refused_whatever_the_header_names(tmp_path):
    path = tmp_path / "a.au"
    header = struct.pack(">4sIIIII", b".snd", 24, 0xFFFFFFFF, 2, 4000, 1)  # 8 bits, 4 kHz
    with path.open("wb") as file:
        file.write(header)
        file.truncate(24 + 4000 * 7300)
    with pytest.raises(SpeakerError, match=r"lasts (more than )?2\.0 hours: cut it into pieces"):
        read_audio(path)
    assert is_audio(path)


def test_a_recording_that_is_refused_is_a_recording_all_the_same(tmp_path):
    content = written(tmp_path / "a.flac", "flac", sound(1.0))
    for first in (0x00, 0x0F):  # the upper four of 36 bits that count the samples: 3 hours, and the impossible
        (tmp_path / "a.flac").write_bytes(patched(content, (21, bytes([content[21] & 0xF0 | first])), (22, b"\x0a\x4c\xb8\x00")))
        assert is_audio(tmp_path / "a.flac")
        with pytest.raises(SpeakerError, match=r"lasts 3\.0 hours|not a readable recording"):
            read_audio(tmp_path / "a.flac")


# ffmpeg


ENCODED = {"m4a": "aac", "mp4": "aac", "aac": "aac", "wma": "wmav2", "webm": "libopus", "mkv": "flac", "mov": "alac", "ts": "aac"}


@pytest.fixture
def ffmpeg() -> str:
    program = shutil.which("ffmpeg")
    if not program:
        pytest.skip("ffmpeg is not installed: what it decodes is untried")
    return program


def encoded(ffmpeg: str, path: Path, codec: str, seconds: float, *options: str) -> None:
    source = path.with_name("source.wav")
    soundfile.write(source, sound(seconds), RATE)
    command = [ffmpeg, "-v", "error", "-y", "-i", str(source), "-c:a", codec, *options, f"file:{path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot write {path.suffix}: {done.stderr[:80]}")


@pytest.mark.parametrize("kind", ENCODED)
def test_ffmpeg_decodes_what_libsndfile_does_not(tmp_path, ffmpeg, kind):
    path = tmp_path / f"a.{kind}"
    encoded(ffmpeg, path, ENCODED[kind], 3.0)
    for name in ("-a b'$(touch owned);.bin", "http:x", "concat:a|b"):
        strange = path.rename(tmp_path / name)
        assert is_audio(strange)
        assert pitch_of(assert_holds(strange, 3.0)) == pytest.approx(440, abs=4)
        strange.rename(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, "source.wav"])


def test_a_name_like_an_option_is_a_file(tmp_path, ffmpeg, monkeypatch):
    encoded(ffmpeg, tmp_path / "-y.m4a", "aac", 2.0)
    monkeypatch.chdir(tmp_path)
    assert_holds(Path("-y.m4a"), 2.0)


def test_amr_is_decoded(tmp_path, ffmpeg):
    path = tmp_path / "call.amr"
    path.write_bytes(b"#!AMR\n" + 100 * (b"\x3c" + np.random.default_rng(0).bytes(31)))  # 20 ms each, 12.2 kbit/s
    assert is_audio(path)
    assert_holds(path, 2.0)


def test_what_ffmpeg_cannot_finish_is_said(tmp_path, ffmpeg):
    path = tmp_path / "a.m4a"
    encoded(ffmpeg, path, "aac", 6.0, "-movflags", "faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert_holds(path, 3.0, notes=1, within=0.6)
    encoded(ffmpeg, path, "aac", 6.0)  # its table of contents stands at the end
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(SpeakerError, match=r"a\.m4a is not a readable recording \(.+\): record it again or leave it out\.$"):
        read_audio(path)


def test_without_ffmpeg_the_line_that_converts_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, line in (("a.m4a", "ffmpeg -i a.m4a a.wav"), ("-b c.m4a", "ffmpeg -i './-b c.m4a' './-b c.wav'")):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(100))
        assert is_audio(name)
        with pytest.raises(SpeakerError) as problem:
            read_audio(name)
        assert str(problem.value) == (
            f"{name} is an M4A or MP4 file, which needs ffmpeg: install it, or convert the file where it is installed: `{line}`."
        )


# What the machine lacks


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_is_librosas(tmp_path, rate):
    import librosa

    samples = sound(1.0, rate=rate)[: rate - 3]
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    expected = librosa.resample(samples, orig_sr=rate, target_sr=RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, expected, atol=1e-6)


STUBS = {
    "soundfile": [
        ("raise OSError('sndfile library not found using ctypes.util.find_library')", "apt-get install libsndfile1"),
        ("raise ImportError('numpy.core.multiarray failed to import')", "pip install soundfile soxr"),
    ],
    "soxr": [
        ("raise ImportError('no module named soxr')", "pip install soundfile soxr"),
        ("raise RuntimeError('module compiled against another numpy')", "pip install soundfile soxr"),
        ("def resample(*a, **k): raise RuntimeError('cannot cache function')", "pip install soundfile soxr"),
    ],
    "numba": [("raise ImportError('Numba needs NumPy 2.1 or less')", "")],
    "librosa": [("raise ImportError('no module named librosa')", "")],
}


@pytest.mark.parametrize(("package", "code", "said"), [(name, *stub) for name, stubs in STUBS.items() for stub in stubs])
def test_a_package_that_is_broken_gets_a_sentence(tmp_path, monkeypatch, uninterrupted, package, code, said):
    for speaker in ("ada", "bo"):
        (tmp_path / "in" / speaker).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / speaker / "a.wav", sound(1.0, rate=44_100), 44_100)
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / f"{package}.py").write_text(code + "\n")
    for loaded in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(tmp_path / "stubs")
    for arguments in (
        ["identify", "--run", uninterrupted.folder, tmp_path / "in" / "ada" / "a.wav"],
        ["prepare", tmp_path / "in", tmp_path / "out", "--workers", 1],
    ):
        done = call(*arguments)
        assert done.returncode == (1 if said else 0), done.stderr
        assert said in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = tmp_path / "a.wav"
    written(path, "wav", sound(1.0))
    path.chmod(0)
    tell = (
        "import sys; from speaker_lib.sound.reading import is_audio, read_audio; print(is_audio(sys.argv[1]))\n"
        "try: read_audio(sys.argv[1])\nexcept Exception as problem: print(problem)"
    )
    command = [sys.executable, "-c", tell, str(path)]
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        setpriv = shutil.which("setpriv")
        if not setpriv:
            pytest.skip("root reads every file, and setpriv is not here to change that")
        dropped = "-dac_override,-dac_read_search,-fowner"
        command = [setpriv, f"--bounding-set={dropped}", f"--inh-caps={dropped}", *command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"permissions cannot be given up here: {done.stderr.strip()[-80:]}")
    assert done.stdout.splitlines() == ["True", f"{path} may not be read: change its permissions."]
