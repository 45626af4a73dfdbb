"""Answers on their way out: those nobody reads take a bounded number of bytes, for a bounded time.

The server buffers what a connection does not take, without a limit of bytes or time.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import Refused
from producers.gateway.room import SMALL, AnswerRoom
from producers.gateway.transports import TRANSPORT, cut, unsent_bytes

log = logging.getLogger(__name__)

PIECE = 64 * 1024
"""How many bytes are handed to a connection at a time: the next ones wait until it has taken these."""

MIN_BYTES_PER_S = 16 * 1024
"""An answer may be read slower than this only for as long as it may stand still."""

CHECKS = 4
"""How often in the time an answer may stand still it is looked whether it does."""

SCOPE_KEY = "penstock.answer"
"""The entry of the ASGI scope that holds the answer of a request."""


class Answers:
    """Sends bodies piece by piece; refuses one that has no room, and cuts the connection of one that is not read."""

    def __init__(self, app: ASGIApp, *, room: AnswerRoom, timeout_s: float) -> None:
        self._app = app
        self._room = room
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its answer watched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = scope[SCOPE_KEY] = _Answer(self._room, Pace(self._timeout_s), scope, receive, send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            answer.give_back()


def reserve(request: Request, size: int) -> None:
    """Take room for what an answer is made of, until it is there itself; raise `Refused` if there is none."""
    answer: _Answer | None = request.scope.get(SCOPE_KEY)
    if answer is not None:
        answer.reserve(size)


@dataclass(slots=True)
class Pace:
    """How fast a caller takes its answer. Pure: times are passed in, in seconds.

    Only time counts in which the answer waits for its caller.
    """

    timeout_s: float
    taken: int = 0
    waited_s: float = 0.0
    still_s: float = 0.0

    def note(self, taken: int, waited_s: float) -> None:
        """Note how many bytes were taken by now, after so many seconds more."""
        self.waited_s += waited_s
        self.still_s = 0.0 if taken > self.taken else self.still_s + waited_s
        self.taken = max(self.taken, taken)

    @property
    def too_slow(self) -> bool:
        """Whether no byte was taken for too long, or too few for longer than that."""
        return self.still_s >= self.timeout_s or self.waited_s >= self.timeout_s + self.taken / MIN_BYTES_PER_S


class _Answer:
    """One answer on its way out."""

    def __init__(self, room: AnswerRoom, pace: Pace, scope: Scope, receive: Receive, send: Send) -> None:
        self._room = room
        self._pace = pace
        self._scope = scope
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport | None = scope.get("state", {}).get(TRANSPORT)
        self._reserved = 0
        self._sent = 0
        self._large = self._refused = False

    async def send(self, message: Message) -> None:
        """Send the start or a part of the answer; raise `ClientDisconnect` if its caller does not read."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
        else:
            await self._pass_on(message)

    async def _start(self, message: Message) -> None:
        size = 0 if self._scope["method"] == "HEAD" else _length(message)
        try:
            if size:
                self.give_back()
                self.reserve(size)
        except Refused as refusal:
            self._refused = True
            await problems.response(refusal.problem)(self._scope, self._receive, self._send)
        else:
            await self._watched(message)

    def reserve(self, size: int) -> None:
        """Take room for so many bytes; raise `Refused` if there is none."""
        if not self._room.fits(size):
            raise Refused(self._room.refusal)
        self._reserved += size
        self._room.take(size)

    def give_back(self) -> None:
        """Give back all room that was taken."""
        self._room.give_back(self._reserved)
        self._reserved = 0

    async def _pass_on(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if len(body) <= SMALL and not self._large:
            await self._watched(message)
            return
        self._large = True
        for start in range(0, len(body), PIECE):
            await self._watched({**message, "body": body[start : start + PIECE], "more_body": True})
        if not more:
            # the server waits for the bytes before, so nothing of an answer that has ended stays in its buffer
            await self._watched({**message, "body": b"", "more_body": False})

    async def _watched(self, message: Message) -> None:
        """Send a message; where its caller has not taken the ones before, only as long as it reads."""
        if self._transport is not None and self._transport.get_write_buffer_size():
            await self._wait_for(asyncio.ensure_future(self._send(message)), self._transport)
        else:
            await self._send(message)
        self._sent += len(message.get("body", b""))

    async def _wait_for(self, sending: asyncio.Future[None], transport: asyncio.Transport) -> None:
        try:
            while True:
                began = time.monotonic()
                done, _ = await asyncio.wait([sending], timeout=self._pace.timeout_s / CHECKS)
                self._pace.note(self._sent - unsent_bytes(transport), time.monotonic() - began)
                if done:
                    await sending
                    return
                if self._pace.too_slow:
                    break
        finally:
            sending.cancel()
        log.warning("a caller took %d bytes of its answer, and no more in time: it is cut off", self._pace.taken)
        cut(transport)
        # the server hears of it in the next turn of the loop
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise ClientDisconnect


def _length(message: Message) -> int:
    length = next((value for name, value in message.get("headers", ()) if name.lower() == b"content-length"), b"0")
    return int(length)
