"""The line between a supervisor and its engine: JSON texts, one a line, over a pair of sockets.

The engine says `{"ready": [models]}` once, and `{"metrics": text}` whenever it is sent `{"metrics": null}`. Either end
learns from the line's end that the other one is gone.
"""

import json
import select
import socket
import threading
from typing import Any, overload

CHUNK = 65_536


class Gone(Exception):
    """The other end has ended."""


class Link:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = b""
        self._sending = threading.Lock()
        # a time limit of the socket itself would hold for what is being sent too
        self._readable = select.poll()
        self._readable.register(end, select.POLLIN)

    @classmethod
    def pair(cls) -> tuple["Link", "Link"]:
        """Return both ends of a new line."""
        near, far = socket.socketpair()
        return cls(near), cls(far)

    @classmethod
    def attach(cls, descriptor: int) -> "Link":
        """Return the end that was inherited under this descriptor."""
        return cls(socket.socket(fileno=descriptor))

    @property
    def descriptor(self) -> int:
        """What a child process inherits."""
        return self._socket.fileno()

    def say(self, what: str, content: Any = None) -> None:
        """Send one text; raise `Gone` if nobody is there to read it."""
        line = json.dumps({what: content}).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError as error:
            raise Gone from error

    @overload
    def hear(self) -> tuple[str, Any]: ...
    @overload
    def hear(self, timeout_s: float) -> tuple[str, Any] | None: ...
    def hear(self, timeout_s: float | None = None) -> tuple[str, Any] | None:
        """Return the next text, or None if none came in time; raise `Gone` at the line's end."""
        while b"\n" not in self._rest:
            try:
                if timeout_s is not None and not self._readable.poll(timeout_s * 1000):
                    return None
                data = self._socket.recv(CHUNK)
            except OSError as error:
                raise Gone from error
            if not data:
                raise Gone
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        ((what, content),) = json.loads(line).items()
        return what, content

    def close(self) -> None:
        """End the line."""
        self._socket.close()
