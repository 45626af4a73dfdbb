"""Names the fields of a request that do not change its answer, in the response header `x-penstock-ignored`.

A route calls `note_ignored` with the fields it neither uses nor refuses. `IgnoredFields` adds the query parameters
that no route declares, and writes the header of every response, errors and streams included.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producers.gateway.problems import Problem, Refused

HEADER = "x-penstock-ignored"

SCOPE_KEY = "penstock.ignored"
"""The entry of the ASGI scope that collects the names of one request."""

MAX_NAMES = 20
"""More names than this are counted, not written."""

MAX_NAME_LENGTH = 40
"""Characters of a name that are written, before it is percent-encoded."""

MAX_QUERY_FIELDS = 1000
"""More query parameters than this are not looked at; one request line of 64 KiB holds up to 32,000."""

SAFE_CHARACTERS = "[].:"
"""Characters of a name that are written as they are, besides letters, digits and `_-~`."""


class IgnoredFields:
    """Writes `x-penstock-ignored` into the response of every request with ignored fields."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and name its ignored fields in the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names: list[str] = []
        scope[SCOPE_KEY] = names

        async def send_with_names(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = header_value([*names, *undeclared_query(scope)])
                added = [(HEADER.encode(), value.encode())] if value else []
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_names)


def note_ignored(request: Request, names: Iterable[str]) -> None:
    """Name fields of a request in `x-penstock-ignored`, in any spelling: the header is escaped and bounded here.

    A route calls it before its response starts: for a field it does not know, and for one that it knows and that
    changes nothing, such as `user`. A field that is null is absent and needs no name. Repeated names are written once.
    """
    names_of(request).extend(names)


def names_of(request: Request) -> list[str]:
    """Return the list that collects the ignored names of a request."""
    names: list[str] = request.scope.setdefault(SCOPE_KEY, [])
    return names


def given_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without those that are null: null means "not given" on every route."""
    return {name: value for name, value in fields.items() if value is not None}


def unknown_fields(fields: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return the names of the fields that are given and not known, in their order.

    A JSON null and the empty text of a form field are not given.
    """
    return [name for name, value in fields.items() if name not in known and value is not None and value != ""]


async def note_unknown_form_fields(
    request: Request, known: Collection[str], *, lists: Collection[str] = frozenset()
) -> None:
    """Name the fields of a request's form, files included, that are not in `known`.

    Raises `Refused` if a known field is there twice: one of its values would be lost. A list's name ends with `[]`, or
    is one of `lists`.
    """
    items = (await request.form()).multi_items()
    note_ignored(request, unknown_fields(dict(items), known))
    counts = Counter(name for name, _ in items)
    for name in known:
        if counts[name] > 1 and not name.endswith("[]") and name not in lists:
            raise Refused(
                Problem(422, "invalid_input", f"{name} must be given once, got it {counts[name]} times", param=name)
            )


def undeclared_query(scope: Scope) -> list[str]:
    """Return the names of the query parameters that the route of a request does not declare."""
    query = scope.get("query_string", b"")
    if not query:
        return []
    route = scope.get("route")
    declared = {field.alias for field in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        return ["query"]
    return [name for name, _ in pairs if name not in declared]


def header_value(names: Iterable[str]) -> str:
    """Return names as the value of a header: comma-separated, each once, "" without any.

    A name is cut to `MAX_NAME_LENGTH` characters and percent-encoded, so that no text of a caller can end the header or
    look like another name. Of more than `MAX_NAMES` names the rest is counted: `a, b, +3 more`.

    >>> header_value(["user", "x, y", "user"])
    'user, x%2C%20y'
    """
    written = dict.fromkeys(_escaped(name) for name in names)
    shown = list(written)[:MAX_NAMES]
    rest = len(written) - len(shown)
    return ", ".join([*shown, *([f"+{rest} more"] if rest else [])])


def _escaped(name: str) -> str:
    # an empty name would leave a blank at the end of the header, which HTTP does not allow
    return quote(name[:MAX_NAME_LENGTH], safe=SAFE_CHARACTERS, errors="replace") or '""'
