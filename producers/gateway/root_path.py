"""The path under which a proxy publishes the gateway, whether it cuts that path off or not."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Puts every path into ASGI's form: the prefix is `root_path`, and `path` begins with it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            path = scope["path"]
            behind = path.removeprefix(self._prefix)
            if path != self._prefix and (behind == path or not behind.startswith("/")):
                behind = path
            scope = {**scope, "root_path": self._prefix, "path": self._prefix + (behind or "/")}
        await self._app(scope, receive, send)


def route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
