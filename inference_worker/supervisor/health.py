"""The small port: `/livez`, `/readyz` and `/metrics`. Reads the worker's state; changes nothing."""

import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 (compared with, not bound to)


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
        handler = type("Handler", (_Handler,), {"watched": watched, "registry": registry})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def address(self) -> str:
        """Host and port as they turned out; of a port on all addresses, this machine's name."""
        host, port = self._server.server_address[:2]
        return f"{socket.gethostname() if host in EVERYWHERE else host!s}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    watched: Watched
    registry: CollectorRegistry

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.registry))
        elif path == "/livez":
            self._state(well=self.watched.alive())
        elif path == "/readyz":
            self._state(well=self.watched.ready())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /livez, /readyz and /metrics\n")

    def _state(self, *, well: bool) -> None:
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, "application/json", json.dumps(self.watched.state()).encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name http.server passes)
        """Keep probes out of the log."""
