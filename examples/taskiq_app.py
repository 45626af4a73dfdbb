"""taskiq: one client for the life of a worker, in its state."""

import os
from typing import Annotated

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from rpc import AsyncClient

broker = ListQueueBroker(os.environ["TASKIQ_URL"]).with_result_backend(
    RedisAsyncResultBackend(os.environ["TASKIQ_URL"])
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Make the client, on the worker's loop."""
    state.models = AsyncClient()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(state: TaskiqState) -> None:
    """Close it."""
    await state.models.close()


@broker.task
async def shout(text: str, context: Annotated[Context, TaskiqDepends()]) -> str:
    """Ask and wait, under the task's own id."""
    client: AsyncClient = context.state.models
    result = await client.call("upper", "upper", [text], timeout_s=60, job_id=context.message.task_id)
    answer: str = result["texts"][0]
    return answer
