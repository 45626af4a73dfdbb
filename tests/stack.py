"""The services of compose.yaml as processes of this machine, without an engine.

Of a container a process here has the command, the environment, and nothing of ours; only where things are differs:
programs, the queue's address, the directory of the volume, and the port, of which a machine has one and not one per
container.
"""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from rpc import RedisSettings
from tests.containers import Service, seconds
from tests.servers import binary, free_port
from tests.waiting import LOAD_S, LONG_S, eventually

BESIDE = Path(sys.executable).parent

HOUSEKEEPING = ("COVERAGE_", "COV_", "LANG", "LC_", "TMPDIR")
"""What of our environment the processes keep: how they are measured, and what any container has too."""


class Place:
    """The machine the containers of a test believe to be on: one queue, one volume, a port for each of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.volume = directory / "volume"
        self.volume.mkdir()
        self.queue_port = free_port()

    @property
    def settings(self) -> RedisSettings:
        """How callers on this machine reach the queue."""
        return RedisSettings.from_env({}, url=f"redis://127.0.0.1:{self.queue_port}/0")

    def line(self, line: Sequence[str]) -> list[str]:
        """Return a command with the programs of this machine."""
        program, *arguments = line
        if program == "valkey-server":
            return [str(binary("valkey")), *arguments, "--port", str(self.queue_port), "--bind", "127.0.0.1"]
        if program == "valkey-cli":
            return [_cli(), "-p", str(self.queue_port), *arguments]
        return [str(BESIDE / program), *arguments]

    def environment(self, service: Service, port: int) -> dict[str, str]:
        """Return what the processes of a container find in their environment, with the places of this machine."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(HOUSEKEEPING)}
        told = {
            name: value.replace("redis://valkey:6379/", f"redis://127.0.0.1:{self.queue_port}/")
            for name, value in service.environment.items()
        }
        mounted = [mount.split(":")[1] for mount in service.volumes]
        told |= {name: str(self.volume) for name, value in told.items() if value in mounted}
        here = {"PATH": f"{BESIDE}{os.pathsep}{os.defpath}", "HOME": str(self.directory), "CUDA_VISIBLE_DEVICES": ""}
        return {**kept, **told, **here, "PENSTOCK_HEALTH_PORT": str(port)}


def _cli() -> str:
    """Return the program that stands in for valkey-cli: Redis' own has the same options."""
    found = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if found is None and os.environ.get("PENSTOCK_REQUIRE_REDIS") != "1":
        pytest.skip("neither valkey-cli nor redis-cli is installed")
    assert found is not None, "neither valkey-cli nor redis-cli is installed"
    return found


class Container:
    """A service's process, as one of its containers would run it."""

    def __init__(self, service: Service, place: Place) -> None:
        self.service = service
        self.port = free_port()
        self._place = place
        self._environment = place.environment(service, self.port)
        self._log = place.directory / f"{service.name}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start what the service runs."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._place.line(self.service.line),
                cwd=self._place.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text("utf-8", "replace")

    def ask(self, path: str) -> int | None:
        """Return the status its health port answers with, or None if there is no answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)
        try:
            link.request("GET", path)
            return link.getresponse().status
        except OSError:
            return None
        finally:
            link.close()

    def run(self, *line: str, more: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command in it, as `docker compose exec` would, or in place of what it runs; return how it ended."""
        return subprocess.run(
            self._place.line(line),
            cwd=self._place.directory,
            env={**self._environment, **(more or {})},
            capture_output=True,
            text=True,
            timeout=LOAD_S,
            check=False,
        )

    def probe(self) -> bool:
        """Run the health check as Docker would; return whether it finds the container healthy."""
        return self.run(*self.service.probe).returncode == 0

    def healthy(self) -> Self:
        """Wait until the health check finds it healthy."""

        def look() -> bool:
            assert self._process is None or self._process.poll() is None, self.log
            return self.probe()

        eventually(look, within_s=LOAD_S, what=f"{self.service.name} is healthy")
        return self

    def wait(self, *, within_s: float = LONG_S) -> int:
        """Return the exit status once it has ended."""
        assert self._process is not None
        return self._process.wait(within_s)

    def stop(self) -> int:
        """Stop it as Docker would, within the time Docker gives it; return the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.Signals[self.service.definition.get("stop_signal", "SIGTERM")])
        return self.wait(within_s=seconds(self.service.definition.get("stop_grace_period", "10s")))

    def close(self) -> None:
        """End it at once, if it has not ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Stack:
    """What `docker compose` would have started."""

    def __init__(self, place: Place, running: contextlib.ExitStack) -> None:
        self._place = place
        self._running = running

    def container(self, name: str, **variables: str) -> Container:
        """Return a container of a service, not started, as it is with these variables set."""
        container = Container(Service.all(variables)[name], self._place)
        self._running.callback(container.close)
        return container

    def queue(self) -> Container:
        """Return the queue, started and healthy."""
        return self.container("valkey").start().healthy()
