"""What a stranger, a bad disk or a typing error may do to a file: one change, drawn with a seed.

Every mutator takes the path of a good file and a `random.Random`, and changes that file alone.  `Evil` is what a pickle
would do that is believed: it creates the file `Evil.mark`.
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
import soundfile
import torch

Mutator = Callable[[Path, random.Random], None]

HUGE = (10**12, 10**18, 2**31 - 1, 2**31, 2**63, 10**400, -1, -(10**400), 1e308, 1e-308)
TEXTS = (
    "",
    "\ud800",
    "a\nb",
    "\x1b[2J",
    "../x",
    "/etc/passwd",
    "a/b",
    "nul\0",
    "\u202eevil",
    "x" * 5000,
    "$\\frac{$",
    "{}",
    "宋 玉",
)
# Without a slash: they are to be files. The half character stands for a byte that is not UTF-8.
FILE_NAMES = (
    "\udce9",
    "a\nb",
    "\x1b[2J",
    "$\\frac{$",
    "\u202eevil",
    "x" * 200,
    "宋\u3000玉",
    "_hidden",
    "-x",
    "ünï",
    "{}",
    "a b",
    "%s",
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
    path.write_bytes(content[: rng.randrange(len(content))])


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    reach = len(content) if rng.random() < 0.5 else min(200, len(content))  # a header is hit as often as the rest
    for _ in range(rng.choice((1, 1, 3, 20))):
        content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def overwrite(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((4, 100, 10_000)))
    content[start:end] = rng.randbytes(end - start)
    path.write_bytes(content)


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def append_junk(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.choice((1, 50, 5000))))


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice((b"", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY\x01\0", b"RIFF", b"{")) + rng.randbytes(3000))


def folder_instead(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def link_to_nowhere(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice((path.parent / "nowhere", path, Path("/nonexistent/x"))))


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def evil_pickle(path: Path, rng: random.Random) -> None:
    value = {"step": Evil(), "padding": torch.zeros(9000)}
    with path.open("wb") as file:
        rng.choice((lambda: torch.save(value, file), lambda: pickle.dump(Evil(), file)))()


ANY = (truncate, flip_bits, overwrite, empty, append_junk, noise, folder_instead, link_to_nowhere, remove)


# Of JSON


def _nodes(value: object, found: list) -> list:
    """Every place in a JSON value, as (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        found.append((value, key))
        _nodes(child, found)
    return found


def _edit_json(path: Path, change: Callable[[list], None]) -> None:
    lines = path.name.endswith(".jsonl")
    content = path.read_text()
    value = [json.loads(line) for line in content.splitlines()] if lines else json.loads(content)
    change(value)
    text = "".join(json.dumps(row) + "\n" for row in value) if lines else json.dumps(value)
    path.write_text(text)


def replace_node(path: Path, rng: random.Random) -> None:
    def change(value: object) -> None:
        container, key = rng.choice(_nodes(value, []))
        container[key] = rng.choice(VALUES)

    _edit_json(path, change)


def replace_upper_node(path: Path, rng: random.Random) -> None:
    def change(value: object) -> None:  # the few near the root, which the many leaves would crowd out
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value[key] = rng.choice(VALUES)

    _edit_json(path, change)


def delete_node(path: Path, rng: random.Random) -> None:
    def change(value: object) -> None:
        container, key = rng.choice(_nodes(value, []))
        del container[key]

    _edit_json(path, change)


def rename_key(path: Path, rng: random.Random) -> None:
    def change(value: object) -> None:
        container, key = rng.choice([(c, k) for c, k in _nodes(value, []) if isinstance(c, dict)])
        container[rng.choice(TEXTS)] = container.pop(key)

    _edit_json(path, change)


def repeat_node(path: Path, rng: random.Random) -> None:
    def change(value: object) -> None:
        lists = [value] if isinstance(value, list) else []
        lists += [c[k] for c, k in _nodes(value, []) if isinstance(c[k], list) and c[k]]
        if lists:
            chosen = rng.choice(lists)
            chosen.append(rng.choice(chosen))

    _edit_json(path, change)


def other_json(path: Path, rng: random.Random) -> None:
    path.write_text(rng.choice(("null", "[]", "{}", "3", '"a"', "NaN", "[[]]", "true", "1" * 5000, '{"a": 1e999}')))


def nest(path: Path, rng: random.Random) -> None:
    depth = rng.choice((500, 900, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    bomb = opening * depth + "1" + closing * depth
    text = path.read_text()
    path.write_text(rng.choice((bomb, text.replace(":", ": " + bomb + ', "z":', 1) if "{" in text else bomb)))


def invalid_utf8(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content.insert(rng.randrange(len(content)), rng.choice((0x80, 0xFF, 0xC0, 0xED)))
    path.write_bytes(content)


JSON = (
    *ANY,
    *2 * (replace_node, replace_upper_node, replace_node, delete_node),
    rename_key,
    repeat_node,
    other_json,
    nest,
    invalid_utf8,
)


def other_word(path: Path, rng: random.Random) -> None:
    lines = [line.split() for line in path.read_text().splitlines()]
    line = rng.choice(lines)
    line[rng.randrange(len(line))] = rng.choice((*TEXTS, "2", "1 1", "-0", "１", rng.choice(lines)[1])).replace("\ud800", "?")
    path.write_text("".join(" ".join(words) + "\n" for words in lines))


def other_lines(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines(keepends=True)
    rng.choice((lines.reverse, lines.clear, lines.pop, lambda: lines.extend(lines * 1_000), lambda: lines.insert(1, "\f\n")))()
    path.write_text("".join(lines))


LINES = (*ANY, invalid_utf8, *4 * (other_word,), *2 * (other_lines,))


def huge_setting(path: Path, rng: random.Random) -> None:
    def change(value: dict) -> None:
        part = value[rng.choice(("model", "train"))]
        part[rng.choice(list(part))] = rng.choice(HUGE)

    _edit_json(path, change)


def bad_entry(path: Path, rng: random.Random) -> None:
    if path.name == "mapping.json":  # has no entries
        return rename_key(path, rng)

    def change(value: dict) -> None:
        groups = list(value["speakers"].values()) if "speakers" in value else [value["utterances"]]
        entries = rng.choice(groups)
        key, values = rng.choice((("mel_len", HUGE), ("feature_path", TEXTS), ("session", TEXTS), ("mel_len", VALUES)))
        rng.choice(entries)[key] = rng.choice(values)

    return _edit_json(path, change)


INDEX = (*JSON, *3 * (bad_entry,))
CONFIG = (*JSON, huge_setting, huge_setting, huge_setting)


# Of a feature


def _like(path: Path) -> torch.Tensor:
    return torch.load(path, weights_only=True)


def other_tensor(path: Path, rng: random.Random) -> None:
    mel = _like(path)
    torch.save(
        rng.choice(
            (
                lambda: mel.double(),
                lambda: mel.half(),
                lambda: mel.long(),
                lambda: torch.complex(mel, mel),
                lambda: mel[:-1].clone(),
                lambda: mel.T,
                lambda: mel[:, :39].clone(),
                lambda: mel.flatten(),
                lambda: mel[None],
                lambda: mel.sum(),
                lambda: torch.full_like(mel, rng.choice((torch.nan, torch.inf, -torch.inf, 1e6))),
                lambda: torch.where(torch.arange(40) == rng.randrange(40), torch.nan, mel),
                lambda: mel.to_sparse(),
                lambda: torch.zeros(1, 1).expand(10**7, 40),
                lambda: torch.zeros_like(mel, device="meta"),
                lambda: torch.complex(mel, mel).conj().imag,
                lambda: {"mel": mel},
                lambda: [mel],
                lambda: (mel, mel),
                lambda: "mel",
                lambda: 10**400,
                lambda: None,
                lambda: torch.nn.Parameter(mel),
            )
        )(),
        path,
    )


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


FEATURE = (*ANY, *3 * (other_tensor,), bomb, evil_pickle)


# Of a pack


def other_array(path: Path, rng: random.Random) -> None:
    array = np.load(path)
    changed = rng.choice(
        (
            lambda: array.astype(np.float32),
            lambda: array.astype(">f2"),
            lambda: array[:-1],
            lambda: array.T,
            lambda: np.asfortranarray(array),
            lambda: array.ravel(),
            lambda: np.array(Evil(), dtype=object),
            lambda: np.array([Evil()], dtype=object),
            lambda: np.zeros((0, 40), np.float16),
        )
    )()
    with path.open("wb") as file:
        np.save(file, changed, allow_pickle=True)


def other_header(path: Path, rng: random.Random) -> None:
    header = rng.choice(
        (
            f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rng.choice((10**12, 10**30, -5))}, 40), }}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "(" * 3000,
            "{'descr': ",
            "{'descr': [('a', '<f2')], 'fortran_order': False, 'shape': ()}",
            "__import__('os').abort()",
            "\x00\xff",
            "{'a': 1L}",
        )
    ).encode("latin1")
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 100)


def zip_instead(path: Path, rng: random.Random) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


PACK = (*ANY, other_array, other_array, other_header, other_header, zip_instead, evil_pickle)
PARTIAL = (*ANY, other_header, evil_pickle)


# Of weights


def other_weights(path: Path, rng: random.Random) -> None:
    import safetensors.torch

    tensors = safetensors.torch.load_file(path)
    name = rng.choice(sorted(tensors))
    value = tensors[name]
    change = rng.choice(
        (
            lambda: tensors.update({name: torch.full_like(value, rng.choice((torch.nan, torch.inf)))}),
            lambda: tensors.update({name: value.half()}),
            lambda: tensors.update({name: value.double()}),
            lambda: tensors.update({name: value.flatten()[:-1].clone()}),
            lambda: tensors.update({name: value[None].clone()}),
            lambda: tensors.update({rng.choice(("x", "\x1b[2J", "a\nb")): tensors.pop(name)}),
            lambda: tensors.pop(name),
            lambda: tensors.clear(),
            lambda: tensors.update(more=torch.zeros(3)),
        )
    )
    change()
    path.write_bytes(safetensors.torch.save(tensors))


def huge_shape(path: Path, rng: random.Random) -> None:
    shape = rng.choice(([10**12, 40], [2**63, 2**63], [2**64], [-1], [0, 10**18], [1.5], ["a"]))
    header = json.dumps(
        {"prenet.weight": {"dtype": rng.choice(("F32", "X9")), "shape": shape, "data_offsets": [0, 100]}}
    ).encode()
    claimed = rng.choice((len(header), len(header), 2**40, 2**63))
    path.write_bytes(struct.pack("<Q", claimed) + header + b"\0" * 100)


WEIGHTS = (*ANY, *2 * (other_weights, huge_shape), evil_pickle)


# Of the state to go on from


def replace_in_state(path: Path, rng: random.Random) -> None:
    state = torch.load(path, weights_only=True)
    places = [place for place in _nodes(state, []) if not isinstance(place[1], int) or place[1] < 5]  # not 624 random numbers
    if rng.random() < 0.4:
        places = [(state, key) for key in state]
    container, key = rng.choice(places)
    if rng.random() < 0.3:
        del container[key]
    else:
        old = container[key]
        like = old if isinstance(old, torch.Tensor) else torch.zeros(3)
        tensors = (
            torch.zeros(3),
            torch.full_like(like.float(), torch.nan),
            torch.zeros(2, 2, 2),
            like.flatten()[:1],
            like.to_sparse(),
        )
        container[key] = rng.choice((*VALUES, *tensors))
    torch.save(state, path)


RESUME = (*ANY, *6 * (replace_in_state,), bomb, evil_pickle)


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


def _as_flac(path: Path) -> bytearray:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples, rate, format="FLAC")
    return bytearray(path.read_bytes())


def flac_bits(path: Path, rng: random.Random) -> None:
    content = _as_flac(path)
    for _ in range(rng.choice((1, 2, 5))):
        content[rng.randrange(rng.choice((42, len(content))))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flac_that_claims(path: Path, rng: random.Random) -> None:
    content = _as_flac(path)
    frames = rng.choice((10**8, 10**9, 2**36 - 1))
    content[21] = (content[21] & 0xF0) | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
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


AUDIO = (*ANY, *2 * (other_audio, flac_bits, wav_header), flac_that_claims, other_container)
