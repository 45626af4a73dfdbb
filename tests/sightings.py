"""What is on the server of one model's lanes at one moment, seen in one exchange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.connection import BlockingConnection
from rpc.deliveries import Place
from rpc.keys import GROUP, LANES, Keys


@dataclass(frozen=True, slots=True)
class Sighting:
    """The lanes of a model and the keys of its jobs.

    Attributes:
        entries: the job of each entry.
        pending: holder and count of each entry that was handed out.
        passed: entries that nobody holds and no read will hand out.
        queued: the entry that each job's id stands for.
        lives: how long each key of a job has to live, in ms; -1 is for ever.
    """

    entries: Mapping[Place, str]
    pending: Mapping[Place, tuple[str, int]]
    passed: frozenset[Place]
    queued: Mapping[str, str]
    replies: Mapping[str, bytes]
    lives: Mapping[str, int]


def sighted(connection: BlockingConnection, keys: Keys, jobs: Sequence[str]) -> Sighting:
    """Look at everything at once."""
    names = [name for job in jobs for name in (keys.job(job), keys.result(job), keys.blob(job, 0), keys.parts(job))]
    commands: list[tuple[Any, ...]] = [("MGET", *map(keys.job, jobs)), ("MGET", *map(keys.result, jobs))]
    for lane in LANES:
        stream = keys.stream(lane)
        commands += [("XRANGE", stream, "-", "+"), ("XPENDING", stream, GROUP, "-", "+", 1000)]
        commands.append(("XINFO", "GROUPS", stream))
    queued, replies, *rest = connection.send([*commands, *(("PTTL", name) for name in names)])
    entries: dict[Place, str] = {}
    pending: dict[Place, tuple[str, int]] = {}
    passed: set[Place] = set()
    for lane, at in zip(LANES, (0, 3), strict=True):
        found, held, groups = rest[at : at + 3]
        entries |= {(lane, entry.decode()): _job(fields) for entry, fields in found}
        pending |= {(lane, entry.decode()): (holder.decode(), count) for entry, holder, _, count in held}
        (group,) = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in groups)
        last = _order(group[b"last-delivered-id"])
        passed |= {(lane, entry.decode()) for entry, _ in found if _order(entry) <= last}
    return Sighting(
        entries,
        pending,
        frozenset(passed - pending.keys()),
        {job: entry.decode() for job, entry in zip(jobs, queued, strict=True) if entry},
        {job: reply for job, reply in zip(jobs, replies, strict=True) if reply is not None},
        {name: life for name, life in zip(names, rest[6:], strict=True) if life != -2},
    )


def _job(fields: Sequence[bytes]) -> str:
    return fields[fields.index(b"id") + 1].decode()


def _order(entry: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry.split(b"-")))


def consumers(connection: BlockingConnection, keys: Keys) -> set[str]:
    """Return the names of all consumers of all lanes."""
    listed = connection.send([("XINFO", "CONSUMERS", keys.stream(lane), GROUP) for lane in LANES])
    return {flat[flat.index(b"name") + 1].decode() for found in listed for flat in found}
