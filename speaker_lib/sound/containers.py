"""Where the sound of a file begins and ends.  In: an open file.  Out: its parts, each as a file that is decoded to its true end.

The length in a header is not believed: recorders that crash or stream leave it at zero, an MP3 without one is estimated,
a file that was cut off does not reach it, and of joined files it is the length of the first alone.
"""

from __future__ import annotations

import io
import itertools
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

RIFF = (b"RIFF", b"RIFX", b"RF64", b"BW64")
FLAC = b"fLaC\0\0\0\x22"  # the mark, and the head of the block that must follow
OGG = b"OggS"
LOOK = 2**16  # bytes in which an MP3 must begin
REST = 4096  # bytes after the end of the sound: fewer are a tag, or no sound worth reading
MP3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa-\xfd]")  # layers II and III
# The first frame may hold a table in place of sound: 4 bytes of header, the side information, a mark.
MP3_TABLE = re.compile(rb"\xff...(?:..)??(?:(?:.{9}|.{17}|.{32})(Xing|Info)|.{32}(VBRI))", re.DOTALL)


class Part(io.RawIOBase):
    """A stretch of an open file as a file of its own, with ``patches`` (place: bytes) laid over it.

    ``stretch`` multiplies the size that it claims to have: a decoder that estimates the length from it then reads on until
    the sound ends.  A read that fails is kept in ``error``, because a decoder's callbacks cannot raise.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, patches: dict[int, bytes] | None = None, stretch: int = 1) -> None:
        self.file, self.start, self.end, self.patches, self.stretch = file, start, end, patches or {}, stretch
        self.place, self.error = 0, None

    def __repr__(self) -> str:  # soundfile's errors show it
        return repr(str(self.file.name))

    def stretched(self, stretch: int) -> Part:
        """The same stretch of the file, read anew, with another size claimed."""
        return Part(self.file, self.start, self.end, self.patches, stretch)

    def rest(self) -> Part | None:
        """What lies behind the place up to which it was read, if that is much."""
        place = self.start + self.place
        return Part(self.file, place, self.end) if self.end - place > REST else None

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        size = (self.end - self.start) * self.stretch
        self.place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: size}[whence])
        return self.place

    def readinto(self, buffer) -> int:  # noqa: D102
        at = self.start + self.place
        try:
            self.file.seek(min(at, self.end))
            data = bytearray(self.file.read(max(0, min(len(buffer), self.end - at))))
        except OSError as error:
            self.error, data = error, bytearray()
        for place, patch in self.patches.items():
            low, high = max(place, at), min(place + len(patch), at + len(data))
            if low < high:
                data[low - at : high - at] = patch[low - place : high - place]
        if self.stretch > 1 and at >= self.end and len(buffer) == 128:
            data = bytearray(128)  # mpg123 wants to see whether an ID3v1 tag is there
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def parts(file: BinaryIO) -> list[Part]:
    """The recordings that an open file holds, one after the other: one, or more if files were joined. Raises OSError."""
    size = file.seek(0, io.SEEK_END)
    head = _read(file, 0, 8)
    if head[:4] in RIFF:
        return list(_riff(file, size))
    starts = list(_ogg(file)) if head[:4] == OGG else list(_find(file, FLAC)) if head == FLAC else [0]
    return [Part(file, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def begins_as_mp3(part: Part) -> bool:
    """Whether a part begins with an MP3's frame, after tags."""
    return bool(MP3_FRAME.match(_read(part.file, _after_tags(part), 2)))


def mp3(part: Part) -> Iterator[tuple[Part, int | None]]:
    """The MP3 in a part as a decoder reads it to its end, and how many frames its table names; the likeliest first.

    A table (Xing, Info, VBRI) that fits the file stays, because it also says how much padding to cut.
    """
    if not (begins_as_mp3(part) or str(part.file.name).lower().endswith(".mp3")):
        return
    head = _read(part.file, after := _after_tags(part), LOOK)
    for frame in itertools.islice(MP3_FRAME.finditer(head), 50):  # some have other bytes before the first frame
        start = after + frame.start()
        found = MP3_TABLE.match(head, frame.start())
        if not found:
            yield Part(part.file, start, part.end, stretch=100), None  # the bit rates of MP3 differ by a factor of 40
            continue
        mark = found.start(found.lastindex)
        n_bytes, n_frames = _mp3_table(head[mark : mark + 18])
        if n_frames and n_bytes and abs(n_bytes - (part.end - start)) <= max(n_bytes // 100, 4096):
            yield Part(part.file, start, part.end), n_frames
        else:
            yield Part(part.file, start, part.end, {after + mark: bytes(4)}, 100), n_frames


def _after_tags(part: Part) -> int:
    start = part.start
    while (tag := _read(part.file, start, 10))[:3] == b"ID3" and len(tag) == 10:
        start += 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    return start


def _mp3_table(table: bytes) -> tuple[int | None, int | None]:
    """The numbers of bytes and of frames in the table of an MP3."""
    table = table.ljust(18, b"\0")
    if table[:4] == b"VBRI":
        return struct.unpack(">II", table[10:18])
    flags, *fields = struct.unpack(">III", table[4:16])
    n_frames = fields.pop(0) if flags & 1 else None
    return fields.pop(0) if flags & 2 else None, n_frames


def _riff(file: BinaryIO, size: int) -> Iterator[Part]:
    """The WAV files in a file. Where sound goes on after the length in the header, the header is patched."""
    start = 0
    while start < size:
        form, at, data, patches = _read(file, start, 4), start + 12, None, {}
        order, big = ">" if form == b"RIFX" else "<", None
        while len(head := _read(file, at, 8)) == 8:
            name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
            if data is not None and name in RIFF:
                break  # the next one
            fits = at + 8 + length <= size
            if data is not None and not (fits and all(32 <= byte < 127 for byte in name)):
                if size - at > REST and not name.startswith((b"ID3", b"APE")):  # neither a chunk nor a tag: the sound goes on
                    patches = _patched(order, data, big, size)
                at = size
                break
            if name == b"ds64":
                big = at + 8  # the lengths of a file above 4 GB
            elif name == b"data":
                data = at + 8
                if length == 2**32 - 1 and big:
                    length = struct.unpack("<Q", _read(file, big + 8, 8))[0]
            at += 8 + length + length % 2
        end = at if data is not None and at < size - 8 else size
        yield Part(file, start, end, patches)
        start = end


def _patched(order: str, data: int, big: int | None, size: int) -> dict[int, bytes]:
    """The length of a data chunk that reaches to the end of the file."""
    if big:
        return {big: struct.pack("<QQ", size - 8, size - data), data - 4: b"\xff" * 4}
    return {data - 4: struct.pack(order + "I", min(size - data, 2**32 - 1))}


def _ogg(file: BinaryIO) -> Iterator[int]:
    """Where a chain of Ogg streams begins anew: at a page marked as a beginning, after one that is not."""
    at, began = 0, False
    while len(page := _read(file, at, 27)) == 27 and page[:4] == OGG:
        begins = bool(page[5] & 2)
        if begins and not began:
            yield at
        began = begins
        at += 27 + page[26] + sum(_read(file, at + 27, page[26]))


def _find(file: BinaryIO, mark: bytes) -> Iterator[int]:
    at, rest = 0, b""
    file.seek(0)
    while block := file.read(2**20):
        text = rest + block
        yield from (at - len(rest) + found.start() for found in re.finditer(re.escape(mark), text))
        at, rest = at + len(block), text[1 - len(mark) :]


def _read(file: BinaryIO, at: int, n: int) -> bytes:
    file.seek(at)
    return file.read(n)
