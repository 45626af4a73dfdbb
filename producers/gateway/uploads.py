"""Bodies on their way in: files in forms, in JSON, in data URIs, and what is around them. None holds the loop long."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import Any, TypeVar

from fastapi import Request, UploadFile
from pydantic import BaseModel, ValidationError

from producers.gateway.ignored_fields import given_fields
from producers.gateway.json_bodies import check_object, json_object, parse_object, values_of
from producers.gateway.problems import Problem, Refused, param_of
from producers.gateway.scanner import Scanner, decoded, field, too_large
from rpc.errors import InvalidInput

Fields = TypeVar("Fields", bound=BaseModel)

KIB, MIB = 1024, 1024 * 1024

MOST_AROUND = 64 * KIB
"""Bytes a JSON object may have besides its one file."""

SMALL = 64 * KIB
"""A body of no more bytes is read as it is, the files in it too."""

LEAST_FILE = KIB
"""Files of so many bytes of base64 are taken out of a larger body while it comes."""

MOST_REST = 4 * MIB
"""Bytes a larger body may have besides these files: parsed in 10 ms if they are texts."""

MOST_VALUES = 50_000
"""Values such a rest may have, which cost more than their bytes: parsed in 40 ms if they are lists."""

FORMS = "send fewer at a time, and large files by the forms of /v1/audio/transcriptions and /face/detect"


async def of_form(file: UploadFile, *, most_bytes: int) -> bytes:
    """Return a file of a form; raise `Refused` if it is empty or too large to be an input."""
    if file.size is not None and file.size > most_bytes:
        raise too_large(file.size, most_bytes)
    # it may lie on a disk
    content = await asyncio.to_thread(file.file.read)
    if not content:
        raise InvalidInput("the file is empty")
    return content


def with_remedy(request: Request, fault: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one of Pydantic's faults; of a file that is missing, with how one is sent."""
    if tuple(fault["loc"]) != ("body", "file"):
        return fault
    kind = request.headers.get("content-type", "").partition(";")[0]
    if fault["type"] != "missing":
        text = (
            "the part has no filename, so it is a text and not a file: name one, as curl -F file=@talk.wav does"
            ' (Content-Disposition: form-data; name="file"; filename="talk.wav")'
        )
    elif kind != "multipart/form-data":
        text = f"the request must be multipart/form-data with a part named file, got {kind or 'no Content-Type'}"
    else:
        text = "the form must have a part named file, with a filename"
    return {**fault, "msg": text}


async def of_json(request: Request, name: str, *, most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Return a JSON object whose field `name` is a file in base64, without that field, and the file.

    A data URI's prefix in front of it is passed over.
    """
    scanned = Base64Field(name, most_bytes=most_bytes)
    async for chunk in _chunks(request):
        scanned.feed(chunk)
    return scanned.end()


class Base64Field:
    """Reads a JSON object piece by piece, and decodes one field of it on the way. Pure."""

    def __init__(self, name: str, *, most_bytes: int) -> None:
        self._name = name
        self._scanner = Scanner(field(name), name, most_bytes=most_bytes, prefixed=True)

    def feed(self, chunk: bytes) -> None:
        """Go on with the next bytes; raise `InvalidInput` or `Refused` on what cannot become a file."""
        self._scanner.feed(chunk)
        if len(self._scanner.rest) > MOST_AROUND:
            raise InvalidInput(f"the body has more than {MOST_AROUND} bytes beside {self._name}")

    def end(self) -> tuple[dict[str, Any], bytes]:
        """Return the object without the field, and the file."""
        around = json_object(bytes(self._scanner.rest))
        files = self._scanner.files()
        # a mark is where a file was only if that was this object's own, and its last of that name
        mark = around.pop(self._name, None)
        if len(files) != 1 or mark not in files:
            raise InvalidInput(f"{self._name} is missing, or no text in base64, or given twice")
        return around, files[mark]


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object, and the files that were taken out of it.

    Attributes:
        told: the object, with a mark in the place of each of these files.
        files: the files by their marks.
        around: what equal bodies have in common besides their files.
    """

    told: dict[str, Any]
    files: Mapping[str, bytes]
    around: bytes

    @property
    def content(self) -> Sequence[bytes]:
        """What tells this body from others."""
        return [self.around, *self.files.values()]


async def read(request: Request, opening: Pattern[bytes], *, most_bytes: int) -> Body:
    """Return a body of JSON, its long files behind such an opening decoded as they come.

    Raises `Refused` if a file is larger than `most_bytes`, or if there is too much besides.
    """
    if 0 < _declared(request) <= SMALL:
        content = await request.body()
        return Body(json_object(content), {}, content)
    scanner = Scanner(opening, "a file", most_bytes=most_bytes, least=LEAST_FILE)
    async for chunk in _chunks(request):
        scanner.feed(chunk)
        if len(scanner.rest) > MOST_REST:
            raise _too_much(f"{MOST_REST} bytes beside its files in base64")
    told = await _parsed(bytes(scanner.rest))
    await asyncio.sleep(0)
    return Body(told, scanner.files(), scanner.unmarked())


async def read_small(request: Request, *, most_bytes: int) -> dict[str, Any]:
    """Return the JSON object of a body that has no file; raise `Refused` if it has more bytes than that."""
    content = bytearray()
    async for chunk in _chunks(request):
        content += chunk
        if len(content) > most_bytes:
            raise Refused(Problem(413, "body_too_large", f"the body is over the limit of {most_bytes} bytes"))
    return await _parsed(bytes(content))


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdigit() else 0


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    first = True
    async for chunk in request.stream():
        if not first:
            # a body that lies in the socket whole comes without a pause
            await asyncio.sleep(0)
        first = False
        yield chunk


async def _parsed(text: bytes) -> dict[str, Any]:
    if len(text) <= SMALL:
        return json_object(text)
    # each step takes its time, and others have the loop in between
    if values_of(text, most=MOST_VALUES) > MOST_VALUES:
        raise _too_much(f"{MOST_VALUES} values")
    await asyncio.sleep(0)
    parsed = parse_object(text)
    await asyncio.sleep(0)
    check_object(text, parsed)
    return parsed


def _too_much(what: str) -> Refused:
    return Refused(Problem(413, "body_too_large", f"the body has more than {what}: {FORMS}"))


def with_files(value: Any, left: dict[str, bytes]) -> Any:
    """Return JSON with each `{"base64": "..."}` in it as bytes, and take out of `left` those that were marks."""
    if isinstance(value, list):
        return [with_files(item, left) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"base64"}:
        return {name: with_files(item, left) for name, item in value.items()}
    text = value["base64"]
    if not isinstance(text, str):
        raise InvalidInput('a file is no text in base64, as in {"base64": "QUJD"}')
    return left.pop(text) if text in left else decoded(_unwrapped(text), "a file")


def of_data_uri(uri: str, name: str, left: dict[str, bytes]) -> bytes:
    """Return the file in a data URI, out of `left` if that was a mark; raise `InvalidInput` naming the field."""
    head, comma, text = uri.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise InvalidInput(f"{name} is no data URI in base64, such as data:image/png;base64,iVBORw0...")
    return left.pop(text) if text in left else decoded(_unwrapped(text), name)


def check_none(left: Mapping[str, bytes]) -> None:
    """Raise `InvalidInput` if a file was taken out that is no input: of a field given twice, or beside others."""
    if left:
        raise InvalidInput("the body has a file in base64 where none belongs, or twice in one place")


def _unwrapped(text: str) -> bytes:
    """Return base64 without the ends of its lines."""
    return text.replace("\n", "").replace("\r", "").encode()


def valid(kind: type[Fields], told: Mapping[str, Any]) -> Fields:
    """Return what the fields of an object say; raise `Refused` naming the first that is wrong. Null is not given."""
    try:
        return kind.model_validate(given_fields(told))
    except ValidationError as error:
        first = error.errors()[0]
        param = param_of(first["loc"])
        raise Refused(Problem(422, "invalid_input", f"{param}: {first['msg']}", param=param)) from None


def json_body(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """Return what OpenAPI is to say of a JSON body that a route reads by itself."""
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
