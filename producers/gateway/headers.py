"""What a request's headers say of how long its caller waits, and an answer's of where the time went. Pure."""

import math
from collections.abc import Sequence

from fastapi import Request

from rpc.errors import InvalidInput
from rpc.messages import Reply, Success

MOST_TIMEOUT_S = 24 * 3600.0

OWN, OPENAIS = "x-penstock-timeout", "x-stainless-read-timeout"
"""How long a caller waits, in seconds; OpenAI's client says it by itself."""


def timeout_s(request: Request, default_s: float) -> float:
    """Return how long a caller waits; raise `InvalidInput` if it names no time, or more than may be waited."""
    if given := request.headers.get(OWN):
        return _seconds(OWN, given, most_s=MOST_TIMEOUT_S)
    if given := request.headers.get(OPENAIS):
        # its caller may not know of it
        return min(_seconds(OPENAIS, given, most_s=math.inf), MOST_TIMEOUT_S)
    return default_s


def _seconds(name: str, given: str, *, most_s: float) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= most_s:
        raise InvalidInput(f"{name} {given[:32]!r} is no number of seconds above 0, up to {MOST_TIMEOUT_S:.0f}")
    return seconds


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
