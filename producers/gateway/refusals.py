"""Errors as the answers to requests: without what only the operator may read, which goes to the log."""

import logging
import time
from dataclasses import replace

from fastapi import Response
from starlette.types import Scope

from producers.gateway import problems
from producers.gateway.owners import without_owner
from producers.gateway.problems import Problem, Refused
from rpc.errors import RpcError

log = logging.getLogger(__name__)

LOG_PAUSE_S = 5.0
"""Seconds between two lines of the log about one cause: an outage fails every request."""

_logged: dict[str, float] = {}


def problem_for(scope: Scope, error: Refused | RpcError) -> Problem:
    """Return an error as the caller of a request may see it, and log what is kept from it."""
    if isinstance(error, RpcError) and error.public:
        _log_at_times(str(error), now=time.monotonic())
    problem = problems.of(error)
    return replace(problem, detail=without_owner(scope, problem.detail))


def response_for(scope: Scope, error: Refused | RpcError) -> Response:
    """Return the answer to a request that ended with an error."""
    return problems.response(problem_for(scope, error))


def _log_at_times(cause: str, *, now: float) -> None:
    if now - _logged.get(cause, float("-inf")) >= LOG_PAUSE_S:
        # causes differ in a few words only
        _logged.clear()
        _logged[cause] = now
        log.warning("requests fail: %s", cause)
