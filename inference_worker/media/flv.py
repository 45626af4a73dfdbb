"""The metadata of an FLV file, measured before FFmpeg makes room for it.

A list of key frames says in four bytes how many there are, and FFmpeg makes room for as many at once, up to two
gigabytes. Each takes nine bytes of the file (AMF 0, 2.2: the number of its type, and a double).
"""

import re

from rpc.errors import InvalidInput

NUMBER = 9
"""Bytes of a number."""

_LISTS = re.compile(rb"(?:times|filepositions)\x0a(.{4})", re.DOTALL)


def check(data: bytes) -> None:
    """Raise `InvalidInput` if this is an FLV file whose lists of key frames are longer than the file."""
    if not data.startswith(b"FLV"):
        return
    for match in _LISTS.finditer(data):
        count = int.from_bytes(match[1])
        if count * NUMBER > len(data):
            raise InvalidInput(f"the recording has lists of {count} key frames in a file of {len(data)} bytes")
