"""What an asyncio client hears: two tasks listen on its channel for all who await."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from rpc import requests
from rpc.connection import AwaitingConnection, AwaitingSubscription
from rpc.deadlines import Deadline
from rpc.errors import RpcError
from rpc.messages import Reply
from rpc.receipts import Receipts
from rpc.settings import RedisSettings
from rpc.waits import Waits, WakeUp

log = logging.getLogger(__name__)

Slot = asyncio.Future[Reply]
"""Where a caller waits for one reply."""


class Listener:
    """The tasks that hear of finished jobs, read their replies and hand them out."""

    def __init__(self, settings: RedisSettings, connection: AwaitingConnection, channel: str) -> None:
        self.waits: Waits[Slot] = Waits(_put)
        self.receipts = Receipts(settings.prefix)
        self.heard = asyncio.Event()
        self._settings = settings
        self._connection = connection
        self._subscription = AwaitingSubscription(settings, channel)
        self._swept_at = time.monotonic()
        self._finished: list[str] = []
        self._sweep_due = False
        self._woken = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._fetch())]

    def wait_for(self, name: tuple[str, str]) -> Slot:
        """Note that a reply is awaited, and return its future."""
        slot: Slot = asyncio.get_running_loop().create_future()
        self.waits.add(name, slot, now=time.monotonic())
        return slot

    async def look_at(self, names: Sequence[tuple[str, str]], *, until: Deadline | None = None) -> None:
        """Hand out replies that may be there already."""
        await self._connection.run(self.waits.collect(self._settings.prefix, names), until=until)

    @property
    def runs(self) -> bool:
        """Whether its tasks run; a loop that ends cancels them."""
        return not any(task.done() for task in self._tasks)

    def cancel(self) -> None:
        """Cancel the tasks; the one that listens closes the subscription."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End the tasks and fail those who still wait."""
        self.cancel()
        await asyncio.wait(self._tasks)
        await self._subscription.close()
        with contextlib.suppress(RpcError):
            await self._connection.run(self.receipts.delete(), until=Deadline(time.monotonic()))
        for slot in self.waits.handles():
            _put(slot, requests.CLOSED)

    async def _listen(self) -> None:
        try:
            await self._listen_again_and_again()
        finally:
            # a loop that ends cancels its tasks, and nobody else closes what they opened
            await self._subscription.drop()

    async def _listen_again_and_again(self) -> None:
        while True:
            try:
                await self._subscription.open()
                await self._connection.run_here(self.waits.catch_up(self._settings.prefix))
                self.heard.set()
                await self._follow()
            except RpcError:
                self.heard.set()
                # the server may serve us and forbid the channel
                self._sweep_if_due()
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
            if self._sweep_if_due():
                await self._subscription.ping()

    def _sweep_if_due(self) -> bool:
        """Let the fetching task sweep if it is time to: two that fetch at once would read the same replies."""
        now = time.monotonic()
        if self.receipts.due(now):
            self._woken.set()
        due = now - self._swept_at >= self._settings.sweep_s
        if due:
            self._swept_at, self._sweep_due = now, True
            self._woken.set()
        return due

    def _hear(self, wake_up: WakeUp) -> None:
        """Hand out a reply that came along, or fetch it together with whatever else is finished by then."""
        if not self.waits.hear(wake_up):
            self._finished.append(wake_up.job_id)
            self._woken.set()

    async def _fetch(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._fetch_finished()
            except RpcError as error:
                # what a lost reply leaves waiting is found again by the sweep or the next subscription
                log.debug("replies were not fetched: %s", error)
            except Exception:
                # callers wait for what this task fetches: it must outlive whatever goes wrong
                log.exception("fetching replies failed and goes on")

    async def _fetch_finished(self) -> None:
        finished, self._finished = self._finished, []
        sweep_due, self._sweep_due = self._sweep_due, False
        prefix = self._settings.prefix
        if finished:
            await self._connection.run_here(self.waits.collect(prefix, self.waits.named(finished)))
        if sweep_due:
            quiet_s = self._settings.sweep_s
            await self._connection.run_here(self.waits.sweep(prefix, now=time.monotonic(), quiet_s=quiet_s))
        if self.receipts.due(time.monotonic()):
            await self._connection.run_here(self.receipts.delete())


def _put(slot: Slot, reply: Reply) -> None:
    if not slot.done():
        slot.set_result(reply)
