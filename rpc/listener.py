"""What a blocking client hears: one thread listens on its channel for all who wait."""

import contextlib
import logging
import threading
import time
from collections.abc import Sequence

from rpc import requests
from rpc.connection import BlockingConnection, BlockingSubscription
from rpc.deadlines import Deadline
from rpc.errors import RpcError
from rpc.messages import Reply
from rpc.receipts import Receipts
from rpc.settings import RedisSettings
from rpc.waits import Waits, WakeUp

log = logging.getLogger(__name__)


class Slot:
    """Where a caller waits for one reply.

    Attributes:
        reply: None until it is there.
    """

    def __init__(self) -> None:
        self._there = threading.Event()
        self.reply: Reply | None = None

    def put(self, reply: Reply) -> None:
        """Hand over the reply."""
        self.reply = reply
        self._there.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the reply; return whether it is there."""
        return self._there.wait(timeout_s)


class Listener:
    """The thread that hears of finished jobs, reads their replies and hands them out."""

    def __init__(self, settings: RedisSettings, connection: BlockingConnection, channel: str) -> None:
        self.waits: Waits[Slot] = Waits(Slot.put)
        self.receipts = Receipts(settings.prefix)
        self._settings = settings
        self._connection = connection
        self._channel = channel
        self._subscription = BlockingSubscription(settings, channel)
        self._swept_at = time.monotonic()
        self._stopped = threading.Event()
        self._abandoned = False
        self._heard = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="penstock-listener", daemon=True)
        self._thread.start()

    def ready(self, until: Deadline) -> None:
        """Wait until the channel is heard, or the time is up: till then a job is only found by looking for it."""
        given = self._settings
        self._heard.wait(min(given.connect_timeout_s + given.socket_timeout_s, until.remaining_s(time.monotonic())))

    def look_at(self, names: Sequence[tuple[str, str]], *, until: Deadline) -> None:
        """Hand out replies that may be there already."""
        self._connection.run(self.waits.collect(self._settings.prefix, names), until=until)

    def stop(self) -> None:
        """End the thread and fail those who still wait."""
        self._stopped.set()
        with contextlib.suppress(RpcError):
            # the thread sits in a read that only a message ends early
            self._connection.send([("PUBLISH", self._channel, "")])
            self._connection.run(self.receipts.delete())
        self._thread.join(self._settings.sweep_s)
        for slot in self.waits.handles():
            slot.put(requests.CLOSED)

    def abandon(self) -> None:
        """Let the thread end by itself, which closes both connections; nobody waits any more."""
        self._abandoned = True
        self._stopped.set()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self._subscription.open()
                self._connection.run(self.waits.catch_up(self._settings.prefix))
                self._heard.set()
                self._follow()
            except RpcError:
                self._heard.set()
                self._sweep_unheard()
            except Exception:
                # callers wait for what this thread hears: it must outlive whatever goes wrong
                log.exception("the listener failed and starts again")
            self._stopped.wait(requests.RECONNECT_S)
        self._subscription.close()
        if self._abandoned:
            with contextlib.suppress(RpcError):
                self._connection.run(self.receipts.delete())
            self._connection.close()

    def _follow(self) -> None:
        failovers = self._connection.failovers
        while not self._stopped.is_set() and self._connection.failovers == failovers:
            message = self._subscription.read(self._settings.sweep_s)
            if message is not None:
                self._hear(WakeUp.of(message))
            if self._sweep_if_due():
                self._subscription.ping()

    def _sweep_unheard(self) -> None:
        """Look for replies all the same: the server may serve us and forbid the channel."""
        with contextlib.suppress(RpcError):
            self._sweep_if_due()

    def _sweep_if_due(self) -> bool:
        now, every_s = time.monotonic(), self._settings.sweep_s
        if self.receipts.due(now):
            with contextlib.suppress(RpcError):
                self._connection.run(self.receipts.delete())
        due = now - self._swept_at >= every_s
        if due:
            self._swept_at = now
            self._connection.run(self.waits.sweep(self._settings.prefix, now=now, quiet_s=every_s))
        return due

    def _hear(self, wake_up: WakeUp) -> None:
        if not self.waits.hear(wake_up):
            names = self.waits.named([wake_up.job_id])
            self._connection.run(self.waits.collect(self._settings.prefix, names))
