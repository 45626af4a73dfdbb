"""Files on their way in: parts of a form, base64 inside JSON, data URIs. None of it holds the loop for long."""

import asyncio
import base64
import binascii
import io
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import Request, UploadFile
from pydantic_core import from_json

from producers.gateway.problems import Problem, Refused
from rpc.errors import InvalidInput

MOST_AROUND = 64 * 1024
"""Bytes a JSON object may have besides its file."""

MOST_PREFIX = 256
"""Characters in front of the comma of a data URI."""


async def of_form(file: UploadFile, *, most_bytes: int) -> bytes:
    """Return a file of a form; raise `Refused` if it is empty or too large to be an input."""
    if file.size is not None and file.size > most_bytes:
        raise too_large(file.size, most_bytes)
    # it may lie on a disk
    content = await asyncio.to_thread(file.file.read)
    if not content:
        raise InvalidInput("the file is empty")
    return content


def too_large(size: int, most_bytes: int) -> Refused:
    """Return that an input has too many bytes."""
    return Refused(Problem(413, "input_too_large", f"the input of {size} bytes is over the limit of {most_bytes}"))


async def of_json(request: Request, name: str, *, most_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Return a JSON object whose field `name` is a file in base64, without that field, and the file.

    The text is decoded as it comes, in pieces: a JSON parser would hold the loop for as long as a recording is large.
    """
    scanner = Base64Field(name, most_bytes=most_bytes)
    async for chunk in _chunks(request):
        scanner.feed(chunk)
    return scanner.end()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk
            # a body that lies in the socket whole comes without a pause
            await asyncio.sleep(0)


class Base64Field:
    """Reads a JSON object piece by piece, and decodes one field of it on the way. Pure."""

    def __init__(self, name: str, *, most_bytes: int) -> None:
        self._name = name
        self._most_bytes = most_bytes
        self._opening = re.compile(rb'"%s"\s*:\s*"' % re.escape(name.encode()))
        self._mark = uuid.uuid4().hex
        self._around = bytearray()
        self._field: _Base64 | None = None
        self._open = False

    def feed(self, chunk: bytes) -> None:
        """Go on with the next bytes; raise `InvalidInput` or `Refused` on what cannot become a file."""
        rest = chunk
        if self._open and self._field is not None:
            text, quote, rest = chunk.partition(b'"')
            self._field.feed(text)
            if self._field.size > self._most_bytes:
                raise too_large(self._field.size, self._most_bytes)
            if not quote:
                return
            self._open = False
            self._around += b'"'
        self._around += rest
        if self._field is None:
            self._begin()
        if len(self._around) > MOST_AROUND:
            raise InvalidInput(f"the body has more than {MOST_AROUND} bytes beside {self._name}")

    def _begin(self) -> None:
        found = self._opening.search(self._around)
        if found is None:
            return
        rest = bytes(self._around[found.end() :])
        del self._around[found.end() :]
        self._around += self._mark.encode()
        self._field, self._open = _Base64(self._name), True
        self.feed(rest)

    def end(self) -> tuple[dict[str, Any], bytes]:
        """Return the object without the field, and the file."""
        around = json_object(bytes(self._around))
        # the mark is where the field was only if that was this object's own, and its last of that name
        if self._field is None or around.pop(self._name, None) != self._mark:
            raise InvalidInput(f"{self._name} is missing, or no text in base64, or given twice")
        return around, self._field.end()


class _Base64:
    """Base64 as it stands in JSON, decoded piece by piece; a data URI's prefix in front of it is passed over."""

    def __init__(self, name: str) -> None:
        self.size = 0
        self._name = name
        self._head: bytes | None = b""
        self._left = b""
        self._decoded = io.BytesIO()

    def feed(self, text: bytes) -> None:
        """Decode as much as is whole."""
        if self._head is None:
            self._decode(text)
            return
        self._head += text
        if len(self._head) >= MOST_PREFIX:
            self._start()

    def _start(self) -> None:
        head, self._head = self._head or b"", None
        prefixed = head.startswith(b"data:") and b"," in head[:MOST_PREFIX]
        self._decode(head.partition(b",")[2] if prefixed else head)

    def _decode(self, text: bytes) -> None:
        text = self._left + text
        # JSON may escape a slash, and those who wrap lines escape their ends
        cut = len(text) - 1 if text.endswith(b"\\") else len(text)
        plain = text[:cut].replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")
        whole = len(plain) - len(plain) % 4
        self._left = plain[whole:] + text[cut:]
        self.size += self._decoded.write(decoded(plain[:whole], self._name))

    def end(self) -> bytes:
        """Return all that was decoded."""
        if self._head is not None:
            self._start()
        if self._left:
            raise InvalidInput(f"{self._name} is no base64: it ends in the middle of a group")
        if not self.size:
            raise InvalidInput(f"{self._name} is empty")
        return self._decoded.getvalue()


def decoded(text: bytes, name: str) -> bytes:
    """Return what base64 spells, or raise `InvalidInput` naming the field."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{name} is no base64: {error}") from None


def of_data_uri(uri: str, name: str) -> bytes:
    """Return the file in a data URI, or raise `InvalidInput` naming the field."""
    head, comma, text = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InvalidInput(f"{name} is no data URI in base64, such as data:image/png;base64,iVBORw0...")
    return decoded(text.encode(), name)


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, or raise `Refused`."""
    try:
        value = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(Problem(400, "invalid_json", f"the body is no JSON: {error}")) from None
    if not isinstance(value, dict):
        raise InvalidInput("the body is no JSON object")
    return value


def json_body(properties: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """Return what OpenAPI is to say of a JSON body that a route reads by itself."""
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
