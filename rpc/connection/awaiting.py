"""Carrying out conversations on an event loop.

One task owns the socket; callers hand it their rounds and await a future, so that cancelling a caller can never
leave a half-read reply behind. Rounds handed over in one tick of the loop travel in one write.
"""

import asyncio
import contextlib
from collections import deque
from typing import Any, TypeVar

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rpc.calls import Call, Round
from rpc.connection.factory import LOAD_SCRIPTS, awaiting
from rpc.connection.faults import checked, translated, unknown_scripts
from rpc.errors import RpcError, Unavailable
from rpc.settings import RedisSettings

T = TypeVar("T")

ROUNDS_TOGETHER = 256


class AwaitingConnection:
    """One connection shared by any number of tasks of one event loop."""

    def __init__(self, settings: RedisSettings) -> None:
        self._address = settings.address
        self._raw = awaiting(settings)
        self._waiting: deque[tuple[Round, asyncio.Future[list[Any]]]] = deque()
        self._handed_over = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    async def run(self, call: Call[T]) -> T:
        """Carry out a conversation and return its answer."""
        replies: Any = None
        while True:
            try:
                commands = call.send(replies)
            except StopIteration as done:
                answer: T = done.value
                return answer
            replies = await self.send(commands)

    async def send(self, commands: Round) -> list[Any]:
        """Return the replies to commands sent together."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
        self._handed_over.set()
        if self._owner is None:
            self._owner = asyncio.create_task(self._own())
        return checked(commands, await future, self._address)

    async def _own(self) -> None:
        while True:
            await self._handed_over.wait()
            self._handed_over.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(ROUNDS_TOGETHER, len(self._waiting)))]
                try:
                    await self._serve(batch)
                except asyncio.CancelledError:
                    self._waiting.extendleft(reversed(batch))
                    raise
                except RpcError as error:
                    _fail(batch, error)

    async def _serve(self, batch: list[tuple[Round, "asyncio.Future[list[Any]]"]]) -> None:
        commands = [command for round_, _ in batch for command in round_]
        with translated(self._address):
            replies = await self._exchange(commands)
            again = unknown_scripts(replies)
            if again:
                await self._exchange(LOAD_SCRIPTS)
                for index, reply in zip(again, await self._exchange([commands[i] for i in again]), strict=True):
                    replies[index] = reply
        start = 0
        for round_, future in batch:
            if not future.done():
                future.set_result(replies[start : start + len(round_)])
            start += len(round_)

    async def _exchange(self, commands: Round) -> list[Any]:
        try:
            await self._raw.connect()
            await self._raw.send_packed_command(self._raw.pack_commands(commands), check_health=False)
            return [await self._reply() for _ in commands]
        except BaseException:
            # a reply left unread would be taken for the answer to the next command
            await self._raw.disconnect(nowait=True)
            raise

    async def _reply(self) -> Any:
        try:
            return await self._raw.read_response()
        except ResponseError as error:
            return error

    async def close(self) -> None:
        """Close the socket; rounds not yet answered fail with `Unavailable`."""
        if self._owner is not None:
            self._owner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._owner
            self._owner = None
        _fail(self._waiting, Unavailable("the client was closed"))
        self._waiting.clear()
        await self._raw.disconnect()


def _fail(batch: Any, error: RpcError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


class AwaitingSubscription:
    """One channel, read by one task."""

    def __init__(self, settings: RedisSettings, channel: str) -> None:
        self._address = settings.address
        self._channel = channel
        self._raw = awaiting(settings)

    async def open(self) -> None:
        """Subscribe and wait until the server has confirmed it."""
        with translated(self._address):
            await self._raw.disconnect(nowait=True)
            await self._raw.connect()
            await self._raw.send_command("SUBSCRIBE", self._channel, check_health=False)
            await self._raw.read_response()

    async def read(self, timeout_s: float) -> str | None:
        """Return the next message, or None if none came in time."""
        try:
            with translated(self._address):
                kind, *_, data = await self._raw.read_response(timeout=timeout_s, disconnect_on_error=False)
        except Unavailable as error:
            if isinstance(error.__cause__, RedisTimeoutError):
                return None
            raise
        return data.decode() if kind == b"message" else None

    async def ping(self) -> None:
        """Ask the server for a sign of life; its answer is read like a message, so a dead link shows in time."""
        with translated(self._address):
            await self._raw.send_command("PING", check_health=False)

    async def close(self) -> None:
        """Close the socket."""
        await self._raw.disconnect()
