"""Hands completions of a sink to whoever stores them, one by one and at least once, until told to stop.

The blocking loop and the awaiting one say the same to Redis, in the same order.
"""

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from rpc import sinks
from rpc.calls import Call
from rpc.connection import AwaitingConnection, BlockingConnection, NoGroup
from rpc.errors import QueueFull, RpcError, Unavailable
from rpc.inspection import known_models
from rpc.requests import RECONNECT_S
from rpc.settings import RedisSettings
from rpc.sinks import DEFAULT_LEASE_S, Completion, Reading

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0
"""Time between two looks at which models there are, and at what others left."""


class Turns:
    """What is to be said next. Pure: `now` is passed in, in seconds."""

    def __init__(self, settings: RedisSettings, sink: str, models: Sequence[str] | None, lease_s: float) -> None:
        self._every_model = models is None
        self._looked_at = float("-inf")
        self._failing = self._taken_over = False
        self._onwards: Mapping[str, bytes] = {}
        self._look_again_s = min(LOOK_AGAIN_S, lease_s)
        # an answer later than a socket's time limit would be taken for none
        self._block_ms = min(sinks.BLOCK_MS, int(settings.socket_timeout_s * 1000 / 2))
        consumer = f"relay-{uuid.uuid4().hex[:12]}"
        self.reading = Reading(settings.prefix, sink, tuple(models or ()), consumer, int(lease_s * 1000))

    def next(self, now: float) -> Call[Sequence[Completion]]:
        """Take what others left, now and then, else what is new; wait for it a moment."""
        # new ones have their turn between two takeovers: those that fail again and again must not keep them waiting
        taken_over, self._taken_over = self._taken_over, False
        if now - self._looked_at >= self._look_again_s and not taken_over:
            found = yield from self._look()
            if found:
                self._taken_over = True
                return found
            self._looked_at = now
        if not self.reading.models:
            return []
        return (yield from sinks.arriving(self.reading, block_ms=0 if taken_over else self._block_ms))

    def _look(self) -> Call[Sequence[Completion]]:
        if self._every_model:
            models = yield from known_models(self.reading.prefix)
            self.reading = replace(self.reading, models=models)
        if not self.reading.models:
            return []
        if not self._onwards:
            yield from sinks.ensure(self.reading)
            yield from sinks.reap(self.reading)
        while True:
            found = yield from sinks.abandoned(self.reading, self._onwards)
            self._onwards = found.onwards
            if found.completions or not self._onwards:
                return found.completions

    def pause_s(self, error: RpcError | None) -> float:
        """Return how long to wait before the next round, after an error or none."""
        if isinstance(error, NoGroup):
            again = self._looked_at == float("-inf")
            self._looked_at, self._onwards = float("-inf"), {}
            # a group that could not be made is no reason to ask without end
            return RECONNECT_S if again else 0.0
        if error is not None and not self._failing:
            log.warning("cannot read completions until further notice: %s", error)
        self._failing = error is not None
        return RECONNECT_S if error is not None or not self.reading.models else 0.0


def _untaken(completion: Completion, error: Exception) -> None:
    name = f"{completion.job_id} of {completion.model}"
    log.error("the completion of job %s was not taken; it is handed out again", name, exc_info=error)


def relay(
    settings: RedisSettings,
    sink: str,
    handler: Callable[[Completion], object],
    *,
    models: Sequence[str] | None = None,
    stop: threading.Event | None = None,
    lease_s: float = DEFAULT_LEASE_S,
) -> None:
    """Hand completions to `handler` until `stop` is set.

    A completion it returns from is done with. One it raises on is logged and handed out again when its lease is over,
    here or to another relay; the others go on. While Redis is away it waits for it.
    """
    stop = stop or threading.Event()
    turns = Turns(settings, sink, models, lease_s)
    connection = BlockingConnection(settings, block_s=sinks.BLOCK_MS / 1000)

    def take(completion: Completion) -> None:
        try:
            handler(completion)
            connection.run(sinks.taken(turns.reading, completion))
        except Exception as error:  # noqa: BLE001 (whatever goes wrong, the completion stays)
            _untaken(completion, error)

    try:
        while not stop.is_set():
            found, failed = _found(connection, turns)
            stop.wait(turns.pause_s(failed))
            for completion in found:
                if not stop.is_set():
                    take(completion)
        with contextlib.suppress(RpcError):
            connection.run(sinks.leave(turns.reading))
    finally:
        connection.close()


def _found(connection: BlockingConnection, turns: Turns) -> tuple[Sequence[Completion], RpcError | None]:
    try:
        return connection.run(turns.next(time.monotonic())), None
    except (NoGroup, QueueFull, Unavailable) as error:
        return [], error


async def relay_awaited(
    settings: RedisSettings,
    sink: str,
    handler: Callable[[Completion], Awaitable[object]],
    *,
    models: Sequence[str] | None = None,
    lease_s: float = DEFAULT_LEASE_S,
) -> None:
    """Do the same on an event loop, until cancelled."""
    turns = Turns(settings, sink, models, lease_s)
    connection = AwaitingConnection(settings)

    async def take(completion: Completion) -> None:
        try:
            await handler(completion)
            await connection.run(sinks.taken(turns.reading, completion))
        except Exception as error:  # noqa: BLE001 (whatever goes wrong, the completion stays)
            _untaken(completion, error)

    try:
        while True:
            found, failed = await _found_awaited(connection, turns)
            await asyncio.sleep(turns.pause_s(failed))
            for completion in found:
                await take(completion)
    finally:
        with contextlib.suppress(RpcError):
            await connection.run(sinks.leave(turns.reading))
        await connection.close()


async def _found_awaited(connection: AwaitingConnection, turns: Turns) -> tuple[Sequence[Completion], RpcError | None]:
    try:
        return await connection.run(turns.next(time.monotonic())), None
    except (NoGroup, QueueFull, Unavailable) as error:
        return [], error
