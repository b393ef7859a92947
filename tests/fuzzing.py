"""What a stranger, a bad disk or a typing error may do to a file: one change, drawn with a seed.

Every mutator takes the path of a good file and a `random.Random`, and changes that file alone.  `Evil` is what a pickle
would do that is loaded without `weights_only`: it creates the file `Evil.mark`.
"""

from __future__ import annotations

import functools
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import soundfile
import torch

Mutator = Callable[[Path, random.Random], None]

HUGE = (10**12, 10**18, 2**31, 2**63, 10**400, -1, -(10**400), 1e308, 1e-308)
TEXTS = (
    *("", "\ud800", "a\nb", "\x1b[2J", "../x", "/etc/passwd", "a/b", "nul\0"),
    *("\u202eevil", "x" * 5000, "$\\frac{$", "{}", "宋 玉"),
)
VALUES = (None, True, False, 0, 1, -1, 3, 2.5, float("nan"), float("inf"), [], {}, [[]], [1, "a"], {"a": 1}, *HUGE, *TEXTS)


class Evil:
    """Unpickling it creates a file."""

    mark = Path("set by the test")

    def __reduce__(self) -> tuple:
        return Path.touch, (Evil.mark,)


# Of any file


def truncate(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.choice((0, rng.randrange(len(content)), rng.randrange(len(content))))])


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    reach = len(content) if rng.random() < 0.5 else min(200, len(content))  # a header is hit as often as the rest
    for _ in range(rng.choice((1, 1, 3, 20))):
        content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def overwrite(path: Path, rng: random.Random) -> None:
    """Some bytes, perhaps behind the end of the file."""
    content = path.read_bytes()
    start, count = rng.choice((rng.randrange(len(content)), len(content))), rng.choice((1, 4, 100, 5_000))
    path.write_bytes(content[:start] + rng.randbytes(count) + content[start + count :])


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice((b"", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY\x01\0", b"RIFF", b"{")) + rng.randbytes(3000))


def not_a_file(path: Path, rng: random.Random) -> None:
    path.unlink()
    targets = (path.parent / "nowhere", path, Path("/nonexistent/x"))
    rng.choice((path.mkdir, lambda: path.symlink_to(rng.choice(targets)), lambda: None))()


def evil_pickle(path: Path, rng: random.Random) -> None:
    with path.open("wb") as file:
        save = (lambda: torch.save({"step": Evil(), "padding": torch.zeros(9000)}, file), lambda: pickle.dump(Evil(), file))
        rng.choice(save)()


BROKEN = (*3 * (truncate,), noise, *2 * (not_a_file,))  # what the kit itself must notice in a file that it wrote
ANY = (*BROKEN, not_a_file, flip_bits, *2 * (overwrite,))


# Of JSON and lists


def _places(value: object) -> list[tuple]:
    """Every place in a JSON value, as (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in items for place in [(value, key), *_places(child)]]


def other_node(path: Path, rng: random.Random) -> None:
    value = json.loads(path.read_text())
    places = _places(value)
    if rng.random() < 0.3:  # the few near the root, which the many leaves would crowd out
        places = [place for place in places if place[0] is value]
    container, key = rng.choice(places)
    change = rng.choice(("replace", "replace", "replace", "delete", "rename", "repeat"))
    if change == "replace":
        container[key] = rng.choice(VALUES)
    elif change == "rename" and isinstance(container, dict):
        container[rng.choice(TEXTS)] = container.pop(key)
    elif change == "repeat" and isinstance(container, list):
        container.append(container[key])
    else:
        del container[key]
    path.write_text(json.dumps(value))


def other_entry(path: Path, rng: random.Random) -> None:
    value = json.loads(path.read_text())
    entries = [place for place in _places(value) if place[1] in ("mel_len", "feature_path", "session")]
    if entries:  # mapping.json has none
        entry, key = rng.choice(entries)
        entry[key] = rng.choice(rng.choice((HUGE, VALUES)) if key == "mel_len" else TEXTS)
        path.write_text(json.dumps(value))


def other_json(path: Path, rng: random.Random) -> None:
    depth, (opening, closing) = rng.choice((500, 900, 100_000)), rng.choice((("[", "]"), ('{"a":', "}")))
    deep = opening * depth + "1" + closing * depth
    small = ("null", "[]", "{}", "3", '"a"', "NaN", "[[]]", "true", "1" * 5000, '{"a": 1e999}')
    path.write_text(rng.choice((deep, path.read_text().replace(":", ": " + deep + ', "z":', 1), *small)))


def invalid_utf8(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content.insert(rng.randrange(len(content)), rng.choice((0x80, 0xFF, 0xED)))
    path.write_bytes(content)


def other_word(path: Path, rng: random.Random) -> None:
    lines = [line.split() for line in path.read_text().splitlines()]
    line = rng.choice(lines)
    line[rng.randrange(len(line))] = rng.choice((*TEXTS, "2", "1 1", "-0", "１", rng.choice(lines)[1])).replace("\ud800", "?")
    path.write_text("".join(" ".join(words) + "\n" for words in lines))


def other_lines(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines(keepends=True)
    rng.choice((lines.reverse, lines.clear, lines.pop, lambda: lines.extend(lines * 1_000), lambda: lines.insert(1, "\f\n")))()
    path.write_text("".join(lines))


JSON = (*ANY, *8 * (other_node,), other_json, other_json, invalid_utf8)
INDEX = (*JSON, *3 * (other_entry,))
LINES = (*ANY, invalid_utf8, *4 * (other_word,), *2 * (other_lines,))


# Of features, packs and weights


def other_tensor(path: Path, rng: random.Random) -> None:
    mel = torch.load(path, weights_only=True)
    odd = (torch.nan, torch.inf, -torch.inf, 1e6)
    made = (
        *(mel.double, mel.half, mel.long, mel.flatten, mel.sum, mel.to_sparse),
        *(lambda: mel[:-1].clone(), lambda: mel.T, lambda: mel[:, :39].clone(), lambda: mel[None]),
        *(lambda: torch.complex(mel, mel), lambda: torch.complex(mel, mel).conj().imag),
        lambda: torch.full_like(mel, rng.choice(odd)),
        lambda: torch.where(torch.arange(40) == rng.randrange(40), torch.nan, mel),
        *(lambda: torch.zeros(1, 1).expand(10**7, 40), lambda: torch.zeros_like(mel, device="meta")),
        *(lambda: {"mel": mel}, lambda: [mel], lambda: (mel, mel), lambda: torch.nn.Parameter(mel)),
        *(lambda: "mel", lambda: 10**400, lambda: None),
    )
    torch.save(rng.choice(made)(), path)


def bomb(path: Path, rng: random.Random) -> None:
    """An archive with a member that inflates to far more than it weighs."""
    path.write_bytes(_bomb())


@functools.cache
def _bomb() -> bytes:
    small, large = io.BytesIO(), io.BytesIO()
    torch.save(torch.zeros(4, 40), small)
    with zipfile.ZipFile(small) as old, zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            with new.open(member.filename, "w") as file:
                file.write(old.read(member))
                for _ in range(400 * member.filename.endswith("/data/0")):  # MB
                    file.write(bytes(10**6))
    return large.getvalue()


def evil_array(path: Path, rng: random.Random) -> None:
    with path.open("wb") as file:
        np.save(file, np.array(rng.choice((Evil(), [Evil()])), dtype=object), allow_pickle=True)


def other_weights(path: Path, rng: random.Random) -> None:
    tensors = safetensors.torch.load_file(path)
    name = rng.choice(sorted(tensors))
    value = tensors.pop(name)
    changes = (
        *({}, {"\x1b[2J": value}, {"a\nb": value}, {name: value, "more": torch.zeros(3)}),
        *({name: value.half()}, {name: value.double()}, {name: torch.full_like(value, torch.nan)}),
        *({name: value.flatten()[:-1]}, {name: value[None]}),
    )
    path.write_bytes(safetensors.torch.save(rng.choice((tensors, tensors, tensors, {})) | rng.choice(changes)))


def huge_shape(path: Path, rng: random.Random) -> None:
    shape = rng.choice(([10**12, 40], [2**63, 2**63], [2**64], [-1], [0, 10**18], [1.5], ["a"]))
    entry = {"dtype": rng.choice(("F32", "X9")), "shape": shape, "data_offsets": [0, 100]}
    header = json.dumps({"prenet.weight": entry}).encode()
    claimed = rng.choice((len(header), len(header), 2**40, 2**63))
    path.write_bytes(struct.pack("<Q", claimed) + header + b"\0" * 100)


FEATURE = (*ANY, *3 * (other_tensor,), bomb, evil_pickle)
PACK = (*BROKEN, evil_array, evil_pickle)
WEIGHTS = (*ANY, *2 * (other_weights, huge_shape), evil_pickle)
STATE = (*BROKEN, bomb, evil_pickle)


# Of a recording


def other_audio(path: Path, rng: random.Random) -> None:
    rate = rng.choice((4_000, 8_000, 16_000, 44_100, 192_000, 1, 1_000_000))
    samples = np.random.default_rng(rng.randrange(100)).normal(0, 0.1, rng.choice((0, 1, 2, 399, 400, 5_000, 40_000)))
    samples = np.repeat(samples[:, None], rng.choice((1, 2, 8)), axis=1)
    kind = rng.randrange(6)
    if kind == 0 and len(samples):
        samples[rng.randrange(len(samples))] = rng.choice((np.nan, np.inf, -np.inf, 1e38, 3.4e38))
    elif kind == 1:
        samples *= rng.choice((0, 1e-9, 1e38, 1e-40))
    soundfile.write(path, samples, rate, format="WAV", subtype="FLOAT")


def other_flac(path: Path, rng: random.Random) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples, rate, format="FLAC")
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3:  # it claims to be very long
        frames = rng.choice((10**8, 10**9, 2**36 - 1))
        content[21] = (content[21] & 0xF0) | frames >> 32
        content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    else:
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(rng.choice((42, len(content))))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def wav_header(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    at = rng.choice((4, 16, 20, 22, 24, 28, 32, 34, 40))
    content[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 10**9, rng.randrange(2**32))))
    path.write_bytes(content)


def other_container(path: Path, rng: random.Random) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples, rate, format=rng.choice(("OGG", "MP3", "AIFF", "AU")))
    rng.choice((truncate, flip_bits, overwrite))(path, rng)


AUDIO = (*ANY, *3 * (other_flac,), *2 * (other_audio, wav_header), other_container)
