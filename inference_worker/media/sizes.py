"""How many bytes a recording has by its own account, for files that were cut off. Pure: bytes in, numbers out."""

import re
import struct
from collections.abc import Callable, Iterator

from inference_worker.media import ogg

MAX_SIZE = 0x7FFF_0000
"""A larger size of 32 bits was written by a program that could not go back to correct it."""

UNKNOWN_32, UNKNOWN_63 = 0xFFFF_FFFF, 1 << 62
"""The size of RF64 that stands elsewhere, in 64 bits, and the least of a CAF file that was written as it came."""

SEARCHED = 65_536
"""Bytes in which the header of a file is looked for."""

_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")

Samples = tuple[int, int]
"""Where plain samples start, and how many bytes of them there should be."""


def is_cut(data: bytes) -> bool:
    """Return whether a file says that it has more bytes than there are; False where it does not say."""
    for pattern, declared in _FILES:
        if re.match(pattern, data, re.DOTALL):
            size = declared(data)
            return size is not None and size > len(data)
    return False


def flat_part(data: bytes) -> float:
    """Return which part of its samples a file of plain samples holds: 1 unless it was cut off."""
    for pattern, find in _PLAIN:
        if re.match(pattern, data, re.DOTALL):
            start, size = find(data) or (0, 0)
            return min(1.0, max(0, len(data) - start) / size) if size else 1.0
    return 1.0


def top_boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield kind and declared end of the outermost boxes of an MP4."""
    start = 0
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        if size == 1 and start + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start + 8)
        end = len(data) if size == 0 else start + size
        if end < start + 8:
            return
        yield kind, end
        start = end


def _mp4(data: bytes) -> int | None:
    return max((end for _, end in top_boxes(data)), default=None)


def _ogg(data: bytes) -> int | None:
    return max((page.end for page in ogg.pages(data)), default=None)


def _avi(data: bytes) -> int | None:
    size = int.from_bytes(data[4:8], "little")
    return 8 + size if 0 < size < MAX_SIZE else None


def _flv(data: bytes) -> int | None:
    """Return the size in the metadata of an FLV file: a name, the number of a type, and a double."""
    place = data.find(b"\x00\x08filesize\x00", 0, SEARCHED)
    if place < 0 or len(data) < place + 19:
        return None
    (size,) = struct.unpack_from(">d", data, place + 11)
    return int(size) if 0 < size < UNKNOWN_63 else None


def _asf(data: bytes) -> int | None:
    """Return the size in the properties of an ASF file, unless it is a broadcast (ASF, 3.2)."""
    place = data.find(_ASF_FILE, 0, SEARCHED)
    if place < 0 or len(data) < place + 92 or data[place + 88] & 1:
        return None
    return int.from_bytes(data[place + 40 : place + 48], "little")


def _matroska(data: bytes) -> int | None:
    """Return where the segment of a Matroska file ends; None where it was written as it came (RFC 8794, 6.2)."""
    place = data.find(b"\x18\x53\x80\x67", 0, SEARCHED)
    if place < 0 or len(data) <= place + 12 or not data[place + 4]:
        return None
    length = 9 - data[place + 4].bit_length()
    size = int.from_bytes(data[place + 4 : place + 4 + length]) & (1 << 7 * length) - 1
    return None if size == (1 << 7 * length) - 1 else place + 4 + length + size


def _wave(data: bytes) -> Samples | None:
    chunk = _chunk(data, 12, b"data", ">I" if data.startswith(b"RIFX") else "<I")
    if chunk is None:
        return None
    start, size = chunk
    if size == UNKNOWN_32 and data[12:16] == b"ds64":
        return start, int.from_bytes(data[28:36], "little")
    return (start, size) if 0 < size < MAX_SIZE else None


def _aiff(data: bytes) -> Samples | None:
    return _chunk(data, 12, b"SSND", ">I")


def _caf(data: bytes) -> Samples | None:
    chunk = _chunk(data, 8, b"data", ">Q", even=False)
    return None if chunk is None or chunk[1] >= UNKNOWN_63 else chunk


def _au(data: bytes) -> Samples | None:
    start, size = struct.unpack(">II", data[4:12].ljust(8, b"\xff"))
    return (start, size) if size < MAX_SIZE else None


def _w64(data: bytes) -> Samples | None:
    place = data.find(_W64_DATA, 0, SEARCHED)
    if place < 0 or len(data) < place + 24:
        return None
    # a size of W64 counts its own head
    return place + 24, max(0, int.from_bytes(data[place + 16 : place + 24], "little") - 24)


def _chunk(data: bytes, place: int, name: bytes, size_form: str, *, even: bool = True) -> Samples | None:
    """Return where the content of the first chunk of that name starts, and its size."""
    head = 4 + struct.calcsize(size_form)
    while place + head <= len(data):
        (size,) = struct.unpack_from(size_form, data, place + 4)
        if data.startswith(name, place):
            return place + head, size
        place += head + size + (size % 2 if even else 0)
    return None


_FILES: tuple[tuple[bytes, Callable[[bytes], int | None]], ...] = (
    (rb".{4}ftyp", _mp4),
    (ogg.CAPTURE, _ogg),
    (rb"RIFF....AVI", _avi),
    (rb"FLV", _flv),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf),
    (rb"\x1a\x45\xdf\xa3", _matroska),
)

_PLAIN: tuple[tuple[bytes, Callable[[bytes], Samples | None]], ...] = (
    (rb"(RIFF|RIFX|RF64|BW64)....WAVE", _wave),
    (rb"FORM....AIF[FC]", _aiff),
    (rb"caff", _caf),
    (rb"\.snd", _au),
    (rb"riff", _w64),
)
