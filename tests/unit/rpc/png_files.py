"""PNG files written chunk by chunk, for what Pillow does not write."""

import struct
import zlib


def chunk(name: bytes, data: bytes, *, damaged: bool = False) -> bytes:
    """Return a chunk; a damaged one has a wrong checksum."""
    checksum = zlib.crc32(name + data) ^ damaged
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """Return a PNG of rows of samples, without filters, with chunks between its header and its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    width = len(rows) // size[1]
    lines = b"".join(b"\0" + rows[start : start + width] for start in range(0, len(rows), width))
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")
