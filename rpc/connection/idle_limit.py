"""A time limit for reading replies on an event loop that counts from the last byte that arrived."""

import asyncio
from collections.abc import Iterable
from typing import SupportsIndex


class IdleLimit:
    """Ends a read when nothing has arrived for `timeout_s`, however long the whole of it takes."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._stream: asyncio.StreamReader | None = None
        self._limit: asyncio.Timeout | None = None
        self._counted_from = 0.0

    def begin(self, stream: asyncio.StreamReader | None) -> asyncio.Timeout:
        """Return the limit of one read, to be entered at once; it moves with what arrives on the stream."""
        self._watch(stream)
        self._counted_from = asyncio.get_running_loop().time()
        self._limit = asyncio.timeout(self._timeout_s)
        return self._limit

    def end(self) -> None:
        """Forget the limit that was begun last."""
        self._limit = None

    def _watch(self, stream: asyncio.StreamReader | None) -> None:
        if stream is None or stream is self._stream:
            return
        self._stream = stream
        feed = stream.feed_data

        def feed_and_move(data: Iterable[SupportsIndex]) -> None:
            self._move()
            feed(data)

        # a reader tells nobody how much of a reply has arrived, and the protocol calls it by this name alone
        stream.feed_data = feed_and_move  # type: ignore[method-assign]  # an attribute of this reader stands before it

    def _move(self) -> None:
        limit, now = self._limit, asyncio.get_running_loop().time()
        # to move a limit costs more than to look at the clock
        if limit is not None and not limit.expired() and now - self._counted_from > self._timeout_s / 8:
            self._counted_from = now
            limit.reschedule(now + self._timeout_s)
