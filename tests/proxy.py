"""A proxy in front of a server that loses replies: the command arrives and is carried out, its reply never comes.

It also cuts a reply in its middle, holds all bytes back for a while, swallows the bytes of every open connection for
good, drops what the server sends to subscribers, or stops reading from their connections. It limits the bytes of
replies per second and connection.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.servers import Server

CHUNK = 16_384

AT_ONCE = struct.pack("ii", 1, 0)
"""The option of a socket that makes its end a reset."""


@dataclass(slots=True, eq=False)
class Connection:
    """One client's connection through the proxy, and what is the matter with it.

    Attributes:
        near: the socket to the client.
        far: the socket to the server.
        cut: set once no reply may pass any more; the next one resets the connection.
        subscribed: set once the client has subscribed to a channel.
        swallowed: set once all bytes of both directions are dropped, while the connection stays open.
        passing_bytes: how many bytes of replies still pass before the connection is reset; None for all.
    """

    near: socket.socket
    far: socket.socket
    cut: threading.Event = field(default_factory=threading.Event)
    subscribed: threading.Event = field(default_factory=threading.Event)
    swallowed: threading.Event = field(default_factory=threading.Event)
    passing_bytes: int | None = None


class Proxy:
    """Passes bytes on in both directions, until it is told to swallow a reply and reset the line, or to be silent."""

    def __init__(self, server: Server, *, bytes_per_s: float = float("inf")) -> None:
        self._server = server
        self._bytes_per_s = bytes_per_s
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._doomed: list[tuple[bytes, int]] = []
        self._guard = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._deaf = threading.Event()
        self._reading = threading.Event()
        self._reading.set()
        self._subscriptions = 0
        self._connections: list[Connection] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every line."""
        self._flowing.set()
        self._reading.set()
        self._ended.set()
        with self._guard:
            sockets = [end for connection in self._connections for end in (connection.near, connection.far)]
            # a close alone would not wake a thread that waits in accept
            for link in (self._listener, *sockets):
                _hang_up(link)
        for thread in self._threads:
            thread.join(5.0)

    @property
    def url(self) -> str:
        """Where clients are to connect."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def lose_reply_to(self, command: bytes, *, times: int = 1) -> None:
        """Swallow the replies to the next commands whose bytes hold these, and cut their lines."""
        self.cut_reply_to(command, after_bytes=0, times=times)

    def cut_reply_to(self, command: bytes, *, after_bytes: int, times: int = 1) -> None:
        """Reset the connections of the next commands that hold these bytes after so many bytes of replies."""
        with self._guard:
            self._doomed += [(command, after_bytes)] * times

    def swallow(self) -> None:
        """Drop all further bytes of the connections that are open now; neither end is told."""
        with self._guard:
            for connection in self._connections:
                connection.swallowed.set()

    @contextlib.contextmanager
    def slow_subscribers(self) -> Iterator[None]:
        """Read nothing that the server sends to subscribers meanwhile; it is passed on afterwards."""
        self._reading.clear()
        try:
            yield
        finally:
            self._reading.set()

    def lose_no_more(self) -> None:
        """Swallow no reply from now on."""
        with self._guard:
            self._doomed.clear()

    def lead_to(self, server: Server) -> None:
        """Lead new lines to another server."""
        self._server = server

    @property
    def to_lose(self) -> int:
        """How many replies are still to be swallowed."""
        with self._guard:
            return len(self._doomed)

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Let nothing pass in either direction meanwhile; what came is passed on afterwards."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    @property
    def subscriptions(self) -> int:
        """How often somebody has subscribed this way."""
        with self._guard:
            return self._subscriptions

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Lose whatever the server says to subscribers meanwhile; their lines stay open."""
        self._deaf.set()
        try:
            yield
        finally:
            self._deaf.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._server.port), timeout=5.0)
                except OSError:
                    # the server is away; whoever called may call again
                    _hang_up(near)
                    continue
                far.settimeout(None)
                self._join(near, far)

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        connection = Connection(near, far)
        with self._guard:
            self._forget_ended()
            self._connections.append(connection)
            self._threads += [
                threading.Thread(target=self._pass_commands, args=(connection,), daemon=True),
                threading.Thread(target=self._pass_replies, args=(connection,), daemon=True),
            ]
            for thread in self._threads[-2:]:
                thread.start()

    def _forget_ended(self) -> None:
        self._connections = [each for each in self._connections if each.near.fileno() != -1]
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _pass_commands(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while data := connection.near.recv(CHUNK):
                self._flowing.wait()
                if connection.swallowed.is_set():
                    continue
                self._doom(connection, data)
                if b"SUBSCRIBE" in data:
                    connection.subscribed.set()
                    self._note_subscription()
                connection.far.sendall(data)
        _hang_up(connection.far)
        if connection.swallowed.is_set():
            # the thread of the replies leaves this end open: the client is not told that the server is gone
            _hang_up(connection.near)

    def _pass_replies(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while data := self._read(connection):
                self._flowing.wait()
                self._ended.wait(len(data) / self._bytes_per_s)
                if connection.swallowed.is_set():
                    continue
                if connection.subscribed.is_set() and self._deaf.is_set():
                    continue
                passing = _passing(connection, data)
                if passing:
                    connection.near.sendall(passing)
                if connection.cut.is_set():
                    break
        if connection.cut.is_set():
            _reset(connection.near)
        if not connection.swallowed.is_set():
            _hang_up(connection.near)
        _hang_up(connection.far)

    def _read(self, connection: Connection) -> bytes:
        if connection.subscribed.is_set():
            self._reading.wait()
        return connection.far.recv(CHUNK)

    def _note_subscription(self) -> None:
        with self._guard:
            self._subscriptions += 1

    def _doom(self, connection: Connection, data: bytes) -> None:
        """Mark the connection for its reset if the command is one whose reply is to be lost or cut."""
        with self._guard:
            doomed = next((entry for entry in self._doomed if entry[0] in data), None)
            if doomed is not None:
                self._doomed.remove(doomed)
                connection.passing_bytes = doomed[1]


def _passing(connection: Connection, data: bytes) -> bytes:
    """Return the bytes that still pass, and mark the connection as cut once no more may."""
    if connection.passing_bytes is None:
        return data
    passing = data[: connection.passing_bytes]
    connection.passing_bytes -= len(passing)
    if connection.passing_bytes == 0:
        connection.cut.set()
    return passing


def _reset(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        # only the half that wakes a thread reading here: closing the other one in order would send no reset
        link.shutdown(socket.SHUT_RD)
        link.close()


def _hang_up(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
