"""arq: one client for the life of a worker, in its context."""

import os
from typing import Any, ClassVar

from arq import Retry
from arq.connections import RedisSettings

from rpc import AsyncClient, QueueFull


async def start(ctx: dict[str, Any]) -> None:
    """Make the client, on the worker's loop."""
    ctx["models"] = AsyncClient()


async def stop(ctx: dict[str, Any]) -> None:
    """Close it."""
    await ctx["models"].close()


async def shout(ctx: dict[str, Any], text: str) -> str:
    """Ask and wait, under the job's own id; a full queue has it tried again."""
    try:
        result = await ctx["models"].call("upper", "upper", [text], timeout_s=60, job_id=f"arq:{ctx['job_id']}")
    except QueueFull as full:
        raise Retry(defer=full.retry_after_s * 2 ** ctx["job_try"]) from full
    answer: str = result["texts"][0]
    return answer


class WorkerSettings:
    """What `arq examples.arq_app.WorkerSettings` runs."""

    functions: ClassVar = [shout]
    on_startup, on_shutdown = start, stop
    redis_settings = RedisSettings.from_dsn(os.environ["ARQ_URL"])
