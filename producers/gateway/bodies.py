"""What a request may weigh and how long it may take to arrive, whoever reads it."""

import asyncio
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import BROKEN, Problem, Refused

LEAST_BYTES_PER_S = 16 * 1024
"""A body may come slower than this only for as long as it may stand still."""


class Bodies:
    """Refuses bodies that are too large, too slow, or too much together with all others."""

    def __init__(self, app: ASGIApp, *, most: int, most_together: int, timeout_s: float) -> None:
        self._app = app
        # one that is larger than all may be together would be told to try again for ever
        self._most = min(most, most_together)
        self._most_together = most_together
        self._timeout_s = timeout_s
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body watched, or answer that it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _declared(scope)
        if declared > self._most:
            await problems.response(self._too_large())(scope, receive, send)
            return
        body = _Body(self, receive, self._timeout_s)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._held -= body.size

    def take(self, size: int, total: int) -> None:
        """Count bytes of a body of which there are so many by now; raise `Refused` if that is too much."""
        self._held += size
        if total > self._most:
            raise Refused(self._too_large())
        if self._held > self._most_together:
            text = f"bodies of more than {self._most_together} bytes together are being served; try again"
            raise Refused(Problem(503, "too_busy", text, BROKEN, retry_after_s=problems.RETRY_AFTER_S))

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"the body is over the limit of {self._most} bytes")


def _declared(scope: Scope) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


class _Body:
    """One body on its way in."""

    def __init__(self, bodies: Bodies, receive: Receive, timeout_s: float) -> None:
        self.size = 0
        self._bodies = bodies
        self._receive = receive
        self._timeout_s = timeout_s
        self._began: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """Return the next message; raise `Refused` if it does not come."""
        if self._whole:
            return await self._receive()
        now = time.monotonic()
        began = self._began = now if self._began is None else self._began
        slowest_s = self._timeout_s + self.size / LEAST_BYTES_PER_S
        try:
            async with asyncio.timeout(min(self._timeout_s, max(0.0, began + slowest_s - now))):
                message: Mapping[str, object] | Message = await self._receive()
        except TimeoutError:
            text = f"{self.size} bytes of the body came in {time.monotonic() - began:.0f} s, and then no more"
            raise Refused(Problem(408, "body_too_slow", text)) from None
        if message["type"] == "http.request":
            chunk = message.get("body", b"")
            self._whole = not message.get("more_body", False)
            self.size += len(chunk) if isinstance(chunk, bytes) else 0
            self._bodies.take(len(chunk) if isinstance(chunk, bytes) else 0, self.size)
        return message  # type: ignore[return-value] # the server's own map
