"""A job as the fields of a stream entry, and back; inputs that travel as blobs.

Bytes from the wire never raise anything but `InvalidInput` here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rpc.codec import from_json, pack, unpack
from rpc.errors import InvalidInput, RpcError
from rpc.keys import Lane, check_job_id, check_sink
from rpc.messages import HOUR_MS, WIRE_VERSION, Blob, Encoding, Job, Reference

READABLE_VERSIONS = frozenset({WIRE_VERSION})

_BLOB_FIELDS = ({"blob"}, {"blob", "packed"})

_REFERENCE_FIELDS = {"ref"}

MOST_BLOBS = 10_000
"""The highest number a blob may have: each is a key that a script declares."""

MOST_LEVELS = 100
"""How deep lists and maps of an input may lie in each other: what is deeper can be read, but no reply could hold it."""


class Malformed(InvalidInput):
    """A stream entry that is no job.

    Attributes:
        job_id: whom to answer, or None if the entry does not say.
        reply: the channel to tell, or "".
        encoding: how to answer.
        sink: the stream of completions that gets the answer too, or "".
    """

    def __init__(self, message: str, *, job_id: str | None, reply: str, encoding: Encoding, sink: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.reply = reply
        self.sink = sink
        self.encoding: Encoding = encoding


def spread(job: Job, *, inline_bytes: int) -> tuple[Job, dict[int, bytes]]:
    """Return the job with blobs in place of its inputs larger than `inline_bytes`, and what is to lie there."""
    blobs: dict[int, bytes] = {}
    inputs = list(job.inputs)
    for number, given in enumerate(inputs):
        _check_not_reserved(given)
        if size_of(given) > inline_bytes:
            packed = not isinstance(given, bytes)
            blobs[number] = _packed(given, number) if packed else given
            inputs[number] = Blob(number, packed)
    return (replace(job, inputs=inputs), blobs) if blobs else (job, blobs)


def _check_not_reserved(given: Any) -> None:
    if isinstance(given, dict) and (given.keys() in _BLOB_FIELDS or given.keys() == _REFERENCE_FIELDS):
        raise InvalidInput(f"a map of {' and '.join(sorted(given))} would be taken for a blob or a reference")


def size_of(given: Any) -> int:
    """Return about how many bytes an input takes; what is neither text, bytes nor array is taken for small."""
    if isinstance(given, str):
        return len(given) if given.isascii() else len(given.encode("utf-8", "replace"))
    if isinstance(given, np.ndarray):
        return given.nbytes
    return len(given) if isinstance(given, bytes | bytearray | memoryview) else 0


def read_blob(blob: Blob, data: bytes) -> Any:
    """Return the input that lies under a blob's key; raise `InvalidInput` if it cannot be read."""
    if not blob.packed:
        return data
    given = unpack(data)
    _check_levels(given)
    return given


def _check_levels(value: Any) -> None:
    level: list[Any] = [[value]]
    for _ in range(MOST_LEVELS + 1):
        inside = (item.values() if isinstance(item, dict) else item for item in level)
        level = [inner for items in inside for inner in items if isinstance(inner, list | dict)]
        if not level:
            return
    raise InvalidInput(f"lists and maps lie deeper in each other than {MOST_LEVELS} levels")


def job_fields(job: Job) -> list[str | bytes | int]:
    """Return the field names and values of a job's stream entry, the readable ones first."""
    fields: list[str | bytes | int] = ["v", WIRE_VERSION, "id", job.id, "op", job.op]
    fields += ["ttl_ms", job.ttl_ms, "keep_ms", job.keep_ms]
    if job.reply:
        fields += ["reply", job.reply]
    if job.traceparent:
        fields += ["traceparent", job.traceparent]
    if job.sink:
        fields += ["sink", job.sink]
    inputs = [_input_map(given) for given in job.inputs]
    return [*fields, "payload", _payload(inputs, job.options)]


def _payload(inputs: Sequence[Any], options: Mapping[str, Any]) -> bytes:
    """Return the payload of a job; raise `InvalidInput` naming the input that has no form on the wire."""
    try:
        return pack({"inputs": inputs, "options": dict(options)})
    except InvalidInput:
        for index, item in enumerate(inputs):
            _packed(item, index)
        raise


def _packed(item: Any, index: int) -> bytes:
    try:
        return pack(item)
    except InvalidInput as error:
        raise InvalidInput(f"input {index} {error}") from error


def _input_map(given: Any) -> Any:
    """Return an input as it stands in a payload."""
    if isinstance(given, Reference):
        return {"ref": given.url}
    if not isinstance(given, Blob):
        return given
    return {"blob": given.number, "packed": True} if given.packed else {"blob": given.number}


def _read_input(given: Any) -> Any:
    """Return the input, or the blob or reference it stands for."""
    if not isinstance(given, dict):
        return given
    if given.keys() == _REFERENCE_FIELDS:
        return Reference(given["ref"])
    if given.keys() not in _BLOB_FIELDS:
        return given
    number, packed = given["blob"], given.get("packed", False)
    if type(number) is not int or not 0 <= number < MOST_BLOBS:
        raise InvalidInput(f"blob {str(number)[:32]!r} is no number from 0 to {MOST_BLOBS - 1}")
    return Blob(number, packed is True)


def read_job(model: str, lane: Lane, entry_id: str, raw: Sequence[bytes], *, most_bytes: int) -> Job:
    """Return the job of a stream entry, or raise `Malformed` saying whom to answer."""
    fields = dict(zip(raw[::2], raw[1::2], strict=True))
    encoding: Encoding = "json" if b"json" in fields and b"payload" not in fields else "msgpack"
    reply = fields.get(b"reply", b"").decode("ascii", "replace")
    job_id, sink = None, ""
    try:
        job_id = _job_id(fields, entry_id)
        sink = check_sink(_text(fields, b"sink")) if b"sink" in fields else ""
        _check_version(fields)
        _check_size(fields, most_bytes)
        inputs, options = _read_payload(fields)
        return Job(
            model=model,
            op=_text(fields, b"op"),
            inputs=inputs,
            options=options,
            id=job_id,
            lane=lane,
            ttl_ms=_number(fields, b"ttl_ms", HOUR_MS),
            keep_ms=_number(fields, b"keep_ms", HOUR_MS),
            reply=reply,
            traceparent=fields.get(b"traceparent", b"").decode("ascii", "replace"),
            sink=sink,
            encoding=encoding,
        )
    except RpcError as error:
        raise Malformed(str(error), job_id=job_id, reply=reply, encoding=encoding, sink=sink) from error


def _job_id(fields: Mapping[bytes, bytes], entry_id: str) -> str:
    if b"id" in fields:
        return check_job_id(_text(fields, b"id"))
    if b"op" in fields and (b"payload" in fields or b"json" in fields):
        return entry_id
    raise InvalidInput("the entry has no id and is no job: op, and one of payload or json, are required")


def _check_version(fields: Mapping[bytes, bytes]) -> None:
    version = _number(fields, b"v", WIRE_VERSION)
    if version not in READABLE_VERSIONS:
        raise InvalidInput(f"wire version {version} is not spoken here; this worker reads {sorted(READABLE_VERSIONS)}")


def _check_size(fields: Mapping[bytes, bytes], most_bytes: int) -> None:
    size = max(map(len, fields.values()))
    if size > most_bytes:
        raise InvalidInput(f"the payload of {size} bytes is over the limit of {most_bytes}")


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    try:
        return fields[name].decode()
    except KeyError:
        raise InvalidInput(f"field {name.decode()} is missing") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"field {name.decode()} is not UTF-8") from None


def _number(fields: Mapping[bytes, bytes], name: bytes, default: int) -> int:
    text = fields.get(name)
    if text is None:
        return default
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004 (milliseconds of 30,000 years)
        raise InvalidInput(f"field {name.decode()} {text[:32]!r} is no whole number")
    return int(text)


def _read_payload(fields: Mapping[bytes, bytes]) -> tuple[list[Any], dict[str, Any]]:
    if b"payload" in fields:
        payload = unpack(fields[b"payload"])
    elif b"json" in fields:
        payload = from_json(fields[b"json"])
    else:
        raise InvalidInput("the entry has neither payload nor json")
    if not isinstance(payload, dict) or not payload.keys() <= {"inputs", "options"}:
        raise InvalidInput('the payload is no map of "inputs" and "options"')
    inputs, options = payload.get("inputs"), payload.get("options", {})
    if not isinstance(inputs, list) or not inputs:
        raise InvalidInput('"inputs" is no list of at least one input')
    if not isinstance(options, dict):
        raise InvalidInput('"options" is no map')
    _check_levels(payload)
    return list(map(_read_input, inputs)), options


def payload_of(raw: Mapping[bytes, bytes]) -> Any:
    """Return what a person wants to see of an entry's payload: its value, or why it has none."""
    try:
        inputs, options = _read_payload(raw)
    except InvalidInput as error:
        return str(error)
    # of a reference no more than people may see
    shown = [{"ref": str(given)} if isinstance(given, Reference) else _input_map(given) for given in inputs]
    return {"inputs": shown, "options": options}
