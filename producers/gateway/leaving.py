"""Whether a caller is still there: what is done for one who leaves is cancelled."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from producers.gateway.problems import Problem, Refused

QUICK_S = 0.05
"""A request answered within this time is not watched for its caller's leaving."""


class Gone(Refused):
    """The caller left before it was answered."""

    def __init__(self) -> None:
        super().__init__(Problem(499, "caller_gone", "the caller left"))


@contextmanager
def while_connected(request: Request) -> Iterator[None]:
    """Cancel the block, and raise `Gone`, when the caller leaves."""
    task = asyncio.current_task()
    watching: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    # a task for each request would cost more than most requests
    later = asyncio.get_running_loop().call_later(QUICK_S, lambda: watching.append(asyncio.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task is None or task.uncancel():
            raise
        raise Gone from None
    finally:
        later.cancel()
        for each in watching:
            each.cancel()
