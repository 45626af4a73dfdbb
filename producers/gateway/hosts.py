"""Host names the gateway answers to without keys: DNS rebinding reaches it under a page's own name."""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from producers.gateway import problems
from producers.gateway.problems import INVALID, Problem

ANY = "*"

_PORT = re.compile(r":\d{0,5}$")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


class Hosts:
    """Refuses requests whose `Host` is a name that a page of somebody else could have.

    Addresses, localhost and names of one label pass: no domain is registered under one of them.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = [name.lower() for name in names]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that its host is not one of this gateway's."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"host" and not admits(self._names, value.decode("latin-1")):
                    await problems.response(_foreign(value.decode("latin-1")))(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _foreign(host: str) -> Problem:
    text = f"the host {host[:200]!r} is not one of this gateway's; PENSTOCK_ALLOWED_HOSTS names more"
    return Problem(403, "foreign_host", text, INVALID)


def admits(names: Sequence[str], host: str) -> bool:
    """Return whether a `Host` header names an address, a local name, or one of the names; `*.` stands for any label.

    HTTP/1.0 sends none, and browsers always do.
    """
    name = _PORT.sub("", host.strip().lower()).removesuffix(".")
    if not name or _is_address(name) or _LABEL.fullmatch(name) or name.endswith(".localhost"):
        return True
    return any(_matches(pattern, name) for pattern in names)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _matches(pattern: str, name: str) -> bool:
    return pattern in {ANY, name} or (pattern.startswith("*.") and name.endswith(pattern[1:]))


def names_of(origins: Sequence[str]) -> list[str]:
    """Return the host names of origins whose pages may call."""
    return [ANY if origin == ANY else urlsplit(origin).hostname or "" for origin in origins]
