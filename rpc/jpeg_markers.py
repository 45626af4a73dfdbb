"""The markers of a JPEG (ITU T.81, B.1): how many scans it has, and whether it ends as it should."""

import re
from typing import NamedTuple

MAX_SCANS = 100
"""Scans of a JPEG: a progressive one has about ten, each is a pass over all pixels, and an empty one has few bytes."""

END = b"\xff\xd9"

FILLER = bytes(range(1, 128))
"""Bytes that are no marker; a decoder that still waits for pixels takes them for some."""

_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)

_SCAN, _END = 0xDA, 0xD9


class Survey(NamedTuple):
    """Scans of the first picture, no more than one over the limit counted, and whether its end is marked."""

    scans: int
    ended: bool


def survey(jpeg: bytes) -> Survey:
    """Return what the markers of a JPEG say."""
    scans, place = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(jpeg, place)):
        kind = jpeg[marker.end() - 1]
        if kind == _END:
            return Survey(scans, ended=True)
        scans += kind == _SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return Survey(scans, ended=False)
