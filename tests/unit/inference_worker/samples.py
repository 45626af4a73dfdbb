"""Deliveries and jobs in hand for unit tests, as the consumer would have made them."""

from collections.abc import Sequence
from typing import Any

from inference_worker.isolation import Gate, Steps
from inference_worker.job import JobInHand
from rpc.deliveries import Delivery
from rpc.keys import Lane
from rpc.messages import Job

FOREVER_MS = 10**12
"""A time to live that does not end while a test runs, whatever its clocks say."""


def delivery(
    number: int = 1, *, inputs: Sequence[Any] = ("a",), lane: Lane = "interactive", deliveries: int = 1, **job: Any
) -> Delivery:
    """Return an entry as it was read: number `n` is entry `n000-0`, job `jn`."""
    asked = Job(
        **{
            "model": "m",
            "op": "op",
            "inputs": list(inputs),
            "id": f"j{number}",
            "lane": lane,
            "ttl_ms": FOREVER_MS,
            **job,
        }
    )
    return Delivery(f"{number}000-0", lane, deliveries, asked, ())


def in_hand(number: int = 1, **given: Any) -> JobInHand:
    """Return a job just read."""
    came = delivery(number, **given)
    assert isinstance(came.job, Job)
    return JobInHand(came, came.job, queued_ms=5.0, received_at=100.0)


def uncounted() -> Steps:
    """Return steps of an engine whose suspects are counted nowhere."""
    return Steps(Gate(), lambda *_: True)
