"""An API that asks a model and waits, with one client for the life of the application."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from rpc import AsyncClient, QueueFull, RpcError


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one client: any number of requests share its two connections."""
    async with AsyncClient() as client:
        app.state.models = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/shout")
async def shout(request: Request, text: str) -> dict[str, Any]:
    """Ask, and wait two seconds at most; a caller who leaves has its job cancelled."""
    client: AsyncClient = request.app.state.models
    try:
        result = await client.call("upper", "upper", [text], timeout_s=2.0, cancel_abandoned=True)
    except QueueFull as full:
        raise HTTPException(429, str(full), {"retry-after": str(round(full.retry_after_s))}) from full
    except RpcError as error:
        raise HTTPException(422 if error.fault == "caller" else 503, str(error)) from error
    return {"text": result["texts"][0]}
