"""What an operator asks and tells Redis: what waits and runs, who serves, and what became of the dead jobs.

Conversations like those of `rpc.calls`; here too nothing knows a connection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.calls import Call, Tolerant, script
from rpc.entries import payload_of
from rpc.errors import InvalidInput
from rpc.keys import GROUP, LANES, NOBODY, Keys, Lane, check_entry_id, check_lane, check_model, models
from rpc.messages import HOUR_MS, JOB_MARGIN_MS, Dead

PAYLOAD_BYTES_SHOWN = 4_096

MOST_DIGITS = 15
"""A number of more digits is none that a worker reads."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane as an operator sees it: counts of jobs, and the age in ms of the oldest one not yet done.

    `running` counts the jobs that workers hold. All others of the lane wait: those no worker has read yet, and those
    that were given back, put off, or left behind by a dead engine. `done` counts all that were ever queued and are
    gone: answered, or given up on.
    """

    lane: Lane
    waiting: int
    running: int
    oldest_ms: int
    done: int = 0


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as an operator sees it; `workers` are the live ones, each with what it says of itself.

    That is nothing before a worker first gets round to it, and after it did not for three leases.
    """

    model: str
    lanes: tuple[LaneState, ...]
    dead: int
    workers: Mapping[str, Mapping[str, str]]

    @property
    def told(self) -> list[Mapping[str, str]]:
        """What live workers say of themselves, but for those that say nothing now."""
        return [about for about in self.workers.values() if about]

    @property
    def ops(self) -> list[str]:
        """The ops that live workers tell of, in the order of the first that does."""
        told = (op for about in self.told for op in about.get("ops", "").split(","))
        return list(dict.fromkeys(op for op in told if op))

    def offers(self, op: str) -> bool:
        """Return whether a live worker offers an op; one that does not tell its ops may."""
        return op in self.ops or any("ops" not in about for about in self.workers.values())

    @property
    def dimension(self) -> int | None:
        """How many numbers a vector of the model has, if a live worker tells."""
        told = (about.get("dimension", "") for about in self.told)
        return next((int(number) for number in told if number.isdigit()), None)


def known_models(prefix: str) -> Call[list[str]]:
    """Return the names of all models ever served, sorted."""
    (names,) = yield [("SMEMBERS", models(prefix))]
    return sorted(name.decode() for name in names)


def model_state(prefix: str, model: str) -> Call[ModelState]:
    """Return what waits, runs and serves for one model."""
    keys = Keys(prefix, check_model(model))
    commands = Tolerant([("TIME",), ("XLEN", keys.dead), ("ZRANGE", keys.workers, 0, -1, "WITHSCORES")])
    for lane in LANES:
        stream = keys.stream(lane)
        commands += [("XINFO", "STREAM", stream), ("XPENDING", stream, GROUP)]
    replies = yield commands
    for reply in replies:
        # a lane or its group may not be there yet
        if isinstance(reply, Exception) and not any(sign in str(reply) for sign in ("no such key", "NOGROUP")):
            raise reply
    (seconds, micros), dead, scores, *streams = replies
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    names = [name.decode() for name, until in zip(scores[::2], scores[1::2], strict=True) if float(until) > now_ms]
    hashes = (yield [("HGETALL", keys.worker(name)) for name in names]) if names else []
    lanes = tuple(_lane_state(lane, streams[2 * i : 2 * i + 2], now_ms) for i, lane in enumerate(LANES))
    workers = {name: _text_map(fields) for name, fields in zip(names, hashes, strict=True)}
    return ModelState(model, lanes, dead, workers)


def _lane_state(lane: Lane, replies: Sequence[Any], now_ms: int) -> LaneState:
    stream, pending = replies
    fields = {} if isinstance(stream, Exception) else dict(zip(stream[::2], stream[1::2], strict=True))
    length, first = fields.get(b"length", 0), fields.get(b"first-entry")
    running = 0 if isinstance(pending, Exception) else _held_by_workers(pending)
    oldest = now_ms - int(first[0].split(b"-")[0]) if first else 0
    done = max(0, fields.get(b"entries-added", 0) - length)
    return LaneState(lane, waiting=max(0, length - running), running=running, oldest_ms=max(0, oldest), done=done)


def _held_by_workers(pending: Sequence[Any]) -> int:
    """Return how many entries of XPENDING's summary are held by consumers that are workers."""
    holders = pending[3] or ()
    return sum(int(count) for name, count in holders if not name.decode("utf-8", "replace").startswith(NOBODY))


def _text_map(flat: Sequence[Any]) -> dict[str, str]:
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


KEYS_LOOKED_AT = 100_000
"""About how many keys are looked at when keys are searched for."""

_MEANT_TO_STAY = ("}:config", "}:workers", "}:dead", ":models", *(f"}}:{lane}" for lane in LANES))


def lasting_keys(prefix: str) -> Call[list[str]]:
    """Return keys under the prefix that would stay for ever and are not meant to, sorted."""
    cursor, seen, found = b"0", 0, set()
    while True:
        ((cursor, names),) = yield [("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", 1000)]
        lives = (yield [("PTTL", name) for name in names]) if names else []
        found |= {name.decode("utf-8", "replace") for name, life in zip(names, lives, strict=True) if life == -1}
        seen += len(names)
        if cursor == b"0" or seen >= KEYS_LOOKED_AT:
            return sorted(name for name in found if not name.endswith(_MEANT_TO_STAY) and "}:sink:" not in name)


def peek(prefix: str, model: str, lane: Lane, count: int) -> Call[list[dict[str, Any]]]:
    """Return the first jobs of a lane, each with its age in ms, who holds it, and its payload."""
    stream = Keys(prefix, check_model(model)).stream(lane)
    (seconds, micros), entries, pending = yield Tolerant(
        [("TIME",), ("XRANGE", stream, "-", "+", "COUNT", count), ("XPENDING", stream, GROUP, "-", "+", count)]
    )
    if isinstance(entries, Exception):
        raise entries
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    # a lane nobody has read from yet has no group
    held = {} if isinstance(pending, Exception) else {item[0]: item for item in pending}
    return [_seen(entry, held.get(entry[0]), now_ms) for entry in entries]


def _seen(entry: Sequence[Any], holder: Sequence[Any] | None, now_ms: int) -> dict[str, Any]:
    entry_id, flat = entry
    raw = dict(zip(flat[::2], flat[1::2], strict=True))
    shown = {name.decode("utf-8", "replace"): value for name, value in raw.items() if name not in {b"payload", b"json"}}
    size = len(raw.get(b"payload") or raw.get(b"json") or b"")
    return {
        "entry": entry_id.decode(),
        "age_ms": max(0, now_ms - int(entry_id.split(b"-")[0])),
        **{name: value.decode("utf-8", "replace") for name, value in shown.items()},
        "held_by": holder[1].decode() if holder else None,
        "deliveries": holder[3] if holder else 0,
        "payload_bytes": size,
        "payload": payload_of(raw) if size <= PAYLOAD_BYTES_SHOWN else f"({size} bytes)",
    }


def dead_jobs(prefix: str, model: str, *, dead_id: str | None = None, count: int = 100) -> Call[list[Dead]]:
    """Return the newest jobs of the dead letter first, or the one of that id."""
    key = Keys(prefix, check_model(model)).dead
    newest, oldest = (check_entry_id(dead_id),) * 2 if dead_id else ("+", "-")
    (entries,) = yield [("XREVRANGE", key, newest, oldest, "COUNT", count)]
    return [_dead(entry) for entry in entries]


def _dead(entry: Sequence[Any]) -> Dead:
    fields = _raw(entry)
    text = {name: value.decode("utf-8", "replace") for name, value in fields.items() if not name.startswith(b"job:")}
    return Dead(
        dead_id=entry[0].decode(),
        job_id=text.get(b"id", ""),
        op=text.get(b"op", ""),
        lane=text.get(b"lane", ""),
        code=text.get(b"code", ""),
        reason=text.get(b"reason", ""),
        deliveries=int(text.get(b"deliveries", 0)),
        consumer=text.get(b"consumer", ""),
        died_ms=int(entry[0].split(b"-")[0]),
        payload_bytes=int(text.get(b"bytes", 0)),
        whole=text.get(b"whole") == "1",
    )


def _raw(entry: Sequence[Any]) -> dict[bytes, bytes]:
    return dict(zip(entry[1][::2], entry[1][1::2], strict=True))


def dead_payload(prefix: str, model: str, dead_id: str) -> Call[Any]:
    """Return the payload of a dead job, or a sentence saying why it cannot be shown."""
    return payload_of(_original(_raw((yield from _dead_entry(prefix, model, dead_id)))))


def _dead_entry(prefix: str, model: str, dead_id: str) -> Call[Sequence[Any]]:
    key = Keys(prefix, check_model(model)).dead
    (entries,) = yield [("XRANGE", key, check_entry_id(dead_id), dead_id)]
    if not entries:
        raise InvalidInput(f"the dead letter of {model} has no {dead_id}")
    entry: Sequence[Any] = entries[0]
    return entry


def _original(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name.removeprefix(b"job:"): value for name, value in fields.items() if name.startswith(b"job:")}


def redrive(prefix: str, model: str, dead_id: str) -> Call[str]:
    """Queue a dead job again with a fresh count of deliveries, unless it is queued; return its job id."""
    keys = Keys(prefix, model)
    found = yield from _dead_entry(prefix, model, dead_id)
    dead, original = _dead(found), _original(_raw(found))
    if not dead.job_id:
        raise InvalidInput(f"{dead_id} cannot be queued again: it was no job")
    if not dead.whole:
        raise InvalidInput(f"{dead_id} cannot be queued again: its payload of {dead.payload_bytes} bytes was not kept")
    names = (
        keys.dead,
        keys.stream(check_lane(dead.lane)),
        keys.result(dead.job_id),
        keys.job(dead.job_id),
        *map(keys.stream, LANES),
    )
    # a job typed without an id had its entry's, which the new entry does not have
    fields = [part for pair in {**original, b"id": dead.job_id}.items() for part in pair]
    (entry,) = yield [script("redrive", names, (dead_id, _life_ms(original), dead.job_id, *fields))]
    if entry is None:
        raise InvalidInput(f"the dead letter of {model} has no {dead_id}")
    return dead.job_id


def _life_ms(original: Mapping[bytes, bytes]) -> int:
    """Return how long the id of a job that is queued again is known: as long as it may wait."""
    ttl_ms = original.get(b"ttl_ms", b"")
    return (int(ttl_ms) if ttl_ms.isdigit() and len(ttl_ms) <= MOST_DIGITS else HOUR_MS) + JOB_MARGIN_MS


def purge(prefix: str, model: str, dead_ids: Sequence[str]) -> Call[int]:
    """Drop dead jobs for good, all of them if none is named; return how many went."""
    key = Keys(prefix, check_model(model)).dead
    (gone,) = yield [("XDEL", key, *map(check_entry_id, dead_ids)) if dead_ids else ("XTRIM", key, "MAXLEN", 0)]
    count: int = gone
    return count
