"""HEAD, which load balancers and monitors send, for every route that answers GET."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Answers HEAD with the status and headers that GET would have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, HEAD as GET."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _headers_only(send))
        else:
            await self._app(scope, receive, send)


def _headers_only(send: Send) -> Send:
    """Return a `send` that ends the response behind its headers, so that a stream of events is not followed."""

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body"})

    return send_headers
