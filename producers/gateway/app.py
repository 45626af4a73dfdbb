"""The application: routes, and what stands in front of them all."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from functools import cache

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

from producers.gateway import (
    catalogue,
    embeddings,
    health,
    ignored_fields,
    jobs,
    origin,
    problems,
    transcriptions,
    truncation,
)
from producers.gateway.access import Access, Origins
from producers.gateway.answers import Answers
from producers.gateway.bodies import Bodies
from producers.gateway.closing import Closing
from producers.gateway.content_encoding import ContentEncoding
from producers.gateway.description import completed
from producers.gateway.desk import Desk
from producers.gateway.envelope import Envelope
from producers.gateway.express import Express, handlers_of
from producers.gateway.heads import Heads
from producers.gateway.hosts import Hosts, names_of
from producers.gateway.ignored_fields import IgnoredFields
from producers.gateway.problems import ABSENT, INVALID, Problem, Refused
from producers.gateway.refusals import response_for
from producers.gateway.room import AnswerRoom
from producers.gateway.root_path import RootPath, route_path
from producers.gateway.settings import GatewaySettings
from producers.gateway.uploads import with_remedy
from rpc import RedisSettings
from rpc.errors import RpcError

ROUTES = (jobs, embeddings, origin, transcriptions, catalogue, health)

HOT = ("/v1/jobs", "/v1/embeddings")

EXPOSED_HEADERS = (
    *("location", "retry-after", "x-request-id", "x-should-retry"),
    *(ignored_fields.HEADER, truncation.HEADER),
    *("x-total-time", "x-queue-time", "x-prepare-time", "x-inference-time", "x-compute-time"),
)
"""Response headers that a browser hands to pages of the origins named."""

ABOUT = "Preloaded models behind a durable queue: the routes of OpenAI, of the model service, and jobs."


def create_app(settings: GatewaySettings, redis: RedisSettings) -> FastAPI:
    """Return the gateway as an ASGI application; it speaks to Redis while its lifespan lasts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk = app.state.desk = Desk(settings, redis)
        looking = asyncio.create_task(desk.directory.run())
        # what is there now stays: a full collection would look at all of it, and hold the loop for as long
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await desk.close()

    app = FastAPI(title="Penstock", description=ABOUT, lifespan=lifespan, middleware=_front(settings), redoc_url=None)
    # routes are tried in this order: those asked most come first
    for each in ROUTES:
        # taken over one by one: FastAPI would look into each router at every request
        app.router.routes.extend(each.router.routes)
    described = app.openapi
    # FastAPI's own way to say more; the description is made once
    app.openapi = cache(lambda: completed(described(), keyed=bool(settings.api_keys)))  # type: ignore[method-assign]
    app.add_exception_handler(RpcError, _on_rpc_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(StarletteHTTPException, _on_http)
    return app


def _front(settings: GatewaySettings) -> list[Middleware]:
    """Return what a request passes through on its way to a route, in that order."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    keys, origins = settings.api_keys, settings.cors_origins
    # a page of another origin does not know a key
    access = Middleware(Access, keys=keys) if keys else Middleware(Origins, named=origins)
    # nor does one that reaches the gateway under a name of its own
    checks_hosts = bool(settings.allowed_hosts) or not keys
    hosts = [settings.host, *settings.allowed_hosts, *names_of(origins)]
    limits = {"most": settings.max_body_bytes, "most_together": settings.max_bodies_bytes}
    return [
        Middleware(Closing),
        Middleware(Envelope),
        Middleware(Answers, room=AnswerRoom(settings.max_answers_bytes), timeout_s=settings.answer_timeout_s),
        Middleware(Heads),
        *([Middleware(RootPath, prefix=settings.root_path)] if settings.root_path else []),
        *([Middleware(Hosts, names=hosts)] if checks_hosts else []),
        *([cors] if settings.cors_origins else []),
        access,
        Middleware(ContentEncoding),
        Middleware(IgnoredFields),
        Middleware(Bodies, timeout_s=settings.body_timeout_s, **limits),
        Middleware(Express, handlers=handlers_of([each.router for each in ROUTES], HOT)),
    ]


async def _on_rpc_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RpcError):
        raise error
    return response_for(request.scope, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [with_remedy(request, fault) for fault in error.errors()]
    return problems.response(problems.of_faults(faults, listed=route_path(request.scope) in origin.PATHS))


CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


async def _on_http(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        return response_for(request.scope, error)
    if not isinstance(error, HTTPException | StarletteHTTPException):
        raise error
    kind = ABSENT if error.status_code == 404 else INVALID  # noqa: PLR2004 (OpenAI's type of it)
    problem = Problem(error.status_code, CODES.get(error.status_code, "http_error"), str(error.detail), kind)
    told = problems.response(problem)
    told.headers.update(error.headers or {})
    return told
