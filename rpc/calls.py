"""What a caller or an operator says to Redis, with no connection in sight.

Each conversation is a generator: it yields a round (commands that travel together), is sent the replies in the
same order, and returns its answer. `rpc.connection` has the blocking and the awaiting way to carry one out.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rpc import keys as keyspace
from rpc.codec import decode_reply, encode_reply, job_fields, payload_of
from rpc.errors import Cancelled, InvalidInput, QueueFull
from rpc.keys import GROUP, LANES, Keys, Lane
from rpc.messages import HOUR_MS, JOB_MARGIN_MS, Dead, Failure, Job, Reply
from rpc.scripts import SCRIPTS

T = TypeVar("T")
Command = tuple[Any, ...]
Round = Sequence[Command]
Call = Generator[Round, Any, T]


class Tolerant(list[Command]):
    """A round whose error replies are sent back as exceptions; in any other round the first one is raised."""


DEFAULT_MAX_JOBS = 100_000
"""The bound of a lane whose workers have not published one yet."""

MAX_JSON_PAYLOAD_SHOWN = 4_096

CancelOutcome = Literal["cancelled", "finished", "unknown"]


def script(name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Command:
    """Return the command that runs a script by its digest."""
    return ("EVALSHA", SCRIPTS[name].sha, len(keys), *keys, *arguments)


def submit(prefix: str, jobs: Sequence[Job], *, max_payload_bytes: int) -> Call[list[bool]]:
    """Queue jobs in one round; return for each whether its reply is there already.

    Raises `QueueFull` if a lane had no room for one of them, `InvalidInput` if one is too large (then nothing
    was sent). Jobs in front of a refused one stay queued; the same call again joins them.
    """
    replies = yield [_submit_command(Keys(prefix, job.model), job, max_payload_bytes) for job in jobs]
    full = next((reply for reply in replies if reply[0] == b"full"), None)
    if full is not None:
        raise QueueFull(f"{jobs[0].lane} lane of {jobs[0].model} holds {full[1]} jobs, its bound")
    return [reply[0] == b"done" for reply in replies]


def _submit_command(keys: Keys, job: Job, max_payload_bytes: int) -> Command:
    fields = job_fields(job)
    payload = fields[-1]
    if isinstance(payload, bytes) and len(payload) > max_payload_bytes:
        raise InvalidInput(f"the payload of {len(payload)} bytes is over the limit of {max_payload_bytes}")
    names = (keys.stream(job.lane), keys.job(job.id), keys.result(job.id), keys.config)
    return script("submit", names, (DEFAULT_MAX_JOBS, job.ttl_ms + JOB_MARGIN_MS, *fields))


def fetch(prefix: str, waits: Iterable[tuple[str, str]]) -> Call[dict[tuple[str, str], Reply]]:
    """Return the replies that are there, by (model, job id)."""
    by_model = _by_model(waits)
    replies = yield [("MGET", *map(Keys(prefix, model).result, ids)) for model, ids in by_model.items()]
    return {
        (model, job_id): read_reply(value)
        for (model, ids), values in zip(by_model.items(), replies, strict=True)
        for job_id, value in zip(ids, values, strict=True)
        if value is not None
    }


def missing(prefix: str, waits: Iterable[tuple[str, str]]) -> Call[set[tuple[str, str]]]:
    """Return those of the jobs of which Redis knows neither job nor reply."""
    by_model = _by_model(waits)
    rounds = []
    for model, ids in by_model.items():
        keys = Keys(prefix, model)
        rounds.append(("MGET", *map(keys.job, ids), *map(keys.result, ids)))
    replies = yield rounds
    lost = set()
    for (model, ids), values in zip(by_model.items(), replies, strict=True):
        for index, job_id in enumerate(ids):
            if values[index] is None and values[index + len(ids)] is None:
                lost.add((model, job_id))
    return lost


def _by_model(waits: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_model: dict[str, list[str]] = {}
    for model, job_id in waits:
        by_model.setdefault(model, []).append(job_id)
    return by_model


def read_reply(value: bytes) -> Reply:
    """Return the reply under a result key; one that cannot be read is a failure of the model's side."""
    try:
        return decode_reply(value)
    except InvalidInput as error:
        return Failure("model_error", f"the reply cannot be read: {error}")


def cancel(prefix: str, model: str, job_id: str) -> Call[CancelOutcome]:
    """Answer a job with `cancelled` if it has no answer yet; say what came of it."""
    keys = Keys(prefix, model)
    reply = encode_reply(Failure.of(Cancelled(f"job {job_id} was cancelled")))
    names = (keys.result(job_id), keys.job(job_id), *map(keys.stream, LANES))
    (outcome,) = yield [script("cancel", names, (job_id, HOUR_MS, reply))]
    answer: CancelOutcome = outcome.decode()
    return answer


@dataclass(frozen=True, slots=True)
class LaneState:
    """One lane as an operator sees it: counts of jobs, and the age in ms of the oldest one not yet done."""

    lane: Lane
    waiting: int
    running: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as an operator sees it; `workers` are the live ones, each with what it says of itself."""

    model: str
    lanes: tuple[LaneState, ...]
    dead: int
    workers: Mapping[str, Mapping[str, str]]


def known_models(prefix: str) -> Call[list[str]]:
    """Return the names of all models ever served, sorted."""
    (names,) = yield [("SMEMBERS", keyspace.models(prefix))]
    return sorted(name.decode() for name in names)


def model_state(prefix: str, model: str) -> Call[ModelState]:
    """Return what waits, runs and serves for one model."""
    keys = Keys(prefix, keyspace.check_model(model))
    commands = Tolerant([("TIME",), ("XLEN", keys.dead), ("ZRANGE", keys.workers, 0, -1, "WITHSCORES")])
    for lane in LANES:
        stream = keys.stream(lane)
        commands += [("XLEN", stream), ("XINFO", "GROUPS", stream), ("XRANGE", stream, "-", "+", "COUNT", 1)]
    (seconds, micros), dead, scores, *streams = yield commands
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    names = [name.decode() for name, until in zip(scores[::2], scores[1::2], strict=True) if float(until) > now_ms]
    hashes = (yield [("HGETALL", keys.worker(name)) for name in names]) if names else []
    lanes = tuple(_lane_state(lane, streams[3 * i : 3 * i + 3], now_ms) for i, lane in enumerate(LANES))
    workers = {name: _text_map(fields) for name, fields in zip(names, hashes, strict=True)}
    return ModelState(model, lanes, dead, workers)


def _lane_state(lane: Lane, replies: Sequence[Any], now_ms: int) -> LaneState:
    length, groups, first = replies
    pending = 0
    if not isinstance(groups, Exception):
        states = [_text_map(group) for group in groups]
        pending = sum(int(state["pending"]) for state in states if state["name"] == GROUP)
    oldest = now_ms - int(first[0][0].split(b"-")[0]) if first else 0
    return LaneState(lane, waiting=max(0, length - pending), running=pending, oldest_ms=max(0, oldest))


def _text_map(flat: Sequence[Any]) -> dict[str, str]:
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def peek(prefix: str, model: str, lane: Lane, count: int) -> Call[list[dict[str, Any]]]:
    """Return the first jobs of a lane, each with its age in ms, who holds it, and its payload."""
    stream = Keys(prefix, keyspace.check_model(model)).stream(lane)
    (seconds, micros), entries, pending = yield Tolerant(
        [("TIME",), ("XRANGE", stream, "-", "+", "COUNT", count), ("XPENDING", stream, GROUP, "-", "+", count)]
    )
    now_ms = int(seconds) * 1000 + int(micros) // 1000
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
        "payload": payload_of(raw) if size <= MAX_JSON_PAYLOAD_SHOWN else f"({size} bytes)",
    }


def dead_jobs(prefix: str, model: str, *, dead_id: str | None = None, count: int = 100) -> Call[list[Dead]]:
    """Return the newest jobs of the dead letter first, or the one of that id."""
    key = Keys(prefix, keyspace.check_model(model)).dead
    newest, oldest = (keyspace.check_entry_id(dead_id),) * 2 if dead_id else ("+", "-")
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
    key = Keys(prefix, keyspace.check_model(model)).dead
    (entries,) = yield [("XRANGE", key, keyspace.check_entry_id(dead_id), dead_id)]
    if not entries:
        raise InvalidInput(f"the dead letter of {model} has no {dead_id}")
    entry: Sequence[Any] = entries[0]
    return entry


def _original(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name.removeprefix(b"job:"): value for name, value in fields.items() if name.startswith(b"job:")}


def redrive(prefix: str, model: str, dead_id: str) -> Call[str]:
    """Queue a dead job again with a fresh count of deliveries; return its job id."""
    keys = Keys(prefix, model)
    found = yield from _dead_entry(prefix, model, dead_id)
    dead, original = _dead(found), _original(_raw(found))
    if not dead.whole or not dead.job_id:
        raise InvalidInput(f"{dead_id} cannot be queued again: its payload of {dead.payload_bytes} bytes was not kept")
    names = (
        keys.dead,
        keys.stream(keyspace.check_lane(dead.lane)),
        keys.result(dead.job_id),
        keys.job(dead.job_id),
    )
    # a job typed without an id had its entry's, which the new entry does not have
    fields = [part for pair in {**original, b"id": dead.job_id}.items() for part in pair]
    (entry,) = yield [script("redrive", names, (dead_id, HOUR_MS + JOB_MARGIN_MS, *fields))]
    if entry is None:
        raise InvalidInput(f"the dead letter of {model} has no {dead_id}")
    return dead.job_id


def purge(prefix: str, model: str, dead_ids: Sequence[str]) -> Call[int]:
    """Drop dead jobs for good, all of them if none is named; return how many went."""
    key = Keys(prefix, keyspace.check_model(model)).dead
    (gone,) = yield [
        ("XDEL", key, *map(keyspace.check_entry_id, dead_ids)) if dead_ids else ("XTRIM", key, "MAXLEN", 0)
    ]
    count: int = gone
    return count
