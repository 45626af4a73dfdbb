"""The routes asked most, answered without what FastAPI does around every route; it describes them all the same."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.gateway.problems import Refused
from producers.gateway.refusals import response_for
from producers.gateway.root_path import route_path
from rpc.errors import RpcError

Handler = Callable[[Request], Awaitable[Response]]


class Express:
    """Answers what is asked by one of its methods and paths; passes the others on."""

    def __init__(self, app: ASGIApp, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        handler = self._handlers.get((scope["method"], route_path(scope))) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await handler(Request(scope, receive, send))
        except (RpcError, Refused) as error:
            response = response_for(scope, error)
        await response(scope, receive, send)


def handlers_of(routers: Sequence[APIRouter], paths: Sequence[str]) -> dict[tuple[str, str], Handler]:
    """Return the functions of the routes of these paths, each of which takes the request and nothing else."""
    return {
        (method, route.path): route.endpoint
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path in paths
        for method in route.methods or ()
    }
