"""Whether every job of a model is in somebody's care: what stands in its lanes and no worker would be given.

A conversation like those of `rpc.inspection`. Each lane is asked about in one command, so that its numbers fit
together however much comes and goes.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.calls import Call, Command, Tolerant
from rpc.errors import UnknownModel
from rpc.keys import BEGUN, DIED, GROUP, LANES, RELEASED, SUSPECT, Keys, Lane, check_model

LOOKS = 100
KEYS_A_LOOK = 1000

HELD_SHOWN = 1000
"""The most held entries of a lane that are looked at."""

LEASES = 3
"""Entries of a worker that is gone are taken over after one lease and a bit; after so many, nobody does it."""

SET_FREE = (RELEASED, BEGUN, DIED, SUSPECT)
"""How the names of those begin whose entries are free at once: their idle time is made up."""

LEASE_MS = 30_000
"""The lease of a model whose workers have not published one."""


@dataclass(frozen=True, slots=True)
class LaneCare:
    """One lane, and who cares for its jobs.

    Attributes:
        lane: which one.
        stray: jobs that were handed out and are held by nobody: no worker will ever be given them.
        stale: jobs whose holder is gone for `LEASES` leases, and that nobody has taken over.
        strangers: groups beside the workers'; nothing here reads what they hold.
        wrong: what the server says where the key is no stream, or may not be looked at; "" where it is.
    """

    lane: Lane
    stray: int = 0
    stale: int = 0
    strangers: tuple[str, ...] = ()
    wrong: str = ""


def lane_care(prefix: str, model: str, alive: Collection[str]) -> Call[list[LaneCare]]:
    """Return for each lane of a model who cares for its jobs, given the names of its live workers."""
    keys = Keys(prefix, check_model(model))
    (lease,) = yield [("HGET", keys.config, "lease_ms")]
    idle_ms = LEASES * (int(lease) if lease and lease.isdigit() else LEASE_MS)
    commands: list[Command] = []
    for stream in map(keys.stream, LANES):
        commands.append(("XINFO", "STREAM", stream, "FULL", "COUNT", 1))
        commands.append(("XPENDING", stream, GROUP, "IDLE", idle_ms, "-", "+", HELD_SHOWN))
    replies = yield Tolerant(commands)
    told = zip(LANES, replies[::2], replies[1::2], strict=True)
    return [_lane_care(lane, stream, held, alive) for lane, stream, held in told]


def _lane_care(lane: Lane, stream: Any, held: Any, alive: Collection[str]) -> LaneCare:
    if isinstance(stream, Exception):
        absent = "no such key" in str(stream)
        return LaneCare(lane, wrong="" if absent else str(stream))
    told = _fields(stream)
    groups = {group["name"].decode("utf-8", "replace"): group for group in map(_fields, told.get("groups", ()))}
    holders = [] if isinstance(held, Exception) else [item[1].decode("utf-8", "replace") for item in held]
    return LaneCare(
        lane,
        stray=_stray(told.get("length", 0), groups.get(GROUP)),
        stale=sum(holder not in alive and not holder.startswith(SET_FREE) for holder in holders),
        strangers=tuple(sorted(set(groups) - {GROUP})),
    )


def _stray(length: int, group: dict[str, Any] | None) -> int:
    """Return how many entries are neither held nor still to be handed out; 0 where the server does not count them.

    A server may have lost count, and Redis before 7.0 has no lag.
    """
    held, lag = (group or {}).get("pel-count"), (group or {}).get("lag")
    return 0 if held is None or lag is None else max(0, length - int(held) - int(lag))


def _fields(flat: Sequence[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def queued_models(prefix: str) -> Call[list[str]]:
    """Return the names of all models that have a lane, sorted, whether or not anybody ever served them.

    It looks at `LOOKS` times `KEYS_A_LOOK` keys at most.
    """
    cursor, found = b"0", set()
    for _ in range(LOOKS):
        pattern = (f"{prefix}:{{*}}:*", "COUNT", KEYS_A_LOOK, "TYPE", "stream")
        ((cursor, names),) = yield [("SCAN", cursor, "MATCH", *pattern)]
        found |= {model for name in names for model in _model_of(prefix, name.decode("utf-8", "replace"))}
        if cursor == b"0":
            break
    return sorted(found)


def _model_of(prefix: str, key: str) -> Iterator[str]:
    """Yield the model whose lane the key is, if it is one."""
    model, _, rest = key.removeprefix(f"{prefix}:{{").partition("}:")
    if rest in LANES:
        with contextlib.suppress(UnknownModel):
            yield check_model(model)
