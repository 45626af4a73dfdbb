"""Who may call: whoever names a key, in front of everything else a request may cost."""

import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import Problem

OPEN = frozenset({"/", "/health", "/metrics", "/docs", "/openapi.json"})
"""What says nothing of anybody's data, and is asked by load balancers, scrapers and newcomers."""

DENIED = Problem(401, "invalid_api_key", "name one of the gateway's keys: Authorization: Bearer <key>")


class Access:
    """Lets requests through that name one of the keys; everybody if there are none."""

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr]) -> None:
        self._app = app
        self._keys = [key.get_secret_value().encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it is not let in."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._admits(scope):
            await self._app(scope, receive, send)
        else:
            await problems.response(DENIED)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if not self._keys:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        # every key is compared, so that the time tells nothing of which one was close
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        return scheme.lower() == b"bearer" and any(matches)
