"""The one place where redis-py connections are made, so that every one of them has the same, stated habits."""

from typing import Any

from redis.asyncio.connection import AbstractConnection as AwaitingRaw
from redis.asyncio.connection import ConnectionPool as AwaitingPool
from redis.asyncio.retry import Retry as AwaitingRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection as BlockingRaw
from redis.connection import ConnectionPool as BlockingPool
from redis.retry import Retry as BlockingRetry

from rpc.calls import Command
from rpc.scripts import SCRIPTS
from rpc.settings import RedisSettings

LOAD_SCRIPTS: tuple[Command, ...] = tuple(("SCRIPT LOAD", script.text) for script in SCRIPTS.values())


def _habits(settings: RedisSettings, block_s: float) -> dict[str, Any]:
    # RESP2: its replies have one shape in redis-py 5 to 8. No retries: redis-py repeats what is not safe to repeat.
    return {
        "protocol": 2,
        "socket_timeout": settings.socket_timeout_s + block_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "decode_responses": False,
    }


def blocking(settings: RedisSettings, *, block_s: float = 0.0) -> BlockingRaw:
    """Return a connection, not yet open, whose commands block up to `block_s` seconds on the server's side."""
    url = settings.url.get_secret_value()
    retry = BlockingRetry(NoBackoff(), 0)
    return BlockingPool.from_url(url, retry=retry, **_without_tcp(url, settings, block_s)).make_connection()


def awaiting(settings: RedisSettings) -> AwaitingRaw:
    """Return an asyncio connection, not yet open."""
    url = settings.url.get_secret_value()
    retry = AwaitingRetry(NoBackoff(), 0)
    return AwaitingPool.from_url(url, retry=retry, **_without_tcp(url, settings, 0.0)).make_connection()


def _without_tcp(url: str, settings: RedisSettings, block_s: float) -> dict[str, Any]:
    habits = _habits(settings, block_s)
    if url.startswith("unix:"):
        del habits["socket_keepalive"]
    return habits
