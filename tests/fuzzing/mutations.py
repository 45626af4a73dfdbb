"""Damage to bytes: what storage, networks and people who mean harm do to files."""

import re
import struct
import zlib
from collections.abc import Callable
from random import Random

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096, 32_767),
    *(32_768, 65_500, 65_535, 65_536, 2**20, 2**24 - 1, 2**24, 2**28, 2**30, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1),
    *(2**33, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
)
"""Numbers at which something ends or begins: sizes of types, limits, and zero."""

AT_ONCE = (1, 1, 1, 1, 2, 2, 4)
"""How many kinds of damage one input takes: more would leave little to decode."""

MOST_GROWTH = 65_536
"""How many bytes one kind of damage adds at most."""

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}")

PNG = b"\x89PNG\r\n\x1a\n"


def mutated(data: bytes, other: bytes, chance: Random) -> bytes:
    """Return the bytes with some damage; `other` is a file of the same kind to take parts from."""
    damaged = bytearray(data)
    for _ in range(chance.choice(AT_ONCE)):
        damaged = chance.choice(_MUTATIONS)(damaged, other, chance)
    # otherwise nothing behind a checksum is ever reached
    return with_checksums(damaged) if damaged.startswith(PNG) and chance.random() < 0.7 else bytes(damaged)


def with_checksums(png: bytes | bytearray) -> bytes:
    """Return a PNG with the right checksum behind every chunk that is whole."""
    right, place = bytearray(png), len(PNG)
    while place + 12 <= len(right):
        end = place + 8 + int.from_bytes(right[place : place + 4])
        if end + 4 > len(right):
            break
        right[end : end + 4] = zlib.crc32(right[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(right)


def _place(data: bytearray, chance: Random) -> int:
    """Return a place, more often one in front, where files say what they are."""
    return int(len(data) * chance.random() ** chance.choice((1, 3)))


def _stretch(data: bytearray, chance: Random) -> slice:
    start = _place(data, chance)
    longest = chance.choice((4, 64, 1024, MOST_GROWTH))
    return slice(start, min(len(data), start + chance.randint(1, longest)))


def _flip_bits(data: bytearray, _: bytes, chance: Random) -> bytearray:
    for _times in range(chance.randint(1, 16) if data else 0):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def _cut_off(data: bytearray, _: bytes, chance: Random) -> bytearray:
    return data[: chance.randint(0, len(data))]


def _repeat(data: bytearray, _: bytes, chance: Random) -> bytearray:
    there = _stretch(data, chance)
    part = data[there]
    times = min(chance.choice((1, 2, 100)), max(1, MOST_GROWTH // max(1, len(part))))
    return data[: there.stop] + part * times + data[there.stop :]


def _leave_out(data: bytearray, _: bytes, chance: Random) -> bytearray:
    del data[_stretch(data, chance)]
    return data


def _swap(data: bytearray, _: bytes, chance: Random) -> bytearray:
    one, other = sorted((_stretch(data, chance), _stretch(data, chance)), key=lambda there: there.start)
    middle = max(one.stop, other.start)
    return data[: one.start] + data[middle : other.stop] + data[one.stop : middle] + data[one] + data[other.stop :]


def _write_number(data: bytearray, _: bytes, chance: Random) -> bytearray:
    place = _place(data, chance)
    number = _number(chance, chance.choice((1, 2, 4, 8)))
    data[place : place + len(number)] = number
    return data


def _number(chance: Random, width: int) -> bytes:
    number = chance.choice(NUMBERS) & (1 << 8 * width) - 1
    return number.to_bytes(width, chance.choice(("big", "little")))


def _change_length(data: bytearray, _: bytes, chance: Random) -> bytearray:
    """Change the number beside a name of four letters: in front of it in PNG and MP4, behind it in RIFF."""
    names = [found.start() for found in _NAME.finditer(data)]
    if not names:
        return data
    name = chance.choice(names)
    form, place = chance.choice(((">I", name - 4), ("<I", name + 4)))
    if place < 0 or place + 4 > len(data):
        return data
    (length,) = struct.unpack_from(form, data, place)
    longer = chance.choice((length + chance.randint(-16, 16), length * 2, chance.choice(NUMBERS)))
    struct.pack_into(form, data, place, longer & 0xFFFF_FFFF)
    return data


def _splice(data: bytearray, other: bytes, chance: Random) -> bytearray:
    return data[: _place(data, chance)] + other[chance.randint(0, len(other)) :]


_MUTATIONS: tuple[Callable[[bytearray, bytes, Random], bytearray], ...] = (
    *(_flip_bits, _flip_bits, _cut_off, _repeat, _leave_out, _swap),
    *(_write_number, _write_number, _change_length, _change_length, _splice),
)
