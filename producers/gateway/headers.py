"""What a request's headers say of how long its caller waits, and an answer's of where the time went. Pure."""

import math
from collections.abc import Mapping, Sequence

from fastapi import Request

from rpc.errors import InvalidInput
from rpc.messages import Reply, Success

MOST_TIMEOUT_S = 24 * 3600.0

OWN = "x-penstock-timeout"
"""How long a caller waits, in seconds, set by the caller on purpose."""

CLIENT_TIMEOUTS: Mapping[str, float] = {
    "x-stainless-timeout": 1.0,
    "x-stainless-read-timeout": 1.0,
    "x-litellm-timeout": 1.0,
    "x-server-timeout": 1.0,
    "x-envoy-expected-rq-timeout-ms": 0.001,
}
"""Header that a client library or proxy sends by itself -> its unit in seconds.

The first is sent by OpenAI's clients for Node, Go and Java, the second by those for Python and Java, `x-server-timeout`
by Google's clients, the last by Envoy and Istio.
"""

GRACE_S = 1.0
"""Seconds that a request is kept beyond what its client library says.

The client's own clock then ends the call, with the error that its users expect of a time that is up. Node's client cuts
the fraction of a second off, so that its users wait up to this much longer than it says.
"""


def timeout_s(request: Request, default_s: float) -> float:
    """Return the seconds a caller waits: what it says itself, else its client and `GRACE_S` more, else the default.

    Of several headers of clients the shortest counts. One that is not a number of seconds counts as not sent: its
    caller may not know of it.
    Raises `InvalidInput` if the caller's own is not a number of seconds above 0, up to `MOST_TIMEOUT_S`.
    """
    headers = request.headers
    if own := headers.get(OWN):
        seconds = _number(own)
        if not 0 < seconds <= MOST_TIMEOUT_S:
            raise InvalidInput(f"{OWN} must be seconds above 0, up to {MOST_TIMEOUT_S:.0f}, got {own[:32]!r}")
        return seconds
    sent = [unit_s * _number(headers.get(name, "")) for name, unit_s in CLIENT_TIMEOUTS.items()]
    readable = [seconds for seconds in sent if seconds >= 0]
    return min(min(readable) + GRACE_S, MOST_TIMEOUT_S) if readable else default_s


def _number(text: str) -> float:
    """Return the number that a header has, or NaN if it has none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def timings(replies: Sequence[Reply]) -> dict[str, str]:
    """Return where the time went, in ms, as headers: the longest of the replies, which ran side by side."""
    metas = [reply.meta for reply in replies if isinstance(reply, Success)]
    if not metas:
        return {}
    queued = max(meta.queued_ms for meta in metas)
    prepared = max(meta.prepare_ms for meta in metas)
    inferred = max(meta.infer_ms for meta in metas)
    told = {"queue": queued, "prepare": prepared, "inference": inferred, "compute": prepared + inferred}
    return {f"x-{name}-time": f"{ms:.3f}" for name, ms in told.items()}
