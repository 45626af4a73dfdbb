"""The one place where redis-py connections are made, so that every one of them has the same, stated habits."""

from asyncio import StreamReader
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from redis.asyncio.connection import Connection as AwaitingTcp
from redis.asyncio.connection import ConnectionPool as AwaitingPool
from redis.asyncio.connection import SSLConnection as AwaitingTls
from redis.asyncio.connection import UnixDomainSocketConnection as AwaitingUnix
from redis.asyncio.retry import Retry as AwaitingRetry
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.connection import ConnectionPool as BlockingPool
from redis.retry import Retry as BlockingRetry

from rpc.calls import Command, Round
from rpc.redis_url import CERT_REQS, DEFAULT_PORT, TRUTH, RedisUrl
from rpc.scripts import SCRIPTS
from rpc.settings import RedisSettings

LOAD_SCRIPTS: tuple[Command, ...] = tuple(("SCRIPT", "LOAD", script.text) for script in SCRIPTS.values())


class BlockingRaw(Protocol):
    """What is used of redis-py's connection, which is untyped."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float) -> bool: ...
    def pack_commands(self, commands: Round) -> Sequence[bytes]: ...
    def send_packed_command(self, command: Sequence[bytes], *, check_health: bool) -> None: ...
    def send_command(self, *args: str, check_health: bool) -> None: ...
    def read_response(self) -> Any: ...


class AwaitingRaw(Protocol):
    """The same of its asyncio connection."""

    _reader: StreamReader | None

    async def connect(self) -> None: ...
    async def disconnect(self, *, nowait: bool = False) -> None: ...
    def pack_commands(self, commands: Round) -> Sequence[bytes]: ...
    async def send_packed_command(self, command: Sequence[bytes], *, check_health: bool) -> None: ...
    async def send_command(self, *args: str, check_health: bool) -> None: ...
    async def read_response(self, *, timeout: float | None = None, disconnect_on_error: bool = True) -> Any: ...


def _pack(commands: Round) -> list[bytes]:
    return [pack_command(command) for command in commands]


try:
    # redis-py packs with hiredis where it blocks, but not where it awaits
    from hiredis import pack_command

    fast_pack: Callable[[Round], Sequence[bytes]] | None = _pack
except ImportError:
    fast_pack = None


def _habits(settings: RedisSettings, block_s: float) -> dict[str, Any]:
    # RESP2: its replies have one shape in redis-py 5 to 8. No retries: redis-py repeats what is not safe to repeat.
    habits: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": settings.socket_timeout_s + block_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "health_check_interval": 0,
        "decode_responses": False,
    }
    return habits | _location(settings.server)


def _location(server: RedisUrl) -> dict[str, Any]:
    """Return what redis-py's connections take of an address."""
    location: dict[str, Any] = {
        "db": server.db or 0,
        "username": server.username or None,
        "password": server.password,
        **server.options,
    }
    if server.scheme == "unix":
        return {**location, "path": server.path}
    if "ssl_cert_reqs" in server.options:
        location["ssl_cert_reqs"] = CERT_REQS[server.options["ssl_cert_reqs"].lower()]
    if "ssl_check_hostname" in server.options:
        location["ssl_check_hostname"] = TRUTH[server.options["ssl_check_hostname"].lower()]
    return {**location, "host": server.host, "port": server.port or DEFAULT_PORT, "socket_keepalive": True}


def blocking(settings: RedisSettings, *, block_s: float = 0.0) -> BlockingRaw:
    """Return a connection, not yet open, whose commands block up to `block_s` seconds on the server's side."""
    kinds = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
    habits = _habits(settings, block_s)
    # a pool fills in what a connection takes only from one
    pool: Any = BlockingPool(kinds[settings.server.scheme], retry=BlockingRetry(NoBackoff(), 0), **habits)
    return cast("BlockingRaw", pool.make_connection())


def awaiting(settings: RedisSettings) -> AwaitingRaw:
    """Return an asyncio connection, not yet open."""
    kinds = {"redis": AwaitingTcp, "rediss": AwaitingTls, "unix": AwaitingUnix}
    # bounded around a whole exchange instead of around each of its replies
    habits = _habits(settings, 0.0) | {"socket_timeout": None}
    pool: Any = AwaitingPool(kinds[settings.server.scheme], retry=AwaitingRetry(NoBackoff(), 0), **habits)
    return cast("AwaitingRaw", pool.make_connection())
