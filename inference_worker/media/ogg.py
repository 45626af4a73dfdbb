"""The pages of an Ogg file (RFC 3533), and the links of a chain: one file behind another.

FFmpeg reads a chain as one stream, and gives up at a link of another rate, codec or number of channels. Each link is
a whole Ogg file, so links are opened one by one.
"""

from collections.abc import Iterator
from typing import NamedTuple

CAPTURE = b"OggS"

HEAD = 27
"""Bytes of a page in front of the table of its segments."""

FIRST = 0x02
"""The flag of the first page of a stream."""


class Page(NamedTuple):
    """A page: where it starts and ends, and whether it is the first one of its stream."""

    start: int
    end: int
    is_first: bool


def pages(data: bytes) -> Iterator[Page]:
    """Yield the pages that follow each other, passing over bytes between them that belong to none."""
    start = data.find(CAPTURE)
    while 0 <= start <= len(data) - HEAD:
        table = data[start + HEAD : start + HEAD + data[start + 26]]
        end = start + HEAD + data[start + 26] + sum(table)
        yield Page(start, end, bool(data[start + 5] & FIRST))
        start = data.find(CAPTURE, end)


def links(data: bytes, *, most: int) -> list[memoryview]:
    """Return the links of an Ogg file, at most so many; the whole of any other file.

    The first pages of all streams of a link stand together, so a first page behind any other page starts a link.
    """
    if not data.startswith(CAPTURE):
        return [memoryview(data)]
    starts, inside = [0], False
    for page in pages(data):
        if page.is_first and inside:
            starts.append(page.start)
            if len(starts) > most:
                break
        inside = not page.is_first
    view = memoryview(data)
    return [view[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)][:most]
