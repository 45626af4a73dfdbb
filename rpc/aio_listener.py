"""What an asyncio client hears: two tasks listen on its channel for all who await."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from rpc import calls, requests
from rpc.connection import AwaitingConnection, AwaitingSubscription
from rpc.deadlines import Deadline
from rpc.errors import RpcError
from rpc.messages import Reply
from rpc.settings import RedisSettings
from rpc.waits import Waits, WakeUp

log = logging.getLogger(__name__)

Slot = asyncio.Future[Reply]
"""Where a caller waits for one reply."""


class Listener:
    """The tasks that hear of finished jobs, read their replies and hand them out."""

    def __init__(self, settings: RedisSettings, connection: AwaitingConnection, channel: str) -> None:
        self.waits: Waits[Slot] = Waits()
        self.heard = asyncio.Event()
        self._settings = settings
        self._connection = connection
        self._subscription = AwaitingSubscription(settings, channel)
        self._swept_at = time.monotonic()
        self._finished: list[str] = []
        self._woken = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._fetch())]

    def wait_for(self, name: tuple[str, str]) -> Slot:
        """Note that a reply is awaited, and return its future."""
        slot: Slot = asyncio.get_running_loop().create_future()
        self.waits.add(name, slot, now=time.monotonic())
        return slot

    async def look_at(self, names: Sequence[tuple[str, str]], *, until: Deadline | None = None) -> None:
        """Hand out replies that may be there already."""
        _answer(await self._connection.run(self.waits.collect(self._settings.prefix, names), until=until))

    async def stop(self) -> None:
        """End the tasks and fail those who still wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._subscription.close()
        for slot in self.waits.handles():
            if not slot.done():
                slot.set_result(requests.CLOSED)

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscription.open()
                await self.look_at(self.waits.everything())
                self.heard.set()
                await self._follow()
            except RpcError:
                self.heard.set()
                await self._sweep_unheard()
            except Exception:
                # callers wait for what this task hears: it must outlive whatever goes wrong
                log.exception("the listener failed and starts again")
            await asyncio.sleep(requests.RECONNECT_S)

    async def _follow(self) -> None:
        failovers = self._connection.failovers
        while self._connection.failovers == failovers:
            message = await self._subscription.read(self._settings.sweep_s)
            if message is not None:
                self._hear(WakeUp.of(message))
            if await self._sweep_if_due():
                await self._subscription.ping()

    async def _sweep_unheard(self) -> None:
        """Look for replies all the same: the server may serve us and forbid the channel."""
        with contextlib.suppress(RpcError):
            await self._sweep_if_due()

    async def _sweep_if_due(self) -> bool:
        now, every_s = time.monotonic(), self._settings.sweep_s
        due = now - self._swept_at >= every_s
        if due:
            self._swept_at = now
            await self._hand_out(self.waits.sweep(self._settings.prefix, now=now, quiet_s=every_s))
        return due

    def _hear(self, wake_up: WakeUp) -> None:
        """Hand out a reply that came along, or fetch it together with whatever else is finished by then."""
        answers = self.waits.hear(wake_up)
        if answers is None:
            self._finished.append(wake_up.job_id)
            self._woken.set()
        else:
            _answer(answers)

    async def _fetch(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            finished, self._finished = self._finished, []
            # what a lost reply leaves waiting is found again by the sweep or the next subscription
            with contextlib.suppress(RpcError):
                await self._hand_out(self.waits.collect(self._settings.prefix, self.waits.named(finished)))

    async def _hand_out(self, call: calls.Call[list[tuple[Slot, Reply]]]) -> None:
        _answer(await self._connection.run_here(call))


def _answer(answers: list[tuple[Slot, Reply]]) -> None:
    for slot, reply in answers:
        if not slot.done():
            slot.set_result(reply)
