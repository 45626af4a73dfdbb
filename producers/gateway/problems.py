"""What went wrong, as HTTP tells it: RFC 9457's fields, and in them the error object OpenAI's clients read. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Response
from fastapi.exceptions import HTTPException
from pydantic_core import to_json

from rpc.errors import PartialFailure, QueueFull, RpcError

MEDIA_TYPE = "application/problem+json"

INVALID, ABSENT, BUSY, BROKEN = "invalid_request_error", "not_found_error", "rate_limit_error", "server_error"
"""OpenAI's types of errors."""

RETRY_AFTER_S = 2.0
"""When to come back if nothing is known about when it will help."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that says why there is no other.

    Attributes:
        status: the HTTP status.
        code: the stable name of what went wrong, an error's `code` where there is one.
        detail: for people.
        kind: what OpenAI's clients call the type of an error.
        param: which part of the request is at fault, or None.
        retry_after_s: after how many seconds it is worth trying again; None if it is not.
        faults: the fields at fault as FastAPI lists them, for routes whose callers look for that in `detail`.
    """

    status: int
    code: str
    detail: str
    kind: str = INVALID
    param: str | None = None
    retry_after_s: float | None = None
    faults: Sequence[Mapping[str, object]] = ()


class Refused(HTTPException):
    """Raised to answer with a problem, from wherever a request is looked at."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.detail)
        self.problem = problem


STATUS: Mapping[str, tuple[int, str]] = {
    "invalid_input": (422, INVALID),
    "partial_failure": (422, INVALID),
    "unknown_model": (404, ABSENT),
    "queue_full": (429, BUSY),
    "timeout": (504, BROKEN),
    "expired": (504, BROKEN),
    "cancelled": (409, INVALID),
    "model_error": (500, BROKEN),
    "dead_lettered": (500, BROKEN),
    "job_lost": (503, BROKEN),
    "unavailable": (503, BROKEN),
}
"""The code of an error -> HTTP status, and OpenAI's type."""


def of(error: Refused | RpcError) -> Problem:
    """Return what was raised as a problem."""
    return error.problem if isinstance(error, Refused) else of_error(error)


def param_of(path: Sequence[str | int]) -> str:
    """Return a path into a request as the `param` of a problem: `("input", 3)` is `input[3]`."""
    first, *rest = path or ("",)
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


def fault(kind: str, path: Sequence[str | int], message: str) -> Mapping[str, object]:
    """Return a field at fault as FastAPI tells it: its path begins with where the field is, as `("body", "text")`."""
    return {"type": kind, "loc": list(path), "msg": message}


NO_FILE = "the part must be a file with a filename, as `curl -F file=@talk.wav` sends it, got a text"
"""What is wrong with a file part without filename: forms have no other way to tell files from texts."""


def of_faults(errors: Sequence[Mapping[str, Any]], *, listed: bool) -> Problem:
    """Return what pydantic finds wrong with a request as a problem; with `listed`, all of it as FastAPI lists it."""
    faults = [fault(error["type"], error["loc"], _reworded(error["msg"])) for error in errors]
    first = errors[0]
    where = param_of([part for part in first["loc"] if part != "body"])
    detail = f"{where}: {_reworded(first['msg'])}"
    return Problem(422, "invalid_input", detail, INVALID, where or None, faults=faults if listed else ())


def _reworded(message: str) -> str:
    return NO_FILE if "Expected UploadFile" in message else message


def of_error(error: RpcError) -> Problem:
    """Return an error of `rpc.errors` as a problem; of several inputs that failed, the first one's."""
    if isinstance(error, PartialFailure) and error.failed:
        place, first = min(error.failed.items())
        return replace(of_error(first), param=param_of(("input", place)), detail=str(error))
    return of_code(
        error.code,
        error.public or str(error),
        retry_after_s=error.retry_after_s if isinstance(error, QueueFull) else None,
    )


def of_code(code: str, message: str, *, retry_after_s: float | None = None) -> Problem:
    """Return what a reply says went wrong as a problem."""
    status, kind = STATUS.get(code, (500, BROKEN))
    if retry_after_s is None and status in {429, 503}:
        retry_after_s = RETRY_AFTER_S
    name = "model_not_found" if code == "unknown_model" else code
    return Problem(status, name, message, kind, "model" if status == 404 else None, retry_after_s)  # noqa: PLR2004


TITLES: Mapping[str, str] = {
    "model_error": "The model failed",
    "dead_lettered": "The job was given up on",
    "gateway_fault": "The gateway failed",
}
"""Of errors that have one of their own."""

TITLES_OF_STATUS: Mapping[int, str] = {
    400: "Bad request",
    401: "Key missing or wrong",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The body came too slowly",
    409: "Cancelled",
    410: "Not kept",
    413: "Too large",
    415: "Media type not supported",
    422: "The request cannot be served as it is",
    429: "The queue is full",
    500: "The server failed",
    503: "Not available now",
    504: "No answer in time",
}

NEVER_AGAIN = {409, 500}
"""Where OpenAI's client would try again although it cannot help."""


def response(problem: Problem) -> Response:
    """Return the answer that tells a problem."""
    headers = {}
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.retry_after_s)))
    if problem.status in NEVER_AGAIN:
        headers["x-should-retry"] = "false"
    if problem.status == 401:  # noqa: PLR2004 (RFC 9110 asks for it)
        headers["www-authenticate"] = "Bearer"
    return Response(to_json(body(problem)), problem.status, headers, MEDIA_TYPE)


def body(problem: Problem) -> dict[str, object]:
    """Return a problem as a map: RFC 9457's fields, and OpenAI's `error`."""
    told = {"message": problem.detail, "type": problem.kind, "param": problem.param, "code": problem.code}
    return {
        "type": f"urn:penstock:error:{problem.code}",
        "title": TITLES.get(problem.code) or TITLES_OF_STATUS.get(problem.status, "Error"),
        "status": problem.status,
        "detail": list(problem.faults) or problem.detail,
        "error": told,
    }
