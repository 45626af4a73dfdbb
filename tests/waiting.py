"""Waiting for what another process does, bounded, and with the reason at hand when it never comes."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONG_S = 30.0
"""How long a test waits for what must happen; only a failing test waits that long."""

LOAD_S = 120.0
"""How long for a worker that imports PyTorch and loads its models while other tests have the cores."""


def eventually(look: Callable[[], T], *, within_s: float = LONG_S, what: str | Callable[[], str] = "") -> T:
    """Return the first true answer of `look`; fail if there is none in time, saying `what`, asked for only then."""
    end = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > end:
            missing = what() if callable(what) else what
            raise AssertionError(f"not within {within_s} s: {missing or look}; last answer {answer!r}")
        pause.wait(0.005)
