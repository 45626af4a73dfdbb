"""Takes files in base64 out of JSON while it comes, piece by piece, and leaves marks in their places. Pure.

A JSON parser would hold the loop for as long as a recording is large.
"""

import base64
import binascii
import io
import re
import uuid

from producers.gateway.problems import Problem, Refused
from rpc.errors import InvalidInput

MOST_OPENING = 512
"""Bytes an opening may have at most: so many are looked at again when more has come."""

MOST_PREFIX = 256
"""Characters in front of the comma of a data URI."""

BASE64 = re.compile(rb'(?<!\\)"base64"\s{0,16}:\s{0,16}"')
"""What stands in front of the file in `{"base64": "..."}`. Inside a text its quotes would be escaped."""

DATA_URI = re.compile(rb'(?<!\\)"data:[^"\\,]{0,256};base64,', re.IGNORECASE)
"""What stands in front of the file in a data URI."""


def field(name: str) -> re.Pattern[bytes]:
    """Return what stands in front of the file in a field."""
    return re.compile(rb'(?<!\\)"%s"\s{0,16}:\s{0,16}"' % re.escape(name.encode()))


class Scanner:
    """Takes the files behind an opening out of JSON; those of less than `least` bytes of text stay where they are.

    Attributes:
        rest: what was not taken out, with a mark in the place of each file.
    """

    def __init__(
        self, opening: re.Pattern[bytes], name: str, *, most_bytes: int, least: int = 0, prefixed: bool = False
    ) -> None:
        self.rest = bytearray()
        self._opening = opening
        self._name = name
        self._most_bytes = most_bytes
        self._least = least
        self._prefixed = prefixed
        self._secret = uuid.uuid4().hex
        self._looked = 0
        self._files: list[_Base64] = []
        self._open: _Base64 | None = None

    def feed(self, chunk: bytes) -> None:
        """Go on with the next bytes; raise `InvalidInput` or `Refused` on what cannot become a file."""
        while chunk:
            chunk = self._go_on(self._open, chunk) if self._open is not None else self._look(chunk)

    def _go_on(self, file: "_Base64", chunk: bytes) -> bytes:
        """Decode what belongs to a file, and return what stands behind it."""
        text, quote, behind = chunk.partition(b'"')
        file.feed(text)
        if file.size > self._most_bytes:
            raise too_large(file.size, self._most_bytes)
        if quote:
            self.rest += quote
            self._looked = len(self.rest)
            self._open = None
        return behind

    def _look(self, chunk: bytes) -> bytes:
        """Look for the next file that is long enough, and return what is there of it."""
        self.rest += chunk
        while found := self._opening.search(self.rest, self._looked):
            start = found.end()
            end = self.rest.find(b'"', start, start + self._least)
            if end < 0 and len(self.rest) - start >= self._least:
                return self._begin(start)
            if end < 0:
                # it cannot be told yet
                self._looked = found.start()
                return b""
            self._looked = end
        self._looked = max(self._looked, len(self.rest) - MOST_OPENING)
        return b""

    def _begin(self, start: int) -> bytes:
        behind = bytes(self.rest[start:])
        del self.rest[start:]
        self.rest += self._mark(len(self._files))
        self._open = _Base64(self._name, prefixed=self._prefixed)
        self._files.append(self._open)
        return behind

    def _mark(self, number: int) -> bytes:
        return f"{self._secret}:{number}".encode()

    def files(self) -> dict[str, bytes]:
        """Return the files by their marks; raise `InvalidInput` if one is not whole or empty."""
        return {self._mark(number).decode(): file.end() for number, file in enumerate(self._files)}

    def unmarked(self) -> bytes:
        """Return the rest as it is for every equal text: what stands for a file there stands nowhere else."""
        return bytes(self.rest).replace(self._secret.encode(), b"")


class _Base64:
    """Base64 as it stands in JSON, decoded piece by piece; with `prefixed`, a data URI's head is passed over."""

    def __init__(self, name: str, *, prefixed: bool) -> None:
        self.size = 0
        self._name = name
        self._head: bytes | None = b"" if prefixed else None
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
        prefixed = head[:5].lower() == b"data:" and b"," in head[:MOST_PREFIX]
        self._decode(head.partition(b",")[2] if prefixed else head)

    def _decode(self, text: bytes) -> None:
        text = self._left + text
        # JSON may escape a slash, and those who wrap lines escape their ends
        cut = len(text) - 1 if text.endswith(b"\\") else len(text)
        plain = _unescaped(text[:cut])
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


def _unescaped(text: bytes) -> bytes:
    # one look for a backslash takes less than a hundredth of the time of looking for what may follow it
    return text.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"") if b"\\" in text else text


def decoded(text: bytes, name: str) -> bytes:
    """Return what base64 spells, or raise `InvalidInput` naming the field."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{name} is no base64: {error}") from None


def too_large(size: int, most_bytes: int) -> Refused:
    """Return that an input has too many bytes."""
    return Refused(Problem(413, "input_too_large", f"the input of {size} bytes is over the limit of {most_bytes}"))
