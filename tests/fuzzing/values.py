"""Inputs and options of every odd type and value that msgpack and JSON have, those of this wire among them."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from inference_worker.standins.whisper import tone_speech, wav
from tests.fuzzing.mutations import NUMBERS, mutated

SPEECH = wav(tone_speech(["one"])[:8000])

TYPES = ("<f4", "<f2", "|u1", "<i4", "<i8", "<f8", ">f4", "|O", "|V8", "<U4", "|b1", "f", "", "no type", "<m8[ns]")


def spelt(chance: Random) -> Any:
    """Return an odd value that JSON, as Python writes it, can spell."""
    values: tuple[Any, ...] = (
        *("\ud800", "text", 10**400, float("nan"), -float("inf"), None, [[[]]], {}),
        *({"base64": "A"}, {"base64": 3}, {"base64": "QUJD"}, {"blob": 1}),
        {"dtype": "<f4", "shape": [1], "data": "abcd"},
    )
    return chance.choice(values)


def odd(chance: Random) -> Any:
    """Return an input or an option of any type and value that msgpack has, those of this wire among them."""
    return chance.choice(_KINDS)(chance)


def _number(chance: Random) -> Any:
    return chance.choice((*(number for number in NUMBERS if number < 2**64), -1, -(2**63), 0.5, 1e308, -0.0))


def _strange_number(chance: Random) -> Any:
    return chance.choice((float("nan"), float("inf"), -float("inf"), True, False, None))


def _text(chance: Random) -> str:
    return chance.choice(("", " ", "\0", "\ud800", "a\udfffb", "\U0010ffff", "x" * 200_000, "é" * 9000, "en", "\u202e"))


def _bytes(chance: Random) -> bytes:
    return chance.choice((b"", b"\0", chance.randbytes(200), mutated(SPEECH, SPEECH, chance), b"\x80" * 9000))


def _list(chance: Random) -> Any:
    return [odd(chance) for _ in range(chance.randrange(3))]


def _map(chance: Random) -> Any:
    return {chance.choice(("", "a", "inputs", "dtype", 3, None, b"k", 1.5)): odd(chance)}


def _array(chance: Random) -> Any:
    side = chance.choice((0, 1, 2, 3, 65_501, 8))
    shape = chance.choice(([side, 1, 3], [1, side, 3], [side, side % 9, 3], [side], [], [2, side, 4], [1, 1, 1, side]))
    kind, width = chance.choice((("|u1", 1), ("|u1", 1), ("|u1", 1), ("<f4", 4), ("<f2", 2), ("<i8", 8)))
    return {"dtype": kind, "shape": shape, "data": chance.randbytes(math.prod(shape) * width)}


def _no_array(chance: Random) -> Any:
    shapes: tuple[Any, ...] = (
        *([2, 2, 3], [-1], [2**63], [0, 2**63], [0] * 40, [1] * 70, [1.0], ["2"], [True]),
        *(3, None, {}),
    )
    data = chance.choice((bytes(12), b"", "text", None, [1, 2]))
    return {"dtype": chance.choice((*TYPES, None, 3, [], {})), "shape": chance.choice(shapes), "data": data}


def _blob(chance: Random) -> Any:
    numbers: tuple[Any, ...] = (0, 1, 9999, 10_000, -1, 2**63, 0.0, "0", None, True, [], {"blob": 0})
    number = chance.choice(numbers)
    return chance.choice(({"blob": number}, {"blob": number, "packed": chance.choice((True, False, 3, None))}))


def _reference(chance: Random) -> Any:
    places = ("file:///etc/passwd", "http://127.0.0.1:1/", "", 3, None, "\0", "redis://127.0.0.1/")
    return {"ref": chance.choice(places)}


def _extension(chance: Random) -> Any:
    return msgpack.ExtType(chance.choice((0, 1, 127)), chance.randbytes(chance.choice((0, 1, 4, 8, 12, 300))))


def _moment(chance: Random) -> Any:
    return msgpack.Timestamp(chance.choice((0, -1, 2**40)), chance.choice((0, 999_999_999)))


_KINDS: tuple[Callable[[Random], Any], ...] = (
    *(_number, _strange_number, _text, _bytes, _list, _map, _array, _array, _no_array),
    *(_blob, _reference, _extension, _moment),
)
