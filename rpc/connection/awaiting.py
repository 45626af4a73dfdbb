"""Carrying out conversations on an event loop.

Only long-lived tasks touch the socket; callers hand over their conversation and await a future, so that cancelling
a caller can never leave a half-read reply behind. What is handed over in one tick of the loop travels in one write.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rpc.calls import Call, Round
from rpc.connection.factory import LOAD_SCRIPTS, awaiting, fast_pack
from rpc.connection.faults import SCRIPT_LOADS, checked, failed_over, translated, unknown_scripts
from rpc.connection.idle_limit import IdleLimit
from rpc.connection.master_probe import MasterProbe
from rpc.deadlines import Deadline
from rpc.errors import Unavailable
from rpc.redis_url import RedisUrl
from rpc.settings import RedisSettings

T = TypeVar("T")

TALKS_TOGETHER = 256

BULKY = frozenset({"SET", "SETRANGE"})
"""What writes blobs, megabytes at a time. Each is packed and sent for itself: others have the loop in between."""


@dataclass(slots=True, eq=False)
class _Talk:
    """A conversation under way: what it says next, and who gets its answer."""

    call: Call[Any]
    answer: asyncio.Future[Any]
    commands: Round = ()

    def hear(self, replies: list[Any] | None, server: RedisUrl) -> bool:
        """Go on with the replies; return whether there is more to say."""
        try:
            heard = replies if replies is None else checked(self.commands, replies, server)
            self.commands = self.call.send(heard)
        except StopIteration as done:
            if not self.answer.done():
                self.answer.set_result(done.value)
        except Exception as error:  # noqa: BLE001 (it belongs to the caller who awaits the answer)
            self.fail(error)
        else:
            return not self.answer.done()
        return False

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.call.close()
        if not self.answer.done():
            self.answer.set_exception(error)
            # whoever waited may have been cancelled meanwhile: then nobody asks, and asyncio would complain of that
            self.answer.exception()


def _fail(talks: list[_Talk], error: Exception) -> list[_Talk]:
    """End conversations with an error, and return that there are none left."""
    for talk in talks:
        talk.fail(error)
    return []


class AwaitingConnection:
    """One connection shared by any number of tasks of one event loop.

    Attributes:
        failovers: how often the connection was closed because the server was not, or not yet, the master.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._server = settings.server
        self._timeout_s = settings.socket_timeout_s
        self._idle = IdleLimit(settings.socket_timeout_s)
        self._raw = awaiting(settings)
        self._pack = fast_pack or self._raw.pack_commands
        self._waiting: deque[_Talk] = deque()
        self._handed_over = asyncio.Event()
        self._socket = asyncio.Lock()
        self._owner: asyncio.Task[None] | None = None
        self._probe = MasterProbe(settings.prefix, now=time.monotonic())
        self.failovers = 0

    async def run(self, call: Call[T], *, until: Deadline | None = None) -> T:
        """Carry out a conversation and return its answer. The caller may be cancelled at any time.

        Whoever says until when has its answer or `Unavailable` by then.
        """
        if until is None:
            return await self._run(call)
        try:
            async with asyncio.timeout(until.patience_s(time.monotonic())):
                return await self._run(call)
        except TimeoutError:
            raise Unavailable(f"Redis at {self._server}: no answer until the time was up") from None

    async def _run(self, call: Call[T]) -> T:
        talk = _Talk(call, asyncio.get_running_loop().create_future())
        if talk.hear(None, self._server):
            self._waiting.append(talk)
            self._handed_over.set()
            self._ensure_owner()
        answer: T = await talk.answer
        return answer

    async def run_here(self, call: Call[T]) -> T:
        """Do the same from a task that is never cancelled but to close the client; it saves a turn of the loop."""
        talk = _Talk(call, asyncio.get_running_loop().create_future())
        more = talk.hear(None, self._server)
        self._ensure_owner()
        while more:
            async with self._socket:
                more = bool(await self._serve([talk]))
        answer: T = talk.answer.result()
        return answer

    def _ensure_owner(self) -> None:
        if self._owner is None or self._owner.done():
            self._owner = asyncio.create_task(self._own())

    async def _own(self) -> None:
        """Carry out what is handed over, and close the socket at the end: a loop that ends cancels its tasks."""
        try:
            while True:
                await self._handed_over.wait()
                self._handed_over.clear()
                while self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(TALKS_TOGETHER, len(self._waiting)))]
                    async with self._socket:
                        self._waiting.extend(await self._serve(batch))
        finally:
            for talk in self._waiting:
                talk.fail(Unavailable("the client was closed"))
            self._waiting.clear()
            await self._raw.disconnect(nowait=True)

    @property
    def is_owned(self) -> bool:
        """Whether the task runs that owns the socket, which closes it when it ends."""
        return self._owner is not None and not self._owner.done()

    def cancel(self) -> None:
        """Cancel the task that owns the socket."""
        if self._owner is not None:
            self._owner.cancel()

    async def _serve(self, talks: list[_Talk]) -> list[_Talk]:
        """Carry every conversation one round further; return those that have more to say."""
        try:
            with translated(self._server):
                replies = await self._replies([command for talk in talks for command in talk.commands])
        except asyncio.CancelledError:
            _fail(talks, Unavailable("the client was closed"))
            raise
        except Unavailable as error:
            return _fail(talks, error)
        except Exception as error:  # noqa: BLE001 (the task that owns the socket must outlive whatever goes wrong)
            left = [talk for talk in talks if self._can_be_said(talk)]
            return _fail(talks, error) if len(left) == len(talks) else left
        return [talk for talk in talks if talk.hear([replies.popleft() for _ in talk.commands], self._server)]

    def _can_be_said(self, talk: _Talk) -> bool:
        """Return whether there are bytes for what a conversation says; if not, that is its error and nobody else's."""
        try:
            for portion in _portions(talk.commands):
                self._pack(portion)
        except Exception as error:  # noqa: BLE001 (it belongs to the caller who awaits the answer)
            talk.fail(error)
            return False
        return True

    async def _replies(self, commands: Round) -> deque[Any]:
        replies = await self._exchange(commands)
        for _ in range(SCRIPT_LOADS):
            again = unknown_scripts(replies)
            if not again:
                break
            loaded = await self._exchange([*LOAD_SCRIPTS, *(commands[index] for index in again)])
            for index, reply in zip(again, loaded[len(LOAD_SCRIPTS) :], strict=True):
                replies[index] = reply
        return deque(replies)

    async def _exchange(self, commands: Round) -> list[Any]:
        probe = self._probe.commands(time.monotonic())
        replies = await self._send([*commands, *probe])
        if failed_over(replies):
            await self._raw.disconnect(nowait=True)
            self.failovers += 1
        if probe:
            self._probe.note(replies.pop())
        return replies

    async def _send(self, commands: Round) -> list[Any]:
        try:
            for place, portion in enumerate(_portions(commands)):
                if place:
                    # a server that takes it all at once would leave others no turn
                    await asyncio.sleep(0)
                async with asyncio.timeout(self._timeout_s):
                    await self._raw.connect()
                    await self._raw.send_packed_command(self._pack(portion), check_health=False)
            return await self._read_replies(len(commands))
        except BaseException:
            # a reply left unread would be taken for the answer to the next command
            await self._raw.disconnect(nowait=True)
            raise

    async def _read_replies(self, count: int) -> list[Any]:
        """Return the replies; the time limit counts from the last byte that arrived."""
        stream = self._raw._reader  # noqa: SLF001 (nothing else of redis-py sees the bytes of a reply arrive)
        try:
            async with self._idle.begin(stream):
                return [await self._reply() for _ in range(count)]
        finally:
            self._idle.end()

    async def _reply(self) -> Any:
        try:
            return await self._raw.read_response()
        except ResponseError as error:
            return error

    async def close(self) -> None:
        """Close the socket; conversations not yet ended fail with `Unavailable`."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.wait([self._owner])
            self._owner = None
        await self._raw.disconnect()


def _portions(commands: Round) -> Iterator[Round]:
    """Yield the commands in runs that are sent in one write, each with the socket's time limit for itself."""
    start = 0
    for end, command in enumerate(commands, start=1):
        if command[0] in BULKY or end == len(commands):
            yield commands[start:end]
            start = end


class AwaitingSubscription:
    """One channel, read by one task."""

    def __init__(self, settings: RedisSettings, channel: str) -> None:
        self._server = settings.server
        self._channel = channel
        self._timeout_s = settings.socket_timeout_s
        self._raw = awaiting(settings)
        self._unanswered = False

    async def open(self) -> None:
        """Subscribe and wait until the server has confirmed it."""
        with translated(self._server):
            await self._raw.disconnect(nowait=True)
            async with asyncio.timeout(self._timeout_s):
                await self._raw.connect()
                await self._raw.send_command("SUBSCRIBE", self._channel, check_health=False)
                await self._raw.read_response()
        self._unanswered = False

    async def read(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if none came in time."""
        with translated(self._server):
            try:
                heard = await self._raw.read_response(timeout=timeout_s, disconnect_on_error=False)
            except RedisTimeoutError:
                # how redis-py tells of it has changed between versions: by this or by None
                heard = None
        self._unanswered = self._unanswered and heard is None
        return heard[-1] if heard is not None and heard[0] == b"message" else None

    async def ping(self) -> None:
        """Ask for a sign of life, which is read like a message; raise if none came since it was last asked for."""
        with translated(self._server):
            if self._unanswered:
                raise RedisTimeoutError("the subscription has fallen silent")
            self._unanswered = True
            await self._raw.send_command("PING", check_health=False)

    async def close(self) -> None:
        """Close the socket."""
        await self._raw.disconnect()

    async def drop(self) -> None:
        """Close the socket without waiting for it to be closed."""
        await self._raw.disconnect(nowait=True)
