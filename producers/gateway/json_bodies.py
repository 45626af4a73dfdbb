"""JSON objects from callers: what a parser would take in silence, and JSON does not allow, is refused. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from producers.gateway import broken_text
from producers.gateway.problems import Problem, Refused, param_of
from rpc.errors import InvalidInput

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some clients send it in front of UTF-8; it says nothing there."""

MAX_SHOWN = 40
"""Characters of a caller's own text in an error."""


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, checked; see `parse_object` and `check_object`."""
    value = parse_object(content)
    check_object(content, value)
    return value


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raise `Refused` if it is not JSON, `InvalidInput` if it is not an object.

    NaN and Infinity are not JSON. A text with half a character is named as `param`.
    """
    text = content.removeprefix(BYTE_ORDER_MARK)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if (path := broken_text.path_in(text)) is not None:
            param = param_of(path)
            detail = f"{param} has half a character: a lone surrogate, or bytes that are not UTF-8"
            raise Refused(Problem(422, "invalid_input", detail, param=param)) from None
        raise Refused(Problem(400, "invalid_json", f"the body is no JSON: {error}")) from None
    if not isinstance(value, dict):
        raise InvalidInput("the body is no JSON object")
    return value


def check_object(content: bytes, value: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` if the object parsed from a body is not all that stands there.

    A parser keeps one value of a name that is there twice, and makes infinity of a number too large for a float64.
    """
    names, infinite = _numbers_of(value)
    if names != between_strings(content).count(b":"):
        raise InvalidInput(f"the body must have each name once in an object, got {_repeated_name(content)} twice")
    if infinite:
        raise InvalidInput("the body must have numbers that a float64 can hold, got a larger one")


def _numbers_of(value: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many names the objects in a value have, and whether a number in it is infinite."""
    names, infinite = 0, False
    values: list[Any] = [value]
    for each in values:
        if isinstance(each, dict):
            names += len(each)
            values += each.values()
        elif isinstance(each, list):
            values += each
        elif isinstance(each, float) and math.isinf(each):
            infinite = True
    return names, infinite


def between_strings(text: bytes) -> bytes:
    """Return JSON without its strings, quotes included."""
    return b"".join(_without_escapes(text).split(b'"')[::2])


def _without_escapes(text: bytes) -> bytes:
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def _repeated_name(content: bytes) -> str:
    """Return the first name that an object has twice, for people."""
    repeated: list[str] = []

    def compare(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                repeated.append(name)
            seen.add(name)

    json.loads(content, object_pairs_hook=compare)
    return repr(next(iter(repeated), "a name")[:MAX_SHOWN])


def values_of(text: bytes, *, most: int) -> int:
    """Return about how many values JSON has, at most twice too many, or some number above `most`.

    It takes a while, but less than to parse them.
    """
    plain = _without_escapes(text)
    strings = plain.count(b'"') // 2
    if strings > most:
        return strings
    between = between_strings(plain)
    return strings + sum(map(between.count, (b",", b"[", b"{")))
