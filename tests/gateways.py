"""A gateway on a real socket: in a thread of the tests, or as the process users start."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn

from producers.gateway.app import create_app
from producers.gateway.server import config_of
from producers.gateway.settings import GatewaySettings
from rpc import RedisSettings
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment


class GatewayThread:
    """A gateway in this process, on a free port of the loopback, until left."""

    def __init__(self, redis: RedisSettings, **given: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.app = create_app(GatewaySettings.from_env({}, **given), redis)
        config = config_of(self.app, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        """Begin, and wait until requests are taken."""
        self._thread.start()
        eventually(lambda: self._server.started or not self._thread.is_alive(), what="the gateway starts")
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._server.should_exit = True
        self._thread.join(LONG_S)
        self._socket.close()


class GatewayProcess:
    """`penstock gateway`, as a user starts it, until left."""

    def __init__(
        self, redis: RedisSettings, directory: Path, env: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self._log = directory / "gateway.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "producers", "gateway", "--port", "0", *arguments],
                cwd=ROOT,
                env=environment(redis, env),
                stderr=log,
                stdout=log,
            )

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text()

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        found = eventually(lambda: self._address() or self.process.poll() is not None, what="the gateway listens")
        if not isinstance(found, str):
            raise AssertionError(f"the gateway ended: {self.log}")  # noqa: TRY004 (it is no wrong type)
        return found

    def _address(self) -> str | None:
        found = re.search(r"running on (http://[\d.]+:\d+)", self.log)
        return found[1] if found else None

    def __enter__(self) -> Self:
        """Return it; it is being started."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(LONG_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
