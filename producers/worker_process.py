"""A worker as a child process, for the demo and the benchmarks: started, waited for, stopped, killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from producers.signals import deaf_children
from producers.worker import COMMAND
from rpc import Client, RpcError, Unavailable
from rpc.inspection import model_state
from rpc.settings import RedisSettings

FOREIGN = ("PENSTOCK_", "REDIS_URL", "BATCH_")
"""What the surroundings must not tell a worker whose settings are given here."""

LOOK_S = 0.02
START_S, STOP_S, CLOSE_S, GRACE_S = 120.0, 15.0, 2.0, 5.0
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Announced:
    """What a ready worker says of itself.

    Attributes:
        name: the consumer's name.
        health: `host:port` of its health port.
        engine: the process that runs the models.
        weights: where the weights of the model come from; "" for the published ones.
    """

    name: str
    health: str
    engine: int
    weights: str

    @classmethod
    def by(cls, name: str, told: Mapping[str, str]) -> Self:
        """Return what a worker of this name has told."""
        return cls(name, told["health"], int(told["pid"]), told.get("weights", ""))


class WorkerProcess:
    """One `python -m inference_worker` and its log."""

    def __init__(
        self, models: Sequence[str], settings: RedisSettings, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._log = log
        self._engine = 0
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        told = {
            "REDIS_URL": settings.url.get_secret_value(),
            "PENSTOCK_PREFIX": settings.prefix,
            "PENSTOCK_DRAIN_GRACE_S": str(GRACE_S),
        }
        line = [*COMMAND, "--models", ",".join(models), "--health-port", "0"]
        with log.open("wb") as output, deaf_children():
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                line,
                env={**inherited, **told, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, true: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Return once something is true; raise `Unavailable` if the worker ends instead, or it takes too long."""
        end = time.monotonic() + within_s
        while not true():
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(LOOK_S)
                raise Unavailable(f"the worker ended with {status} before {what}:\n{self.log_end()}")
            if time.monotonic() > end:
                raise Unavailable(f"{what} not within {within_s:.0f} s:\n{self.log_end()}")

    def wait_until_ready(self, client: Client, model: str) -> Announced:
        """Return what the worker says of itself as soon as it serves the model."""
        found: list[Announced] = []

        def announced() -> bool:
            with suppress(RpcError):
                workers = client.ask(model_state(self._settings.prefix, model)).workers
                # one that is alive may not have got round yet to saying more
                found.extend(
                    Announced.by(name, told) for name, told in workers.items() if f":{self.pid}:" in name and told
                )
            return bool(found)

        self.wait_until(announced, within_s=START_S, what=f"{model} was served")
        self._engine = found[0].engine
        return found[0]

    def stop(self, *, within_s: float = STOP_S) -> int:
        """Ask it to finish what it runs and go, end it if it does not; return its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def freeze(self) -> None:
        """Let its engine do nothing until it is thawed or killed."""
        os.kill(self._engine, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._engine, signal.SIGCONT)

    def kill(self) -> int:
        """End it at once, as a crash would; return its exit status."""
        self._process.kill()
        return self._process.wait(STOP_S)

    def close(self) -> None:
        """End it soon, if it still runs."""
        if self._process.poll() is None:
            self.stop(within_s=CLOSE_S)

    def log_end(self) -> str:
        """Return the last lines it wrote."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-LOG_LINES:])
