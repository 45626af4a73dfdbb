"""What may be said twice is said again while Redis is away: how long, and how often. Both clients share it."""

from collections.abc import Iterator
from typing import Any

from tenacity import retry_if_exception_type, stop_after_delay, wait_random_exponential

from rpc.errors import Unavailable


def said_before(*, at_first: bool) -> Iterator[bool]:
    """Yield for each attempt of a call whether it may have been carried out before."""
    yield at_first
    while True:
        yield True


def while_away(budget_s: float) -> dict[str, Any]:
    """Return the arguments of tenacity's attempts that end with the budget, or with anything but `Unavailable`."""
    return {
        "retry": retry_if_exception_type(Unavailable),
        "wait": wait_random_exponential(multiplier=0.05, max=1.0),
        "stop": stop_after_delay(budget_s),
        "reraise": True,
    }
