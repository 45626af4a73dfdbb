"""Carrying out conversations with a thread that waits."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from rpc.calls import Call, Round
from rpc.connection.factory import LOAD_SCRIPTS, blocking
from rpc.connection.faults import SCRIPT_LOADS, checked, failed_over, translated, unknown_scripts
from rpc.connection.master_probe import MasterProbe
from rpc.deadlines import Deadline
from rpc.errors import Unavailable
from rpc.forks import forks
from rpc.settings import RedisSettings

T = TypeVar("T")


class BlockingConnection:
    """One connection, opened when first used and again after a fault; any thread may use it, one at a time.

    Whoever says until when has its answer or `Unavailable` by then, also of a server that stands still or if others
    go first.

    Attributes:
        failovers: how often the connection was closed because the server was not, or not yet, the master.
    """

    def __init__(self, settings: RedisSettings, *, block_s: float = 0.0) -> None:
        self._settings = settings
        self._server = settings.server
        self._patience_s = settings.socket_timeout_s + block_s
        self._raw = blocking(settings, block_s=block_s)
        self._is_open = False
        self._lock = threading.Lock()
        self._block_s, self._forks = block_s, forks()
        self._probe = MasterProbe(settings.prefix, now=time.monotonic())
        self.failovers = 0

    def run(self, call: Call[T], *, until: Deadline | None = None) -> T:
        """Carry out a conversation and return its answer."""
        replies: Any = None
        while True:
            try:
                commands = call.send(replies)
            except StopIteration as done:
                answer: T = done.value
                return answer
            replies = self.send(commands, until=until)

    def send(self, commands: Round, *, until: Deadline | None = None) -> list[Any]:
        """Return the replies to commands sent together; the scripts are loaded if the server lacks them."""
        if self._forks != forks():
            self._leave_to_parent()
        with self._turn(until), translated(self._server):
            replies = self._exchange(commands, until)
            for _ in range(SCRIPT_LOADS):
                again = unknown_scripts(replies)
                if not again:
                    break
                loaded = self._exchange([*LOAD_SCRIPTS, *(commands[index] for index in again)], until)
                for index, reply in zip(again, loaded[len(LOAD_SCRIPTS) :], strict=True):
                    replies[index] = reply
        return checked(commands, replies, self._server)

    def _leave_to_parent(self) -> None:
        """Begin anew in the child of a fork: the parent uses the socket, and one of its threads may hold the lock."""
        self._forks, self._lock, self._is_open = forks(), threading.Lock(), False
        self._raw = blocking(self._settings, block_s=self._block_s)

    @contextmanager
    def _turn(self, until: Deadline | None) -> Iterator[None]:
        if not self._lock.acquire(timeout=-1 if until is None else until.patience_s(time.monotonic())):
            raise Unavailable(f"Redis at {self._server}: timed out behind other threads that use the connection")
        try:
            yield
        finally:
            self._lock.release()

    def _exchange(self, commands: Round, until: Deadline | None) -> list[Any]:
        if until is not None and until.patience_s(time.monotonic()) >= self._patience_s:
            until = None
        try:
            if until is not None and not self._is_open:
                self._knock(until.patience_s(time.monotonic()))
            probe = self._probe.commands(time.monotonic())
            self._raw.send_packed_command(self._raw.pack_commands([*commands, *probe]), check_health=False)
            self._is_open = True
            replies = [self._reply(until) for _ in (*commands, *probe)]
        except BaseException:
            # a reply left unread would be taken for the answer to the next command
            self._disconnect()
            raise
        if failed_over(replies):
            self._disconnect()
            self.failovers += 1
        if probe:
            self._probe.note(replies.pop())
        return replies

    def _disconnect(self) -> None:
        self._is_open = False
        self._raw.disconnect()

    def _knock(self, patience_s: float) -> None:
        """Raise if no server answers in time: opening the connection itself waits for as long as its settings say."""
        given = self._settings
        patient = {"connect_timeout_s": min(given.connect_timeout_s, patience_s), "socket_timeout_s": patience_s}
        door = blocking(given.model_copy(update=patient))
        try:
            door.send_command("PING", check_health=False)
            with suppress(ResponseError):
                door.read_response()
        finally:
            door.disconnect()

    def _reply(self, until: Deadline | None) -> Any:
        if until is not None and not self._raw.can_read(until.patience_s(time.monotonic())):
            raise RedisTimeoutError("no answer until the time was up")
        try:
            return self._raw.read_response()
        except ResponseError as error:
            return error

    @property
    def is_open(self) -> bool:
        """Whether this process has a socket open."""
        return self._is_open and self._forks == forks()

    def close(self) -> None:
        """Close the socket; the next use opens another."""
        if self._forks != forks():
            self._leave_to_parent()
        with self._lock:
            self._disconnect()


class BlockingSubscription:
    """One channel, read by one thread."""

    def __init__(self, settings: RedisSettings, channel: str) -> None:
        self._server = settings.server
        self._channel = channel
        self._raw = blocking(settings)
        self._unanswered = False

    def open(self) -> None:
        """Subscribe and wait until the server has confirmed it."""
        with translated(self._server):
            self._raw.disconnect()
            self._raw.connect()
            self._raw.send_command("SUBSCRIBE", self._channel, check_health=False)
            self._raw.read_response()
        self._unanswered = False

    def read(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if none came in time."""
        with translated(self._server):
            if not self._raw.can_read(timeout_s):
                return None
            heard = self._raw.read_response()
        self._unanswered = False
        return heard[-1] if heard[0] == b"message" else None

    def ping(self) -> None:
        """Ask for a sign of life, which is read like a message; raise if none came since it was last asked for."""
        with translated(self._server):
            if self._unanswered:
                raise RedisTimeoutError("the subscription has fallen silent")
            self._unanswered = True
            self._raw.send_command("PING", check_health=False)

    def close(self) -> None:
        """Close the socket."""
        self._raw.disconnect()
