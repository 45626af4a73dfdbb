"""The ID3 tags of a recording, measured before FFmpeg unpacks what is in them.

A frame of a tag may be compressed: a few hundred kilobytes become hundreds of megabytes, and FFmpeg unpacks them all
before it looks at the sound. It reads tags in front of any recording, in chunks of WAV and AIFF, in headers of ASF and
between the frames of AAC. So a tag is one wherever it stands.
"""

import re
from collections.abc import Iterator

from rpc.errors import InvalidInput

MOST_UNPACKED = 4 << 20
"""Bytes that all compressed frames together may become. FFmpeg takes all eight bits of each byte of the number that
says so; ID3v2.4 means seven, and then this is 1 MiB."""

MOST_FRAMES = 100_000
"""Frames of all tags: hours of broadcast with a tag a second."""

PADDING = bytes(65_536)
"""What is passed of it as quickly as a frame is read."""

HEAD = 10
"""Bytes of the head of a tag, and of a frame."""

# ID3v2.2 compresses whole tags, which FFmpeg leaves alone; a size has four bytes of seven bits
_TAG = re.compile(rb"ID3(?=([\x03\x04])[^\xff](.)([\x00-\x7f]{4}))", re.DOTALL)

_SOMETHING = re.compile(rb"[^\0]")

EXTENDED = 0x40
"""The flag of a tag that has another head behind its own."""

COMPRESSED, TELLS = {3: 0x88, 4: 0x08}, {3: 0x81, 4: 0x01}
"""Flags of a frame by version: that it is compressed, and that it tells what it becomes. FFmpeg takes those of ID3v2.4
in ID3v2.3 too, whose own are in the upper half."""

UNPACKED = frozenset({b"APIC", b"CHAP", b"COMM", b"GEOB", b"PRIV", b"USLT"})
"""The frames FFmpeg unpacks, besides all whose name begins with a T."""


def check(data: bytes) -> None:
    """Raise `InvalidInput` if compressed frames of tags say they become more than any title, text or picture needs."""
    read = unpacked = 0
    for effort, becomes in _frames(data):
        read += effort
        unpacked += becomes
        if unpacked > MOST_UNPACKED:
            raise InvalidInput(f"the recording has tags that would be unpacked to {unpacked} bytes or more")
        if read > MOST_FRAMES:
            raise InvalidInput(f"the recording has tags of more than {MOST_FRAMES} frames")


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield of each frame of each tag what it took to read it, and how many bytes compressed ones become."""
    for tag in _TAG.finditer(data):
        version, start = tag[1][0], tag.start() + HEAD
        end = min(start + _seven_bits(tag[3]), len(data))
        first = start + (_extension(data[start : start + 4], version) if tag[2][0] & EXTENDED else 0)
        yield 1, 0
        places, seen = [first], {first}
        while places:
            place = places.pop()
            effort, becomes, following = _frame(data, place, end, version)
            yield effort, becomes
            # some programs write sizes of eight bits where seven are meant, and FFmpeg guesses: both are gone after
            there = {each for each in following if each + HEAD <= end} - seen
            seen |= there
            places += there


def _extension(size: bytes, version: int) -> int:
    """Return how long a second head of a tag is."""
    # only in ID3v2.4 the size counts itself
    return _seven_bits(size) + (4 if version == 3 else 0)  # noqa: PLR2004 (ID3v2.3)


def _frame(data: bytes, place: int, end: int, version: int) -> tuple[int, int, tuple[int, ...]]:
    """Return what it took to read a frame, how many bytes it becomes if compressed, and where the next may start."""
    head = data[place : min(place + HEAD, end)]
    if len(head) < HEAD:
        return 1, 0, ()
    if not any(head):
        # FFmpeg passes padding ten bytes at a time, and reads what is behind it
        padding = _padding(data, place, end)
        return 1 + padding // len(PADDING), 0, (place + padding // HEAD * HEAD,)
    size, flags = int.from_bytes(head[4:8]), int.from_bytes(head[8:])
    sizes = {size} if version == 3 else {size, _seven_bits(head[4:8])}  # noqa: PLR2004 (ID3v2.3)
    told = int.from_bytes(data[place + HEAD : place + HEAD + 4]) if flags & TELLS[version] else min(size, len(data))
    compressed = flags & COMPRESSED[version] and (head[:1] == b"T" or head[:4] in UNPACKED)
    return 1, told if compressed else 0, tuple(place + HEAD + each for each in sizes)


def _padding(data: bytes, place: int, end: int) -> int:
    """Return how many bytes from here on are zero."""
    stop = place
    while data.startswith(PADDING, stop, end):
        stop += len(PADDING)
    found = _SOMETHING.search(data, stop, end)
    return (found.start() if found else end) - place


def _seven_bits(size: bytes) -> int:
    """Return a number of four bytes, of whose bits the highest does not count (ID3v2.4, 6.2)."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=False))
