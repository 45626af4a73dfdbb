"""`/v1/models`: what live workers serve."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from producers.gateway.desk import desk_of
from rpc.inspection import ModelState

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Return the models served now, and those that are started for what waits."""
    served = [_told(state) for state in desk_of(request).listed()]
    return Response(to_json({"object": "list", "data": served}), media_type="application/json")


@router.get("/v1/models/{model:path}")
async def model(request: Request, model: str) -> Response:
    """Return one of them; an alias may have slashes, as names on the hub do."""
    if not model:
        return await models(request)
    state = await desk_of(request).find(model)
    return Response(to_json(_told(state)), media_type="application/json")


def _told(state: ModelState) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": state.model,
        "object": "model",
        "created": int(min((float(about.get("started", 0)) for about in state.told), default=0)),
        "owned_by": "penstock",
        "ops": state.ops,
        "workers": len(state.workers),
    }
    if state.dimension is not None:
        told["dimension"] = state.dimension
    return told
