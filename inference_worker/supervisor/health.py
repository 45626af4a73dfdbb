"""The small port: `/livez`, `/readyz` and `/metrics`. Reads the worker's state; changes nothing.

One thread with an event loop serves all connections, one request each. Their number and their time are bounded: the
oldest connection is closed for a new one beyond the bound, so that idle ones keep no probe out.
"""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not bound to)

MAX_CONNECTIONS = 64

REQUEST_S = 5.0
"""How long a request may take to arrive, its headers included."""

RESPONSE_S = 30.0
"""How long a response may take to be made and read."""

BACKLOG = 512
"""Connections the system keeps until they are accepted."""

MAX_REQUEST_BYTES = 16_384

SCRAPERS = 2
"""Threads that collect metrics, which may have to wait for engines and for Redis."""


class Watched(Protocol):
    """What the health port asks."""

    def alive(self) -> bool:
        """Return whether the process does its work; if not, it should be restarted."""

    def ready(self) -> bool:
        """Return whether it takes jobs."""

    def state(self) -> dict[str, Any]:
        """Return what a person would want to know."""


class HealthPort:
    """Serves from a thread of its own, so that a busy model does not make the worker look dead."""

    def __init__(self, watched: Watched, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self._pages = _Pages(watched, registry)
        self._socket = _listening(host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        # in the order they came; True once the request is there
        self._connections: dict[asyncio.Task[None], bool] = {}
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Host and port as they turned out; of a port on all addresses, this machine's name."""
        host, port = self._socket.getsockname()[:2]
        return f"{socket.gethostname() if host in EVERYWHERE else host!s}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(REQUEST_S)
            self._loop = self._thread = None
        self._socket.close()
        self._pages.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        starting = asyncio.start_server(self._accept, sock=self._socket, limit=MAX_REQUEST_BYTES)
        server = loop.run_until_complete(starting)
        loop.run_forever()
        server.close()
        for connection in self._connections:
            connection.cancel()
        loop.run_until_complete(asyncio.gather(*self._connections, return_exceptions=True))
        loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        if connection is None:
            raise AssertionError("unreachable")
        self._make_room()
        self._connections[connection] = False
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            self._connections[connection] = True
            async with asyncio.timeout(RESPONSE_S):
                writer.write(await self._response(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # the client is slow, gone, or speaks something else
            pass
        except asyncio.CancelledError:
            # closed for another connection, or at the end: nobody waits for this task
            pass
        finally:
            self._connections.pop(connection, None)
            # what the client does not read must not keep the connection
            writer.transport.abort()

    def _make_room(self) -> None:
        """Close the oldest connection if there are too many, one without its request before one that is answered."""
        if len(self._connections) >= MAX_CONNECTIONS:
            waiting = (connection for connection, requested in self._connections.items() if not requested)
            oldest = next(waiting, next(iter(self._connections)))
            del self._connections[oldest]
            oldest.cancel()

    async def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].partition(b"?")[0].decode("ascii", "replace")
        if method not in {b"GET", b"HEAD"}:
            status, content_type, body = HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET or HEAD expected\n"
        elif path == "/metrics":
            loop = asyncio.get_running_loop()
            status, content_type, body = await loop.run_in_executor(self._pages.scrapers, self._pages.metrics)
        else:
            status, content_type, body = self._pages.page(path)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {content_type}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)


Page = tuple[HTTPStatus, str, bytes]


class _Pages:
    def __init__(self, watched: Watched, registry: CollectorRegistry) -> None:
        self.scrapers = ThreadPoolExecutor(SCRAPERS, "scrape")
        self._watched = watched
        self._registry = registry

    def page(self, path: str) -> Page:
        """Return a page that takes no time to make."""
        checks: dict[str, Callable[[], bool]] = {"/livez": self._watched.alive, "/readyz": self._watched.ready}
        if path not in checks:
            return HTTPStatus.NOT_FOUND, "text/plain", b"expected /livez, /readyz or /metrics\n"
        status = HTTPStatus.OK if checks[path]() else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(self._watched.state()).encode()

    def metrics(self) -> Page:
        """Return the metrics, which may take as long as engines and Redis let it."""
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def close(self) -> None:
        """Begin no more."""
        self.scrapers.shutdown(wait=False, cancel_futures=True)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        undo.pop_all()
    return listener
