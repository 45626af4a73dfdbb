"""The means by which a chaos run breaks things: each one breaks what it says, and what it says heals again."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.chaos.clock import ServerClock
from tests.chaos.replication import ReplicatedServer
from tests.proxy import Proxy
from tests.servers import KINDS, Kind, binary
from tests.waiting import eventually

pytestmark = pytest.mark.server


@contextlib.contextmanager
def connected(proxy: Proxy, *, socket_timeout: float = 5.0) -> Iterator["Redis"]:
    """Return a connection through a proxy that fails at once and is never repeated."""
    with Redis.from_url(proxy.url, protocol=2, socket_timeout=socket_timeout, retry=None) as redis:
        yield redis


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind of server that is installed."""
    kind: Kind = request.param
    if binary(kind) is None:
        pytest.skip(f"{kind} is not installed")
    return kind


def test_replicated_server_switches_roles_without_loss(kind: Kind, tmp_path: Path) -> None:
    """A connection to the demoted master is refused its writes; a new one finds all data at the new master."""
    with ReplicatedServer(kind, tmp_path, fsync="always", environment={}) as server, server.proxy() as proxy:
        with connected(proxy) as redis:
            redis.set("name", "value")

            assert server.switch()

            with pytest.raises(ReadOnlyError):
                redis.set("name", "other")
        with connected(proxy) as redis:
            assert redis.get("name") == b"value"
            assert redis.set("name", "other")


def test_replicated_server_refuses_writes_while_its_disk_is_full(kind: Kind, tmp_path: Path) -> None:
    """Writes are refused once one could not reach the disk, and accepted once there is room."""
    with (
        ReplicatedServer(kind, tmp_path, fsync="always", environment={}) as server,
        server.proxy() as proxy,
        connected(proxy) as redis,
    ):
        redis.set("name", "value")

        def refused() -> bool:
            with contextlib.suppress(ResponseError):
                redis.set("name", "other")
                return False
            return True

        with server.full_disk():
            eventually(refused)
        assert redis.set("name", "third")


def test_server_clock_steps_while_the_server_runs(kind: Kind, tmp_path: Path) -> None:
    """The wall clock of a running server follows the offset in both directions."""
    clock = ServerClock(tmp_path)
    if not clock.available:
        pytest.skip("no C compiler is installed")
    with (
        ReplicatedServer(kind, tmp_path, fsync="always", environment=clock.environment) as server,
        server.proxy() as proxy,
        connected(proxy) as redis,
    ):

        def ahead_s() -> float:
            seconds, microseconds = redis.time()
            return float(seconds) + float(microseconds) / 1e6 - time.time()

        for offset_s in (100.0, -100.0, 0.0):
            clock.set(offset_s)
            eventually(lambda offset_s=offset_s: abs(ahead_s() - offset_s) < 5.0)  # type: ignore[misc]


def test_proxy_cuts_a_reply_in_its_middle(kind: Kind, tmp_path: Path) -> None:
    """The client gets the beginning of the reply, and then the end of its connection."""
    with ReplicatedServer(kind, tmp_path, fsync="always", environment={}) as server, server.proxy() as proxy:
        with connected(proxy) as redis:
            redis.set("name", "v" * 1000)
            proxy.cut_reply_to(b"MGET", after_bytes=500)
            with pytest.raises(RedisConnectionError):
                redis.mget("name")
        with connected(proxy) as redis:
            assert redis.mget("name") == [b"v" * 1000]


def test_proxy_swallows_the_connections_that_are_open(kind: Kind, tmp_path: Path) -> None:
    """Nothing passes an open connection any more, and neither end is told; a new one works."""
    with ReplicatedServer(kind, tmp_path, fsync="always", environment={}) as server, server.proxy() as proxy:
        with connected(proxy, socket_timeout=0.3) as redis:
            assert redis.ping()
            proxy.swallow()
            with pytest.raises(RedisTimeoutError):
                redis.set("name", "value")
        with connected(proxy) as redis:
            assert redis.get("name") is None


def _read_all(subscriber: "PubSub") -> None:
    while subscriber.get_message(timeout=5.0):
        pass


def test_a_subscriber_that_reads_nothing_is_disconnected(kind: Kind, tmp_path: Path) -> None:
    """The server ends the connection of a subscriber whose messages it would have to hold back."""
    with (
        ReplicatedServer(kind, tmp_path, fsync="always", environment={}) as server,
        server.proxy() as proxy,
        connected(proxy) as redis,
        redis.pubsub() as subscriber,  # type: ignore[no-untyped-call]  # redis-py has no types here
    ):
        subscriber.subscribe("channel")
        assert subscriber.get_message(timeout=5.0)
        with proxy.slow_subscribers():
            server.flood("chan*")
        with pytest.raises(RedisConnectionError):
            _read_all(subscriber)
