"""Calling at a steady number in flight, and what it takes. Knows neither Redis nor printing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Level:
    """How calls fared at one number in flight.

    Attributes:
        per_second: calls answered.
        p50_ms: half of them took no longer.
        p99_ms: all but one in a hundred took no longer.
    """

    in_flight: int
    calls: int
    per_second: float
    p50_ms: float
    p99_ms: float


async def measure(call: Call, in_flight: int, *, seconds: float) -> Level:
    """Keep so many calls in flight for so long, after an untimed one each; raise the first error of a call."""
    await asyncio.gather(*(call() for _ in range(in_flight)))
    started = time.perf_counter()
    callers = [_calls(call, started + seconds) for _ in range(in_flight)]
    took = await asyncio.gather(*callers)
    whole_s = time.perf_counter() - started
    latencies = sorted(latency for caller in took for latency in caller)
    return Level(
        in_flight,
        len(latencies),
        len(latencies) / whole_s,
        quantile(latencies, 0.5) * 1000,
        quantile(latencies, 0.99) * 1000,
    )


async def _calls(call: Call, until: float) -> list[float]:
    took: list[float] = []
    now = time.perf_counter()
    while now < until or not took:
        await call()
        before, now = now, time.perf_counter()
        took.append(now - before)
    return took


async def run_all(calls: Sequence[Call], in_flight: int) -> float:
    """Make every call once, so many at a time; return the seconds it took all of them."""
    left = iter(calls)

    async def caller() -> None:
        for call in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return time.perf_counter() - started


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]
