"""A way to the server on which replies get lost: the command arrives and is carried out, its answer never comes.

It can also fall silent for a while: lines stay open, and nothing passes. Or subscribers alone hear nothing, and what
they were told is lost.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Self

from tests.servers import Server

CHUNK = 65_536

AT_ONCE = struct.pack("ii", 1, 0)
"""The option of a socket that makes its end a reset."""


class Proxy:
    """Passes bytes on in both directions, until it is told to swallow a reply and reset the line, or to be silent."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._doomed: list[bytes] = []
        self._guard = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._deaf = threading.Event()
        self._subscriptions = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every line."""
        self._flowing.set()
        with self._guard:
            # a close alone would not wake a thread that waits in accept
            for link in (self._listener, *self._sockets):
                _hang_up(link)
        for thread in self._threads:
            thread.join(5.0)

    @property
    def url(self) -> str:
        """Where clients are to connect."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def lose_reply_to(self, command: bytes, *, times: int = 1) -> None:
        """Swallow the replies to the next commands whose bytes hold these, and cut their lines."""
        with self._guard:
            self._doomed += [command] * times

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
        cut, subscribed = threading.Event(), threading.Event()
        with self._guard:
            self._forget_ended()
            self._sockets += [near, far]
            self._threads += [
                threading.Thread(target=self._commands, args=(near, far, cut, subscribed), daemon=True),
                threading.Thread(target=self._replies, args=(near, far, cut, subscribed), daemon=True),
            ]
            for thread in self._threads[-2:]:
                thread.start()

    def _forget_ended(self) -> None:
        self._sockets = [link for link in self._sockets if link.fileno() != -1]
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _commands(
        self, near: socket.socket, far: socket.socket, cut: threading.Event, subscribed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(CHUNK):
                self._flowing.wait()
                if self._is_doomed(data):
                    cut.set()
                if b"SUBSCRIBE" in data:
                    subscribed.set()
                    self._note_subscription()
                far.sendall(data)
        _hang_up(far)

    def _replies(
        self, near: socket.socket, far: socket.socket, cut: threading.Event, subscribed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(CHUNK):
                self._flowing.wait()
                if cut.is_set():
                    break
                if not (subscribed.is_set() and self._deaf.is_set()):
                    near.sendall(data)
        if cut.is_set():
            _reset(near)
        _hang_up(near)
        _hang_up(far)

    def _note_subscription(self) -> None:
        with self._guard:
            self._subscriptions += 1

    def _is_doomed(self, data: bytes) -> bool:
        with self._guard:
            doomed = next((command for command in self._doomed if command in data), None)
            if doomed is not None:
                self._doomed.remove(doomed)
            return doomed is not None


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
