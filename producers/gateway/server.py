"""`penstock gateway`: this process listens until it is told to stop."""

import asyncio
import logging
import signal
import sys
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from producers.gateway import problems
from producers.gateway.app import create_app
from producers.gateway.problems import Problem
from producers.gateway.settings import GatewaySettings
from producers.gateway.transports import TRANSPORT
from rpc import RedisSettings
from rpc.log_lines import text_handler

GRACE_S = 60
"""How long answers under way are waited for when the gateway is told to stop, in seconds."""


KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than load balancers keep theirs, so that they close it."""


class Protocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc] # uvicorn chooses it at import
    """uvicorn's protocol, which lets the application know how much of an answer its caller has taken, and cut it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note a new connection; its buffer is full as soon as there is something in it."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        self.app_state = {**self.app_state, TRANSPORT: transport}

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the form of all errors, unless an answer is under way, and close."""
        under_way = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not under_way:
            self.transport.write(malformed(msg))
        self.transport.close()


def malformed(message: str) -> bytes:
    """Return the response to a request that is not HTTP: nothing of the application has seen it."""
    response = problems.response(Problem(400, "bad_request", message))
    response.headers["connection"] = "close"
    head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, bytes(response.body))


def config_of(app: ASGIApp, **given: Any) -> uvicorn.Config:
    """Return how uvicorn serves the gateway."""
    return uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, **given)


def serve(settings: GatewaySettings, redis: RedisSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    handler = text_handler(sys.stderr, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if not settings.api_keys:
        logging.getLogger(__name__).warning("no PENSTOCK_API_KEYS: whoever reaches %s may call", settings.host)
    config = config_of(
        create_app(settings, redis),
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises what ended it once more: an end in order is none by a signal
        signal.signal(number, lambda *_: None)
    server.run()
    return 0 if server.started else 1
