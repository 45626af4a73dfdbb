"""Keys of callers, and without keys origins of pages: checked before a request costs anything else."""

import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.owners import SCOPE_KEY, owner_of
from producers.gateway.problems import Problem
from producers.gateway.root_path import route_path

OPEN = frozenset({"/", "/health", "/metrics", "/docs", "/openapi.json"})
"""What says nothing of anybody's data, and is asked by load balancers, scrapers and newcomers."""

DENIED = Problem(401, "invalid_api_key", "name one of the gateway's keys: Authorization: Bearer <key>")


CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods of requests that make or end something; the others give nothing to pages that CORS does not let read."""

FOREIGN = Problem(
    403, "foreign_origin", "pages of this origin may not call; PENSTOCK_CORS_ORIGINS names those that may"
)


def value_of(scope: Scope, name: bytes) -> bytes:
    """Return a header of a request; b"" if it has none."""
    return next((value for given, value in scope["headers"] if given == name), b"")


class Access:
    """Lets requests through that name one of the keys."""

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr]) -> None:
        self._app = app
        secrets = [key.get_secret_value().encode() for key in keys]
        self._owners = {secret: owner_of(secret) for secret in secrets}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its owner's name, or answer that it is not let in."""
        if scope["type"] == "http" and route_path(scope) not in OPEN:
            owner = self._owner(scope)
            if owner is None:
                await problems.response(DENIED)(scope, receive, send)
                return
            scope[SCOPE_KEY] = owner
        await self._app(scope, receive, send)

    def _owner(self, scope: Scope) -> str | None:
        scheme, _, key = value_of(scope, b"authorization").partition(b" ")
        # every key is compared, so that the time tells nothing of which one was close
        matches = [owner for known, owner in self._owners.items() if hmac.compare_digest(key.strip(), known)]
        return matches[0] if matches and scheme.lower() == b"bearer" else None


class Origins:
    """Refuses what a browser sends for a page of another origin, but those named: where no key is asked for.

    A page may send a plain form or text to any address its visitor reaches, and need not read the answer.
    """

    def __init__(self, app: ASGIApp, named: Sequence[str]) -> None:
        self._app = app
        self._named = {origin.encode() for origin in named}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that its page may not call."""
        if scope["type"] != "http" or scope["method"] not in CHANGING or self._admits(scope):
            await self._app(scope, receive, send)
        else:
            await problems.response(FOREIGN)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        origin = value_of(scope, b"origin")
        if not origin or not self._named.isdisjoint({origin, b"*"}):
            return True
        # the scheme is the proxy's in front
        return origin.partition(b"://")[2].lower() == value_of(scope, b"host").lower() != b""
