"""Values to bytes and back: msgpack, arrays, replies, and JSON for jobs typed by hand.

Bytes from the wire never raise anything but `InvalidInput` here.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any

import msgpack
import numpy as np

from rpc.errors import InvalidInput
from rpc.messages import WIRE_VERSION, Encoding, Failure, Meta, Reply, Success

ARRAY_TYPES = frozenset({"<f4", "<f2", "|u1", "<i4", "<i8"})
"""The element types an array may have on the wire: little-endian, so that they need no conversion here."""

_ARRAY_FIELDS = {"dtype", "shape", "data"}

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def pack(value: Any) -> bytes:
    """Return the msgpack of a value; an array becomes `{"dtype", "shape", "data"}`."""
    try:
        packed: bytes = msgpack.packb(value, default=_array_map)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"cannot be sent: {error}") from error
    return packed


def unpack(data: bytes) -> Any:
    """Return the value of msgpack bytes, array maps as arrays; raise `InvalidInput` on anything else."""
    try:
        return msgpack.unpackb(data, object_hook=_read_map, strict_map_key=True)
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"payload is not msgpack: {str(error) or type(error).__name__}") from error


def _array_map(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = value if value.flags.c_contiguous else value.copy()
        if array.dtype.str not in ARRAY_TYPES:
            raise TypeError(f"an array of {array.dtype} is none of {', '.join(sorted(ARRAY_TYPES))}")
        return {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.data if array.size else b""}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _read_map(value: dict[str, Any]) -> Any:
    return _array(value) if value.keys() == _ARRAY_FIELDS else value


def _array(value: dict[str, Any]) -> np.ndarray:
    dtype, shape, data = value["dtype"], value["shape"], value["data"]
    if not isinstance(dtype, str) or dtype not in ARRAY_TYPES:
        raise InvalidInput(f"array of dtype {dtype!r:.100} is none of {', '.join(sorted(ARRAY_TYPES))}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise InvalidInput(f"array shape {shape!r:.100} is no list of sizes")
    if not isinstance(data, bytes) or len(data) != np.dtype(dtype).itemsize * math.prod(shape):
        raise InvalidInput(f"array of shape {shape!r:.100} and dtype {dtype} does not fit its data")
    return np.frombuffer(data, dtype).reshape(shape)


def from_json(text: bytes) -> Any:
    """Return the value of JSON text, `{"base64": ...}` as bytes; raise `InvalidInput` on anything else."""
    try:
        value = json.loads(text, object_hook=_read_json_map)
        if _HALF.search(text):
            # JSON can spell halves of characters, which no reply can hold
            to_json(value).encode()
    except Exception as error:
        raise InvalidInput(f"json cannot be read: {str(error) or type(error).__name__}") from error
    return value


def _read_json_map(value: dict[str, Any]) -> Any:
    if value.keys() == {"base64"}:
        return base64.b64decode(value["base64"], validate=True)
    return value


_META: dict[str, type] = {field.name: type(field.default) for field in fields(Meta)}


def encode_reply(reply: Reply, encoding: Encoding = "msgpack", *, model: str = "") -> bytes:
    """Return a reply as it lies under its result key; with the model, it can be told from another model's."""
    body: dict[str, Any] = {"v": WIRE_VERSION, "ok": isinstance(reply, Success)}
    if model:
        body["model"] = model
    if isinstance(reply, Success):
        body.update(result=reply.result, meta={name: getattr(reply.meta, name) for name in _META})
    else:
        body["error"] = reply.as_dict()
    if encoding == "msgpack":
        return pack(body)
    try:
        return to_json(body).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"cannot be sent as JSON: {error}") from error


def decode_reply(data: bytes) -> Reply:
    """Return the reply under a result key, in either encoding; raise `InvalidInput` if it is none."""
    return decode_named_reply(data)[1]


def decode_named_reply(data: bytes) -> tuple[str, Reply]:
    """Return whose reply it is, "" if it does not say, and the reply; raise `InvalidInput` if it is none."""
    body = from_json(data) if data[:1] == b"{" else unpack(data)
    if not isinstance(body, dict):
        raise InvalidInput(f"reply must be a map, got {type(body).__name__}")
    model = body.get("model", "")
    if not isinstance(model, str):
        raise InvalidInput(f"reply field 'model' must be str, got {type(model).__name__}")
    return model, _reply(body, len(data))


def _reply(body: Mapping[str, Any], size: int) -> Reply:
    if _field(body, "ok", bool):
        return Success(_field(body, "result", dict | None), _meta(body.get("meta")), size)
    error = _field(body, "error", dict)
    return Failure(_field(error, "code", str), _field(error, "message", str), _field(error, "retryable", bool))


def _field(body: Mapping[str, Any], name: str, kind: type | UnionType) -> Any:
    """Return a field of a reply; raise `InvalidInput` if it is missing or of another type."""
    try:
        value = body[name]
    except KeyError:
        raise InvalidInput(f"reply lacks the field {name!r}") from None
    if not isinstance(value, kind):
        expected = getattr(kind, "__name__", str(kind))
        raise InvalidInput(f"reply field {name!r} must be {expected}, got {type(value).__name__}")
    return value


def _meta(value: Any) -> Meta:
    """Return the fields of `Meta` that have its types; a newer worker may send others, which are ignored."""
    if not isinstance(value, dict):
        return Meta()
    return Meta(**{name: value[name] for name in _META if _fits(value.get(name), _META[name])})


def _fits(value: Any, kind: type) -> bool:
    # a whole number is a float as well, and True is no number
    return isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)


def to_json(value: Any) -> str:
    """Return JSON text: bytes as `{"base64": ...}`, arrays as lists, numbers that JSON lacks as null."""
    try:
        return _JSON.encode(value)
    except (TypeError, ValueError):
        # a number or a name that JSON lacks; to look for them first takes longer than all the rest
        return _JSON.encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key if isinstance(key, str | int | None) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spelt(value: Any) -> Any:
    """Return what stands in JSON for what is none of its kinds."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return dict(value) if isinstance(value, Mapping) else str(value)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_spelt)
