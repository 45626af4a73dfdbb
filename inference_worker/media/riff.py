"""The texts of a WAV file, measured before FFmpeg makes room for them.

A list of texts may say in four bytes that it is two gigabytes long, and so may a text in it: FFmpeg fills as much
memory with zeros, whatever the file holds.
"""

import re
from typing import Literal

from rpc.errors import InvalidInput

MOST_MISSING = 1_000_000
"""Bytes of texts that a file may lack, as one does that was cut off in them."""

_TEXTS = re.compile(rb"LIST(.{4})INFO", re.DOTALL)


def check(data: bytes) -> None:
    """Raise `InvalidInput` if this is a WAV file whose texts say they are longer than what is left of it."""
    found = _TEXTS.search(data)
    if found is None:
        return
    orders: tuple[Literal["little", "big"], ...] = ("little", "big") if b"RIFX" in data else ("little",)
    while found is not None:
        length = max(int.from_bytes(found[1], order) for order in orders)
        if length > len(data) - found.end() + MOST_MISSING:
            raise InvalidInput(f"the recording has texts of {length} bytes in a file of {len(data)}")
        found = _TEXTS.search(data, found.end())
