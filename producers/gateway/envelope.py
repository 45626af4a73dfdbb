"""What every answer carries besides its body: the request's id, and how long it took. A fault is an answer too."""

import logging
import random
import re
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import Problem

log = logging.getLogger(__name__)

REQUEST_ID, TOTAL_TIME = b"x-request-id", b"x-total-time"

FAULT = Problem(500, "gateway_fault", "the gateway failed on this request; its log says why", problems.BROKEN)

_FIT = re.compile(rb"[A-Za-z0-9_.:/+=@-]{1,128}")


class Envelope:
    """Gives each request an id, its own if it came with a fit one, and each answer the same and its time in ms."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
        request_id = given if _FIT.fullmatch(given) else b"%032x" % random.getrandbits(128)

        begun = False

        async def sealed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                took_ms = f"{(time.monotonic() - began) * 1000:.3f}".encode()
                told = [(REQUEST_ID, request_id), (TOTAL_TIME, took_ms)]
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        try:
            await self._app(scope, receive, sealed)
        except ClientDisconnect:
            # it left before it had said all: there is nobody to answer
            return
        except Exception:
            log.exception("request %s failed", request_id.decode())
            if begun:
                raise
            await problems.response(FAULT)(scope, receive, sealed)
