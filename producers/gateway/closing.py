"""What becomes of a connection whose request was answered before its body was whole: it ends with the answer.

What else came of that body would be read for as long as its caller cares to send it.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 2.0
"""How long the rest of a body is read and dropped: an answer is lost to whoever still sends when the line is cut."""

LENGTH, CHUNKED = b"content-length", b"transfer-encoding"


class Closing:
    """Says `connection: close` with every answer that is given before the body is whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and _has_body(scope):
            exchange = _Exchange(receive, send)
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    return any(name == CHUNKED or (name == LENGTH and value != b"0") for name, value in scope["headers"])


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._whole = False
        self._early = False

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        if not message.get("more_body", False):
            # a caller who left sends no more either
            self._whole = True
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; after its last one, let the caller read it."""
        if message["type"] == "http.response.start" and not self._whole:
            self._early = True
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        if not self._early or message.get("more_body", False) or message["type"] == "http.response.start":
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._linger()
        await self._send({"type": "http.response.body"})

    async def _linger(self) -> None:
        """Drop the rest of the body until it is whole, its caller leaves, or the time is up."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not self._whole:
                    await self.receive()
        except TimeoutError:
            pass
