"""Compressed bodies: decompressed piece by piece, so that what is too large is refused before it takes memory."""

import asyncio
import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import Problem, Refused

PIECE = 64 * 1024
"""The most bytes that are decompressed at a time."""

SUPPORTED = "gzip, deflate"

GZIP_OR_ZLIB, RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
"""Values of zlib's `wbits`: detect the header; without one."""

CODINGS = {"gzip", "x-gzip", "deflate"}


class ContentEncoding:
    """Decompresses bodies in gzip or deflate; refuses others with 415 and the header that names both."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a plain body, or answer that its body cannot be read."""
        coding = _coding(scope) if scope["type"] == "http" else ""
        if not coding:
            await self._app(scope, receive, send)
        elif coding in CODINGS:
            await self._app(_plain(scope), _CompressedBody(receive, coding).receive, send)
        else:
            text = f"content-encoding must be one of {SUPPORTED}, or identity, got {coding[:100]!r}"
            refusal = problems.response(Problem(415, "unsupported_encoding", text))
            refusal.headers["accept-encoding"] = SUPPORTED
            await refusal(scope, receive, send)


def _coding(scope: Scope) -> str:
    """Return the codings of a body in the order they were applied; "" if there is none."""
    values = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    codings = [coding.strip().lower() for coding in values.decode("latin-1").split(",")]
    return ", ".join(coding for coding in codings if coding not in {"", "identity"})


def _plain(scope: Scope) -> Scope:
    """Return a request without what its headers say of the compressed body."""
    dropped = {b"content-encoding", b"content-length"}
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name not in dropped]}


class _CompressedBody:
    """One compressed body on its way in."""

    def __init__(self, receive: Receive, coding: str) -> None:
        self._receive = receive
        self._stream = Decompressor(coding)
        self._whole = self._ended = False

    async def receive(self) -> Message:
        """Return the next message; raise `Refused` if its bytes are not what the header says."""
        while not self._ended:
            if piece := self._stream.read(PIECE):
                # a small body may hold many pieces
                await asyncio.sleep(0)
                return {"type": "http.request", "body": piece, "more_body": True}
            if self._whole:
                self._stream.end()
                self._ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._stream.feed(message.get("body", b""))
            self._whole = not message.get("more_body", False)
        return await self._receive()


class Decompressor:
    """Decompresses a stream of bytes in portions of a bounded size. Pure.

    `deflate` is zlib's format, as HTTP defines it, or without zlib's header, as some clients send it. A body in gzip
    may have several members.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._compressed = b""
        self._member: zlib._Decompress | None = None

    def feed(self, compressed: bytes) -> None:
        """Add compressed bytes."""
        self._compressed += compressed

    def read(self, most: int) -> bytes:
        """Return up to so many decompressed bytes, b"" until more is fed; raise `Refused` on another format."""
        while True:
            if self._member is None:
                if not self._compressed:
                    return b""
                self._member = zlib.decompressobj(self._window())
            try:
                plain = self._member.decompress(self._compressed, most)
            except zlib.error as error:
                raise _malformed(self._coding, str(error)) from None
            if not self._member.eof:
                self._compressed = self._member.unconsumed_tail
                return plain
            self._compressed = self._member.unused_data
            if self._compressed and self._coding == "deflate":
                raise _malformed(self._coding, "bytes behind its end")
            self._member = None
            if plain:
                return plain

    def _window(self) -> int:
        # the low four bits of zlib's first byte are 8; in raw deflate, they would begin a block of a reserved kind
        headed = self._coding != "deflate" or self._compressed[0] & 0x0F == zlib.DEFLATED
        return GZIP_OR_ZLIB if headed else RAW

    def end(self) -> None:
        """Raise `Refused` if the stream is not whole."""
        if self._member is not None:
            raise _malformed(self._coding, "it ends too early")


def _malformed(coding: str, reason: str) -> Refused:
    return Refused(Problem(400, "invalid_encoding", f"the body is not {coding}, as content-encoding says: {reason}"))
