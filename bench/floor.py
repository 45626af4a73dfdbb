"""The hand-written loop the echo benchmark is held against: redis-py, no library around it.

Caller: XADD, then BLPOP of a key of its own. Worker: XREADGROUP of up to 64, then one pipeline with RPUSH and
EXPIRE for each reply, one XACK and one XDEL.
"""

import sys
import uuid
from collections.abc import Awaitable
from typing import Any, cast

import redis
import redis.asyncio as aioredis

STREAM, GROUP = "floor:jobs", "floor"
REPLY = b"r" * 4096


def work(url: str) -> None:
    """Answer until killed."""
    server: Any = redis.Redis.from_url(url, protocol=2, socket_timeout=None)
    server.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        found = server.xreadgroup(GROUP, "one", {STREAM: ">"}, count=64, block=1000)
        if not found:
            continue
        entries = found[0][1]
        pipeline = server.pipeline(transaction=False)
        for _, fields in entries:
            pipeline.rpush(fields[b"reply"], REPLY)
            pipeline.expire(fields[b"reply"], 60)
        ids = [entry for entry, _ in entries]
        pipeline.xack(STREAM, GROUP, *ids)
        pipeline.xdel(STREAM, *ids)
        pipeline.execute()


class Caller:
    """Calls from an event loop; each call that waits holds a connection of its own."""

    def __init__(self, url: str, *, most: int) -> None:
        self._redis = aioredis.Redis.from_url(url, protocol=2, max_connections=most + 8, socket_timeout=None)

    async def call(self, payload: bytes) -> bytes:
        """Send one job and return its reply."""
        reply = f"floor:reply:{uuid.uuid4().hex}"
        await cast("Awaitable[Any]", self._redis.xadd(STREAM, {"reply": reply, "payload": payload}))
        answer = await cast("Awaitable[Any]", self._redis.blpop([reply], timeout=30))
        body: bytes = answer[1]
        return body

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


if __name__ == "__main__":
    work(sys.argv[1])
