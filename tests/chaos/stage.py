"""The servers of a run, their clock, and the addresses that lead to the master."""

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from rpc import RedisSettings
from tests.chaos.clock import ServerClock
from tests.chaos.errands import INLINE_BYTES
from tests.chaos.replication import ReplicatedServer
from tests.proxy import Proxy
from tests.servers import Kind


@dataclass(frozen=True, slots=True)
class Ways:
    """The proxies in front of the master.

    Attributes:
        callers: the way of half of the callers, on which connections fail.
        worker: the way of one worker, on which connections fail.
        steady: the way of all others, which only follows the master.
    """

    callers: Proxy
    worker: Proxy
    steady: Proxy


class Stage:
    """The servers of a run and the addresses that lead to their master."""

    def __init__(self, kind: Kind, directory: Path, running: contextlib.ExitStack, *, fsync: str) -> None:
        self.clock = ServerClock(directory)
        environment = self.clock.environment
        self.server = running.enter_context(ReplicatedServer(kind, directory, fsync=fsync, environment=environment))
        callers, worker, steady = (running.enter_context(self.server.proxy()) for _ in range(3))
        self.ways = Ways(callers=callers, worker=worker, steady=steady)
        self.prefix = f"chaos-{uuid.uuid4().hex[:8]}"
        self.direct = self._settings(steady.url, socket_timeout_s=5.0)

    def _settings(self, url: str, *, socket_timeout_s: float) -> RedisSettings:
        given = {"socket_timeout_s": socket_timeout_s, "inline_bytes": INLINE_BYTES, "sweep_s": 1.0}
        return RedisSettings.from_env({}, url=url, prefix=self.prefix, **given)

    @property
    def unproxied(self) -> RedisSettings:
        """Return settings that lead straight to the present master."""
        return self._settings(self.server.master.url, socket_timeout_s=5.0)

    def through(self, proxy: Proxy) -> RedisSettings:
        """Return settings of somebody impatient behind a proxy."""
        return self._settings(proxy.url, socket_timeout_s=1.0)
