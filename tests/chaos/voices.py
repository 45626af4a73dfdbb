"""Both clients behind one awaited face, so that every caller of a run behaves the same whichever it has."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from rpc import AsyncClient, Client, RedisSettings, RpcError
from tests.chaos.errands import Errand
from tests.chaos.ledger import OP
from tests.chaos.relays import SINK

T = TypeVar("T")


class Voice(Protocol):
    """What a caller asks with."""

    @property
    def name(self) -> str:
        """What the history calls it."""

    async def call(self, errand: Errand) -> Mapping[str, Any]:
        """Queue the job, unless it is queued already, and return its result."""

    async def submit(self, errand: Errand) -> None:
        """Queue the job, unless it is queued already."""

    async def fetch(self, errand: Errand, *, timeout_s: float) -> Mapping[str, Any]:
        """Return the result of a job that was queued before."""

    async def interrupt(self, errand: Errand, *, after_s: float) -> None:
        """Wait for the result of a job, and stop waiting after so long in the way of this client's users."""

    async def cancel(self, errand: Errand) -> str:
        """Cancel a job; return what came of it."""

    async def close(self) -> None:
        """Close the client."""


def _arguments(errand: Errand, keep_s: float) -> dict[str, Any]:
    sink = {"sink": SINK} if errand.sunk else {}
    return {"job_id": errand.job, "lane": errand.lane, "timeout_s": errand.ttl_s, "keep_s": keep_s, **sink}


class Awaiting:
    """The asyncio client."""

    def __init__(self, settings: RedisSettings, *, way: str, keep_s: float) -> None:
        self.name = f"asyncio, {way}"
        self._client = AsyncClient(settings=settings)
        self._keep_s = keep_s

    async def call(self, errand: Errand) -> Mapping[str, Any]:
        """Queue the job, unless it is queued already, and return its result."""
        values = [cargo.value() for cargo in errand.cargo]
        return await self._client.call(errand.model, OP, values, **_arguments(errand, self._keep_s))

    async def submit(self, errand: Errand) -> None:
        """Queue the job, unless it is queued already."""
        values = [cargo.value() for cargo in errand.cargo]
        await self._client.submit(errand.model, OP, values, **_arguments(errand, self._keep_s))

    async def fetch(self, errand: Errand, *, timeout_s: float) -> Mapping[str, Any]:
        """Return the result of a job that was queued before."""
        return await self._client.result(errand.model, errand.job, timeout_s=timeout_s)

    async def interrupt(self, errand: Errand, *, after_s: float) -> None:
        """Wait for the result of a job, and cancel the waiting task after so long."""
        with contextlib.suppress(TimeoutError, RpcError):
            async with asyncio.timeout(after_s):
                await self._client.result(errand.model, errand.job, timeout_s=errand.ttl_s)

    async def cancel(self, errand: Errand) -> str:
        """Cancel a job; return what came of it."""
        return await self._client.cancel(errand.model, errand.job)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


class Threaded:
    """The blocking client, each call in a thread."""

    def __init__(self, settings: RedisSettings, threads: ThreadPoolExecutor, *, way: str, keep_s: float) -> None:
        self.name = f"blocking, {way}"
        self._client = Client(settings=settings)
        self._threads = threads
        self._keep_s = keep_s

    async def _run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def call(self, errand: Errand) -> Mapping[str, Any]:
        """Queue the job, unless it is queued already, and return its result."""
        values = [cargo.value() for cargo in errand.cargo]
        return await self._run(self._client.call, errand.model, OP, values, **_arguments(errand, self._keep_s))

    async def submit(self, errand: Errand) -> None:
        """Queue the job, unless it is queued already."""
        values = [cargo.value() for cargo in errand.cargo]
        await self._run(self._client.submit, errand.model, OP, values, **_arguments(errand, self._keep_s))

    async def fetch(self, errand: Errand, *, timeout_s: float) -> Mapping[str, Any]:
        """Return the result of a job that was queued before."""
        return await self._run(self._client.result, errand.model, errand.job, timeout_s=timeout_s)

    async def interrupt(self, errand: Errand, *, after_s: float) -> None:
        """Wait for the result of a job until the timeout, which comes after so long."""
        with contextlib.suppress(RpcError):
            await self._run(self._client.result, errand.model, errand.job, timeout_s=after_s)

    async def cancel(self, errand: Errand) -> str:
        """Cancel a job; return what came of it."""
        outcome: str = await self._run(self._client.cancel, errand.model, errand.job)
        return outcome

    async def close(self) -> None:
        """Close the client."""
        await self._run(self._client.close)
