"""The tracks of a Matroska file, looked at before FFmpeg unpacks what their decoders need.

Ten kilobytes of a track may be packed and become ten megabytes, in each of a thousand tracks. RFC 8794 tells how
elements are laid out, RFC 9559 which there are.
"""

import re
from collections.abc import Iterator

from rpc.errors import InvalidInput

MOST_ELEMENTS = 100_000
"""Elements of the lists of tracks: FFmpeg takes a thousand tracks, each of which has some dozens."""

# FFmpeg finds a list of tracks wherever it stands, once something in front of it is damaged
_TRACKS = re.compile(rb"\x16\x54\xae\x6b")

NESTS = frozenset({b"\xae", b"\x6d\x80", b"\x62\x40"})
"""The elements on the way to what is packed: a track, its encodings, one of them."""

SCOPE, PRIVATE = b"\x50\x32", 2
"""What of a track is packed, and the bit of it that says: what its decoder needs."""


def check(data: bytes) -> None:
    """Raise `InvalidInput` if this is a Matroska file with packed headers of tracks, which no program makes."""
    read = 0
    for tracks in _TRACKS.finditer(data):
        for kind, start, end in _elements(data, tracks.start()):
            read += 1
            if read > MOST_ELEMENTS:
                raise InvalidInput(f"the recording has tracks of more than {MOST_ELEMENTS} elements")
            if kind == SCOPE and end > start and data[end - 1] & PRIVATE:
                raise InvalidInput("the recording has packed headers of its tracks")


def _elements(data: bytes, tracks: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the list of tracks that stands there, and of the elements in it."""
    kind, start, stop = _element(data, tracks)
    yield kind, start, start
    places, seen = [start], {start}
    while places:
        place = places.pop()
        kind, start, end = _element(data, place)
        yield kind, start, min(end, len(data))
        # elements follow each other in a nest as they do behind it, so levels need not be told apart
        following = {start, end} if kind in NESTS else {end}
        there = {each for each in following if place < each < stop} - seen
        seen |= there
        places += there


def _element(data: bytes, place: int) -> tuple[bytes, int, int]:
    """Return the kind of an element, and where its content starts and ends; what is none ends where it stands."""
    first, _ = _number(data, place)
    if not first:
        return b"", place, place
    length, size = _number(data, place + first)
    kind, start = data[place : place + first], place + first + length
    # a size of ones only is not known: it ends with the file at the latest
    return kind, start, len(data) if size == (1 << 7 * length) - 1 else start + size


def _number(data: bytes, place: int) -> tuple[int, int]:
    """Return how long a number is, as the zeros in front of its first one tell, and the number without that one."""
    first = data[place] if place < len(data) else 0
    length = 9 - first.bit_length()
    if not first:
        return 0, 0
    return length, int.from_bytes(data[place : place + length]) & (1 << 7 * length) - 1
