"""Bounds of time that an issue names, on a machine that others share: how slow it is just now, and the quickest try."""

import time
from collections.abc import Callable

USUAL_S = 0.055
"""What `_measured_s` was on the machine the bounds were set on, when nothing else ran."""

TRIES = 4


def _measured_s() -> float:
    began = time.perf_counter()
    sum(number * number for number in range(1_000_000))
    return time.perf_counter() - began


def slowness() -> float:
    """Return how many times slower than usual this machine is just now, at least 1."""
    return max(1.0, _measured_s() / USUAL_S)


def quickest_s(attempt: Callable[[], float], within_s: float) -> float:
    """Return how long the quickest of a few attempts took, at the usual pace; the first that is in time is the last."""
    took_s = float("inf")
    for _ in range(TRIES):
        before = slowness()
        took_s = min(took_s, attempt() / max(before, slowness()))
        if took_s < within_s:
            break
    return took_s
