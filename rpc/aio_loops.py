"""Connections and tasks of an asyncio client, apart for each event loop that uses it.

A loop that has ended, or that belongs to the parent of this process, is forgotten, and what was open on it is not used
again.
"""

import asyncio
import contextlib
import uuid

from rpc.aio_listener import Listener
from rpc.connection import AwaitingConnection
from rpc.forks import forks
from rpc.keys import reply_channel
from rpc.settings import RedisSettings


class OnLoop:
    """The connection, the listener and the tasks of a client on the event loop that runs now."""

    def __init__(self, settings: RedisSettings, channel: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.connection = AwaitingConnection(settings)
        self.listener: Listener | None = None
        self.abandoning: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._channel = channel

    def listen(self) -> Listener:
        """Return the listener, started if there is none that runs."""
        if self.listener is None or not self.listener.runs:
            self.listener = Listener(self._settings, self.connection, self._channel)
        return self.listener

    async def close(self) -> None:
        """Close both connections; calls that still wait fail with `Unavailable`."""
        if self.abandoning:
            await asyncio.wait(self.abandoning)
        if self.listener is not None:
            await self.listener.stop()
            self.listener = None
        await self.connection.close()

    def cancel(self) -> None:
        """Cancel the tasks, each of which closes what it has opened. To be called on the loop."""
        if self.listener is not None:
            self.listener.cancel()
        self.connection.cancel()

    @property
    def is_open(self) -> bool:
        """Whether a task of it still runs, and with it a connection."""
        return not self.loop.is_closed() and (
            self.connection.is_owned or (self.listener is not None and self.listener.runs)
        )


class Loops:
    """Everything that one client has open, by event loop."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._on: dict[asyncio.AbstractEventLoop, OnLoop] = {}
        self._latest: OnLoop | None = None
        self._forks = forks()
        self._channel = reply_channel(settings.prefix, uuid.uuid4().hex)

    @property
    def channel(self) -> str:
        """The pub/sub channel on which the client hears of finished jobs, on whichever loop it waits for them."""
        self._forget_parent()
        return self._channel

    @property
    def waiting(self) -> int:
        """How many jobs are waited for."""
        return sum(len(on.listener.waits) for on in list(self._on.values()) if on.listener is not None)

    def here(self) -> OnLoop:
        """Return what is open on the loop that runs now; raise `RuntimeError` if none does."""
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is None or latest.loop is not loop:
            # no loop of the parent's runs in the child of a fork
            self._forget_parent()
            latest = self._latest = self._on.get(loop) or self._begin(loop)
        return latest

    def _begin(self, loop: asyncio.AbstractEventLoop) -> OnLoop:
        for other in [each for each in list(self._on) if each.is_closed()]:
            self._on.pop(other, None)
        begun = self._on[loop] = OnLoop(self._settings, self._channel)
        return begun

    def _forget_parent(self) -> None:
        if self._forks != forks():
            # to close a socket of the parent's loop here would take it out of the parent's selector
            self._forks, self._on, self._latest = forks(), {}, None
            self._channel = reply_channel(self._settings.prefix, uuid.uuid4().hex)

    async def close(self) -> None:
        """Close what is open on the loop that runs now, and have the other loops close theirs."""
        self._forget_parent()
        here = self._on.pop(asyncio.get_running_loop(), None)
        self.abandon()
        if here is not None:
            await here.close()

    def abandon(self) -> bool:
        """Have every loop close what is open on it, without waiting for it; return whether anything was open."""
        if self._forks != forks():
            return False
        left, self._on, self._latest = list(self._on.values()), {}, None
        was_open = [on for on in left if on.is_open]
        for on in was_open:
            # it may have ended just now, and with it all that was open on it
            with contextlib.suppress(RuntimeError):
                on.loop.call_soon_threadsafe(on.cancel)
        return bool(was_open)
