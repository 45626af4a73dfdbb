"""The tables of an MP4 or QuickTime file, counted before FFmpeg reads them.

A table may say in a few bytes that there are a hundred million samples, and FFmpeg makes an entry of its index for
each, 24 bytes or more, and once more for every edit that shows it. ISO/IEC 14496-12 tells how boxes are laid out.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from rpc.errors import InvalidInput

MOST_SAMPLES = 5_000_000
"""Entries of FFmpeg's index: hours of film, and less than 200 MB."""

MOST_BOXES = 300_000
"""Boxes of all levels: hours of short fragments."""

DEEPEST = 12
"""Levels of boxes; FFmpeg stops at ten."""

NUMBERS = 4
"""Those at the beginning of a table that say how much there is, 32 bits each."""

AT_ONCE = 1024
"""Samples of PCM that FFmpeg gives one entry."""

TABLES = frozenset({b"stts", b"stsz", b"stz2", b"stsc", b"stco", b"co64", b"trun", b"elst"})

NESTS = frozenset(
    b"dinf edts free hoov ilst ipco iprp mdia meta minf moof moov mvex schi sinf stbl stsd traf trak tref udta "
    b"wave".split()
)
"""The boxes in which FFmpeg looks for boxes. In others there are texts and numbers, which may look like some."""

OUTERMOST = frozenset({b"moov", b"free", b"wide", b"udta"})
"""What FFmpeg takes for such a file though it ends before this first box does: others' first bytes look longer."""

Box = tuple[bytes, int, int]
"""Its kind, and where its content starts and ends."""

Tables = dict[bytes, list[memoryview]]
"""The contents of all tables of a kind, of one track."""


def check(data: bytes) -> None:
    """Raise `InvalidInput` if this is a file of boxes whose tables promise more than can be meant."""
    size, kind = struct.unpack_from(">I4s", data) if len(data) > 8 else (0, b"")  # noqa: PLR2004 (the head of a box)
    if size > len(data) and kind not in OUTERMOST:
        return
    tracks = _tracks(data)
    if sum(len(table) for tables in tracks for table in tables[b"stsc"]) > len(data):
        raise InvalidInput("the recording has tables inside of each other")
    edits = max([1, *(count for tables in tracks for count in _counts(tables[b"elst"], at=1))])
    samples = sum(_by_sample(tables) + _by_chunk(tables) for tables in tracks)
    if samples * edits > MOST_SAMPLES:
        raise InvalidInput(f"the recording has {samples} samples in its tables, shown {edits} times")


def _tracks(data: bytes) -> list[Tables]:
    """Return the tables of each track; those in front of the first one by themselves."""
    # FFmpeg counts what it finds for the track it has found last
    tracks: list[Tables] = [defaultdict(list)]
    for number, (kind, start, end) in enumerate(_boxes(data, 0, len(data))):
        if number == MOST_BOXES:
            raise InvalidInput(f"the recording is made of more than {MOST_BOXES} boxes")
        if kind in TABLES:
            # FFmpeg reads the numbers in front of a table though its box ends before them
            stop = end if kind == b"stsc" else max(end, start + NUMBERS * 4)
            tracks[-1][kind].append(memoryview(data)[start:stop])
        elif kind == b"trak":
            tracks.append(defaultdict(list))
        elif kind == b"cmov":
            # what is packed cannot be counted, and nothing has packed it since QuickTime did
            raise InvalidInput("the recording has a compressed header")
    return tracks


def _boxes(data: bytes, place: int, end: int, depth: int = 0) -> Iterator[Box]:
    """Yield the boxes in a stretch, and those in them."""
    while place + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        if 0 < size < head:
            return
        # a box that would be longer than what it is in ends with it
        stop = min(place + size, end) if size else end
        yield kind, place + head, stop
        if depth < DEEPEST and kind in NESTS:
            for start in _insides(data, kind, place + head, stop):
                yield from _boxes(data, start, stop, depth + 1)
        place = stop


def _insides(data: bytes, kind: bytes, start: int, stop: int) -> Iterator[int]:
    """Yield where boxes may start in a box."""
    yield start
    if kind == b"meta":
        yield start + 4
    if kind == b"stsd":
        # its entries have heads of many lengths
        for table in TABLES:
            found = data.find(table, start + 4, stop)
            while found >= 0:
                yield found - 4
                found = data.find(table, found + 4, stop)


def _numbers(table: memoryview) -> tuple[int, ...]:
    """Return the first four numbers of a table, 32 bits each; what is missing is 0."""
    return struct.unpack(f">{NUMBERS}I", bytes(table[: NUMBERS * 4]).ljust(NUMBERS * 4, b"\0"))


def _counts(tables: list[memoryview], *, at: int) -> Iterator[int]:
    return (_numbers(table)[at] for table in tables)


def _by_sample(tables: Tables) -> int:
    """Return of how many samples the sizes are told, one by one or for all at once."""
    times = [_numbers(table) for table in tables[b"stts"]]
    # nothing but PCM has as many samples as ticks; of it FFmpeg makes entries by the chunk
    plain = bool(times) and all((entries, ticks) == (1, 1) for _, entries, _, ticks in times)
    sizes = [count for _, each, count, _ in map(_numbers, tables[b"stsz"]) if not (plain and each)]
    return sum(sizes) + sum(_counts(tables[b"stz2"], at=2)) + sum(_counts(tables[b"trun"], at=1))


def _by_chunk(tables: Tables) -> int:
    """Return how many entries the chunks may make, were all as long as the longest."""
    chunks = sum(_counts(tables[b"stco"], at=1)) + sum(_counts(tables[b"co64"], at=1))
    # an entry is the first chunk, the samples of each, and a kind
    runs = (np.frombuffer(table, ">u4", len(table) // 4)[3::3] for table in tables[b"stsc"])
    return chunks * (max((int(run.max(initial=0)) for run in runs), default=0) // AT_ONCE)
