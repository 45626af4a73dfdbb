"""What a supervisor says to Redis for its engines: they live, they have died, and who else is gone.

Conversations like those of `rpc.calls`. None of them knows a job: what an engine holds is what the server gave it.
"""

from collections.abc import Collection, Sequence

from rpc.calls import Call, Command, script
from rpc.keys import BEGUN, DIED, GROUP, LANES, SUSPECT, Keys, Lane

SILENT_MS = 60_000
"""How long a consumer without sign of life and entries was not heard of before it is dropped."""

REAPED_TOGETHER = 200

HALF_MINUTE_MS = 30_000

LEASES_ALIVE = 2
"""A sign of life that lasts for more leases was given before the server's clock stepped back."""


def renew(prefix: str, models: Sequence[str], consumer: str, *, lease_ms: int) -> Call[int]:
    """Renew all leases of a worker, and its sign of life, for each of its models; return how many leases."""
    replies = yield [
        script("renew", (keys.workers, *map(keys.stream, LANES)), (GROUP, consumer, lease_ms))
        for keys in (Keys(prefix, model) for model in models)
    ]
    return sum(renewed for _, renewed in replies)


def bereave(
    prefix: str,
    model: str,
    consumer: str,
    *,
    died_of: str,
    working_on: Collection[tuple[Lane, str]] | None,
    alone: bool = False,
) -> Call[tuple[int, int]]:
    """Let others take over at once what a dead worker held; return how many entries were free, how many are suspects.

    `working_on` are the entries that may have killed it; None: nobody knows. With `alone` it was the only one at work
    in its process, and is counted against. A suspect is counted before it begins: see `Consumer.count`.
    """
    keys = Keys(prefix, model)
    names = (keys.workers, keys.worker(consumer), *map(keys.stream, LANES))
    at_work = [part for lane, entry in working_on or () for part in (LANES.index(lane) + 1, entry)]
    held_by = (BEGUN, SUSPECT, DIED + died_of)
    arguments = (GROUP, consumer, *held_by, int(working_on is None), int(alone), *at_work)
    ((released, suspects),) = yield [script("bereave", names, arguments)]
    return released, suspects


def reap(prefix: str, model: str, *, lease_ms: int = HALF_MINUTE_MS, silent_ms: int = SILENT_MS) -> Call[int]:
    """Drop consumers of workers that are gone for good; return how many.

    Where the server's clock has stepped back, leases and signs of life begin anew.
    """
    keys = Keys(prefix, model)
    life_ms = LEASES_ALIVE * lease_ms
    (gone,) = yield [
        reaping(keys.workers, [*map(keys.stream, LANES)], GROUP, silent_ms=silent_ms, longest_life_ms=life_ms)
    ]
    count: int = gone
    return count


def reaping(workers: str, streams: Sequence[str], group: str, *, silent_ms: int, longest_life_ms: int = 0) -> Command:
    """Return what drops those consumers of a group that hold nothing, have no sign of life, and are silent for long."""
    return script("reap", (workers, *streams), (group, silent_ms, REAPED_TOGETHER, longest_life_ms))
