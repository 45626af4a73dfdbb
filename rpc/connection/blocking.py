"""Carrying out conversations with a thread that waits."""

import threading
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from rpc.calls import Call, Round
from rpc.connection.factory import LOAD_SCRIPTS, blocking
from rpc.connection.faults import SCRIPT_LOADS, checked, translated, unknown_scripts
from rpc.settings import RedisSettings

T = TypeVar("T")


class BlockingConnection:
    """One connection, opened when first used and again after a fault; any thread may use it, one at a time."""

    def __init__(self, settings: RedisSettings, *, block_s: float = 0.0) -> None:
        self._address = settings.address
        self._raw = blocking(settings, block_s=block_s)
        self._lock = threading.Lock()

    def run(self, call: Call[T]) -> T:
        """Carry out a conversation and return its answer."""
        replies: Any = None
        while True:
            try:
                commands = call.send(replies)
            except StopIteration as done:
                answer: T = done.value
                return answer
            replies = self.send(commands)

    def send(self, commands: Round) -> list[Any]:
        """Return the replies to commands sent together; the scripts are loaded if the server lacks them."""
        with self._lock, translated(self._address):
            replies = self._exchange(commands)
            for _ in range(SCRIPT_LOADS):
                again = unknown_scripts(replies)
                if not again:
                    break
                loaded = self._exchange([*LOAD_SCRIPTS, *(commands[index] for index in again)])
                for index, reply in zip(again, loaded[len(LOAD_SCRIPTS) :], strict=True):
                    replies[index] = reply
        return checked(commands, replies, self._address)

    def _exchange(self, commands: Round) -> list[Any]:
        try:
            self._raw.send_packed_command(self._raw.pack_commands(commands), check_health=False)
            return [self._reply() for _ in commands]
        except BaseException:
            # a reply left unread would be taken for the answer to the next command
            self._raw.disconnect()
            raise

    def _reply(self) -> Any:
        try:
            return self._raw.read_response()
        except ResponseError as error:
            return error

    def close(self) -> None:
        """Close the socket; the next use opens another."""
        with self._lock:
            self._raw.disconnect()


class BlockingSubscription:
    """One channel, read by one thread."""

    def __init__(self, settings: RedisSettings, channel: str) -> None:
        self._address = settings.address
        self._channel = channel
        self._raw = blocking(settings)

    def open(self) -> None:
        """Subscribe and wait until the server has confirmed it."""
        with translated(self._address):
            self._raw.disconnect()
            self._raw.connect()
            self._raw.send_command("SUBSCRIBE", self._channel, check_health=False)
            self._raw.read_response()

    def read(self, timeout_s: float) -> bytes | None:
        """Return the next message, or None if none came in time."""
        with translated(self._address):
            if not self._raw.can_read(timeout_s):
                return None
            heard = self._raw.read_response()
        return heard[-1] if heard[0] == b"message" else None

    def ping(self) -> None:
        """Ask the server for a sign of life; its answer is read like a message, so a dead link shows in time."""
        with translated(self._address):
            self._raw.send_command("PING", check_health=False)

    def close(self) -> None:
        """Close the socket."""
        self._raw.disconnect()
