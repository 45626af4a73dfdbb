"""`/health`, `/metrics` and `/`: for load balancers, scrapers, and who looks what this is."""

import time
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from producers.gateway.desk import Desk, desk_of
from rpc.errors import RpcError
from rpc.model_service import health

router = APIRouter(tags=["operation"])


@router.get("/health")
async def tell_health(request: Request) -> Response:
    """Return status, models_loaded, device, memory_used_gb and uptime_seconds; 503 if no work would be done."""
    status, told = state_of(desk_of(request))
    return Response(to_json(told), status, media_type="application/json")


def state_of(desk: Desk) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status of the gateway's health, and what is told with it."""
    empty = {"models_loaded": [], "device": "", "memory_used_gb": 0.0, "uptime_seconds": 0.0}
    try:
        states = desk.directory.states()
        if desk.scaling and not any(state.workers for state in states):
            # its callers start the workers: a gateway that nobody is sent to would never have one
            return 200, {"status": "idle", **empty}
        told = health(states, time.time())
    except RpcError as error:
        return 503, {"status": "unhealthy", **empty, "reason": str(error)}
    stalled = desk.directory.stalled()
    if stalled:
        reason = f"work waits and none is done, of {', '.join(stalled)}"
        return 503, {**told, "status": "unhealthy", "reason": reason}
    return 200, told


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return the gateway's metrics in Prometheus' text format."""
    return Response(desk_of(request).metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/")
async def about(request: Request) -> Response:
    """Return what this is, and where it is described."""
    prefix = request.scope.get("root_path", "")
    paths = {"docs": "/docs", "health": "/health", "models": "/v1/models"}
    told = {"service": "penstock gateway", **{name: prefix + path for name, path in paths.items()}}
    return Response(to_json({**told, "status": state_of(desk_of(request))[1]["status"]}), media_type="application/json")
