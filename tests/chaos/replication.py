"""Two servers, of which one is the master and the other its replica, until they change roles; both stay alive.

Every address that callers and workers know is a proxy, and all proxies lead to the present master.
"""

import contextlib
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.proxy import Proxy
from tests.servers import Kind, Server
from tests.waiting import eventually

SYNC_S = 4.0
"""How long a replica may take to be in step again before its promotion is given up."""

FAILOVER_MS = 2000

RECOVERY_S = 10.0

FLOOD_ROUNDS, FLOOD_MESSAGES, FLOOD_BYTES = 24, 100, 10_000
"""24 MB for each channel. Valkey does not count the bytes of messages above 16 KiB, which its buffers only refer to."""

OPTIONS = {
    "repl-diskless-sync-delay": ("0",),
    "repl-ping-replica-period": ("1",),
    # a subscriber that is so far behind is disconnected
    "client-output-buffer-limit": ("pubsub", "8mb", "2mb", "1"),
}


class ReplicatedServer:
    """A master with data of its own, and a replica that can take its role."""

    def __init__(self, kind: Kind, directory: Path, *, fsync: str, environment: Mapping[str, str]) -> None:
        self._servers = [
            Server(kind, directory / name, fsync=fsync, options=OPTIONS, environment=environment)
            for name in ("first", "second")
        ]
        self._fsync = fsync
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        """Start both."""
        with contextlib.ExitStack() as started:
            for server in self._servers:
                started.enter_context(server)
            with self._connected(self.replica) as redis:
                redis.replicaof("127.0.0.1", self.master.port)
            self._ending = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self._ending.close()

    @property
    def master(self) -> Server:
        """The server that takes writes."""
        return self._servers[0]

    @property
    def replica(self) -> Server:
        """The other one."""
        return self._servers[1]

    def proxy(self) -> Proxy:
        """Return an address of its own that always leads to the master."""
        proxy = Proxy(self.master)
        self._proxies.append(proxy)
        return proxy

    def tell(self, *command: str) -> None:
        """Send the master a command, whatever becomes of it."""
        # the connection that says it may be among those the command cuts
        with self._connected(self.master) as redis, contextlib.suppress(RedisError):
            redis.execute_command(*command)

    def flood(self, pattern: str) -> None:
        """Publish more on every channel that fits the pattern than the server holds back for a subscriber."""
        with self._connected(self.master) as redis, contextlib.suppress(RedisError):
            channels: Any = redis.pubsub_channels(pattern)
            for _ in range(FLOOD_ROUNDS):
                pipeline = redis.pipeline(transaction=False)
                for channel in channels:
                    for _ in range(FLOOD_MESSAGES):
                        pipeline.publish(channel, bytes(FLOOD_BYTES))
                pipeline.execute()

    def switch(self) -> bool:
        """Let master and replica change roles without loss; return whether they did.

        Open connections stay at the demoted server, which is alive and refuses writes; new ones lead to its successor.
        """
        with contextlib.suppress(RedisError, AssertionError):
            self._wait_for_replica()
            target = str(self.replica.port)
            with self._connected(self.master) as redis:
                redis.execute_command("FAILOVER", "TO", "127.0.0.1", target, "TIMEOUT", str(FAILOVER_MS))
            eventually(lambda: self._role(self.replica) == "master", within_s=SYNC_S)
            self._servers.reverse()
            for proxy in self._proxies:
                proxy.lead_to(self.master)
            return True
        return False

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let the master find no room for what it writes, so that it refuses writes meanwhile."""
        # with `always` it would end itself instead
        self.tell("CONFIG", "SET", "appendfsync", "everysec")
        written = [path.stat().st_size for path in self.master.directory.rglob("*.incr.aof")]
        _limit_files(self.master.pid, max(written, default=0))
        try:
            yield
        finally:
            _limit_files(self.master.pid, resource.RLIM_INFINITY)
            with contextlib.suppress(AssertionError):
                eventually(self._writes, within_s=RECOVERY_S)
            self.tell("CONFIG", "SET", "appendfsync", self._fsync)

    def _wait_for_replica(self) -> None:
        def in_step() -> bool:
            return bool(self._info(self.replica, "replication").get("master_link_status") == "up")

        eventually(in_step, within_s=SYNC_S)

    def _role(self, server: Server) -> object:
        return self._info(server, "replication").get("role")

    def _writes(self) -> bool:
        return bool(self._info(self.master, "persistence").get("aof_last_write_status") == "ok")

    def _info(self, server: Server, section: str) -> Mapping[str, Any]:
        with self._connected(server) as redis, contextlib.suppress(RedisError):
            info: Any = redis.info(section)
            return dict(info)
        return {}

    @staticmethod
    def _connected(server: Server) -> "Redis":
        return Redis.from_url(server.url, protocol=2, socket_timeout=2.0)


def _limit_files(pid: int, most_bytes: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
