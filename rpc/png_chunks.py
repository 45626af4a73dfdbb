"""The chunks of a PNG: those that say nothing of its pixels are dropped, also damaged ones, as browsers pass over them.

Pillow refuses a whole picture for a long text or for a wrong checksum in a chunk that it does not need.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"

TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})

PROFILE = b"iCCP"

MAX_PROFILE_BYTES = 1_000_000
"""Pillow unpacks no profile that is larger, and refuses the picture instead."""

MAX_CHUNKS = 100_000
"""Chunks that are looked at; what follows stays as it is."""

FRAME_BYTES = 12
"""Length, name and checksum of a chunk."""

LOWER_CASE = 0x20
"""The bit in the first letter of a name that says that a decoder may pass over the chunk."""

GREY, TRUE_COLOUR = 0, 2
"""Colour types whose transparency is one value of pixels."""


class Chunk(NamedTuple):
    """A chunk: its name, and where it and its data begin and end."""

    name: bytes
    start: int
    stop: int

    @property
    def data(self) -> slice:
        """Where its data lie."""
        return slice(self.start + 8, self.stop - 4)


class TransparentValue(NamedTuple):
    """The one value of pixels that is transparent: bits of a sample, and the samples as they are stored."""

    depth: int
    samples: tuple[int, ...]


def cleaned(picture: bytes) -> bytes:
    """Return a PNG without texts and without damaged chunks that it can do without; other files as they are."""
    if not picture.startswith(SIGNATURE):
        return picture
    view, kept, stop = memoryview(picture), [memoryview(SIGNATURE)], len(SIGNATURE)
    for chunk in _chunks(picture):
        if not _superfluous(picture, chunk):
            kept.append(view[chunk.start : chunk.stop])
        stop = chunk.stop
    kept.append(view[stop:])
    return picture if sum(map(len, kept)) == len(picture) else b"".join(kept)


def transparent_value(picture: bytes) -> TransparentValue | None:
    """Return the value of pixels that a PNG of grey or true colour declares transparent, if it does."""
    if not picture.startswith(SIGNATURE):
        return None
    depth = colour = 0
    for chunk in _chunks(picture):
        data = picture[chunk.data]
        if chunk.name == b"IHDR":
            depth, colour = data[8], data[9]
        elif chunk.name == b"tRNS" and colour in (GREY, TRUE_COLOUR):
            return TransparentValue(depth, tuple(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)))
        elif chunk.name == b"IDAT":
            break
    return None


def _chunks(picture: bytes) -> Iterator[Chunk]:
    """Yield the chunks that are whole, from the beginning."""
    place = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        stop = place + FRAME_BYTES + int.from_bytes(picture[place : place + 4])
        if stop > len(picture):
            return
        yield Chunk(picture[place + 4 : place + 8], place, stop)
        place = stop


def _superfluous(picture: bytes, chunk: Chunk) -> bool:
    if not chunk.name[0] & LOWER_CASE:
        return False
    if chunk.name in TEXTS:
        return True
    data = picture[chunk.data]
    if zlib.crc32(data, zlib.crc32(chunk.name)) != int.from_bytes(picture[chunk.stop - 4 : chunk.stop]):
        return True
    return chunk.name == PROFILE and not _profile_fits(data)


def _profile_fits(data: bytes) -> bool:
    """Return whether a profile, packed behind its name, is whole and not too large."""
    _, _, packed = data.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return unpacker.eof
