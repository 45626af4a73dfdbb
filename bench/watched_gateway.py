"""A gateway that measures how late its own event loop is, and tells at `/lag`, from one question to the next."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI

from producers.gateway.app import create_app
from producers.gateway.settings import GatewaySettings
from producers.load import quantile
from rpc import RedisSettings

TICK_S = 0.002


def watched() -> FastAPI:
    """Return the gateway with its watch."""
    app = create_app(GatewaySettings.from_env(), RedisSettings.from_env())
    late: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            late.append(max(0.0, time.perf_counter() - due))

    whole = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(served: FastAPI) -> AsyncIterator[None]:
        async with whole(served):
            watching = asyncio.create_task(watch())
            yield
            watching.cancel()

    app.router.lifespan_context = lifespan

    @app.get("/lag")
    async def lag() -> dict[str, float]:
        seen = sorted(late)
        late.clear()
        if not seen:
            return {"ticks": 0}
        last = {"p999_ms": quantile(seen, 0.999) * 1000, "worst_ms": seen[-1] * 1000}
        return {"ticks": len(seen), "p50_ms": quantile(seen, 0.5) * 1000, **last}

    return app


if __name__ == "__main__":
    uvicorn.run(watched(), host="127.0.0.1", port=0, access_log=False)
