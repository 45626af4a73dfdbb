"""What a caller says to Redis, with no connection in sight.

Each conversation is a generator: it yields a round (commands that travel together), is sent the replies in the
same order, and returns its answer. `rpc.connection` has the blocking and the awaiting way to carry one out.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeVar

from rpc.codec import decode_reply, encode_reply
from rpc.entries import job_fields, spread
from rpc.errors import Cancelled, InvalidInput, QueueFull, RpcError, Unavailable
from rpc.keys import LANES, Keys, check_job_id, check_model
from rpc.messages import HOUR_MS, JOB_MARGIN_MS, Failure, Job, Reply, new_job_id
from rpc.scripts import SCRIPTS
from rpc.settings import RedisSettings

T = TypeVar("T")
Command = tuple[Any, ...]
Round = Sequence[Command]
Call = Generator[Round, Any, T]
Name = tuple[str, str]
"""A job: its model and its id."""


class Tolerant(list[Command]):
    """A round whose error replies are sent back as exceptions; in any other round the first one is raised."""


DEFAULT_MAX_JOBS = 100_000
"""The bound of a lane whose workers have not published one yet."""

CancelOutcome = Literal["cancelled", "finished", "unknown"]


def script(name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Command:
    """Return the command that runs a script by its digest."""
    return ("EVALSHA", SCRIPTS[name].sha, len(keys), *keys, *arguments)


BLOB_BYTES_TOGETHER = 256 * 1024
"""A larger blob is written in pieces of this size, each of which has the socket's time limit for itself."""


UPLOAD_BYTES_PER_MS = 100
"""The slowest line that may take as long as it likes for an upload: its keys live for so much longer per byte."""


def submit(settings: RedisSettings, jobs: Sequence[Job], *, again: bool = False, upload: str = "") -> Call[list[bool]]:
    """Queue jobs; return for each whether its reply is there already.

    A reply that says that trying again can help gives way to another try. With `again` this is none: the same call was
    made before, and its answer not heard.
    Inputs larger than `settings.inline_bytes` travel as blobs, written in a round of their own under keys that have
    `upload` in their name: one name for all attempts of a submit, and no other submit's. Raises `QueueFull` if a lane
    had no room for one of the jobs, `InvalidInput` if one is too large (then nothing was sent), `Unavailable` if a blob
    expired before its job was queued. Jobs in front of a refused one stay queued; the same call again joins them.
    """
    parcels = [_parcel(settings, job, again=again, upload=upload or new_job_id()) for job in jobs]
    uploads = {name: data for parcel in parcels for name, data in parcel.uploads.items()}
    if uploads:
        yield from _write_all(uploads)
    replies = yield [parcel.command for parcel in parcels]
    for job, reply in zip(jobs, replies, strict=True):
        if reply[0] == b"full":
            where, items = (f"sink {job.sink}", "replies") if reply[2] == b"sink" else (f"{job.lane} lane", "jobs")
            raise QueueFull(f"the {where} of {job.model} is full: {reply[1]} {items}")
        if reply[0] == b"unwritten":
            raise Unavailable(f"an input of job {job.id} of {job.model} expired before the job was queued")
    return [reply[0] == b"done" for reply in replies]


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A job as it is sent: its blobs by the key each is written under first, and the command that queues it."""

    uploads: dict[str, bytes]
    command: Command


def _parcel(settings: RedisSettings, job: Job, *, again: bool, upload: str) -> _Parcel:
    keys = Keys(settings.prefix, job.model)
    light, blobs = spread(job, inline_bytes=settings.inline_bytes)
    for number, data in blobs.items():
        if len(data) > settings.max_input_bytes:
            raise InvalidInput(f"input {number} of {len(data)} bytes is over the limit of {settings.max_input_bytes}")
    fields = job_fields(light)
    payload = fields[-1]
    if isinstance(payload, bytes) and len(payload) > settings.max_payload_bytes:
        raise InvalidInput(f"the payload of {len(payload)} bytes is over the limit of {settings.max_payload_bytes}")
    life_ms = job.ttl_ms + JOB_MARGIN_MS
    sinks = [keys.sink(job.sink)] if job.sink else []
    pairs = [(keys.upload(upload, job.id, number), keys.blob(job.id, number)) for number in blobs]
    names = (keys.stream(job.lane), keys.job(job.id), keys.result(job.id), keys.config, *sinks)
    arguments = (DEFAULT_MAX_JOBS, life_ms, len(sinks), int(again), *fields)
    command = script("submit", (*names, *chain.from_iterable(pairs)), arguments)
    return _Parcel({name: data for (name, _), data in zip(pairs, blobs.values(), strict=True)}, command)


def _write_all(uploads: Mapping[str, bytes]) -> Call[None]:
    """Write blobs; if one of them cannot be written, delete them all and raise its error."""
    life_ms = JOB_MARGIN_MS + sum(map(len, uploads.values())) // UPLOAD_BYTES_PER_MS
    writes = Tolerant(chain.from_iterable(_write(name, data, life_ms) for name, data in uploads.items()))
    answers = yield writes
    error = next((answer for answer in answers if isinstance(answer, RpcError)), None)
    if error is not None:
        yield [("DEL", *uploads)]
        raise error


def _write(key: str, data: bytes, life_ms: int) -> Iterator[Command]:
    """Yield what writes a blob; sent twice, a reader in between sees nothing change."""
    if len(data) <= BLOB_BYTES_TOGETHER:
        yield ("SET", key, data, "PX", life_ms)
        return
    yield ("SET", key, "", "NX", "PX", life_ms)
    view = memoryview(data)
    for start in range(0, len(data), BLOB_BYTES_TOGETHER):
        yield ("SETRANGE", key, start, view[start : start + BLOB_BYTES_TOGETHER])
        # an earlier attempt that arrives late takes the key away, and the next piece makes it anew
        yield ("PEXPIRE", key, life_ms)


PIECE_BYTES = 32 * 1024
"""How much of a reply one command reads: each piece has the socket's time limit for itself."""

FIRST_PIECES, PIECES_TOGETHER = 2, 32
"""How many pieces of a reply are read in its first round, and in each later one."""

READ_TOGETHER, SURVEYED_TOGETHER = 16, 512
"""How many replies, and how many states of jobs, are read in one round: others have the connection in between."""

Settle = Callable[[Name, Reply], object]
"""Takes the reply to a job as soon as it has arrived."""


def fetch(prefix: str, names: Iterable[Name]) -> Call[dict[Name, Reply]]:
    """Return the replies that are there, by (model, job id)."""
    replies: dict[Name, Reply] = {}
    yield from deliver(prefix, names, replies.__setitem__)
    return replies


def reply_size(prefix: str, model: str, job_id: str) -> Call[int]:
    """Return how many bytes the reply to a job has, 0 if it is not there."""
    (size,) = yield [("STRLEN", Keys(prefix, model).result(job_id))]
    count: int = size
    return count


def deliver(prefix: str, names: Iterable[Name], settle: Settle) -> Call[None]:
    """Hand each reply that is there to `settle` in the step in which its last byte arrives.

    What has arrived is settled whatever becomes of the rest: a conversation that is cut, cancelled or fails later takes
    nothing back. Replies are read in pieces of `PIECE_BYTES`, a bounded number of bytes a round.
    """
    for together in _runs(list(names), READ_TOGETHER):
        yield from _deliver_together(prefix, together, settle)


def _deliver_together(prefix: str, names: Sequence[Name], settle: Settle) -> Call[None]:
    keys = [Keys(prefix, model).result(job_id) for model, job_id in names]
    width = 1 + FIRST_PIECES
    heard = yield Tolerant(command for key in keys for command in _pieces(key, 0, FIRST_PIECES))
    parts = [heard[start : start + width] for start in range(0, len(heard), width)]
    failed: RpcError | None = None
    large = []
    for name, key, (size, *pieces) in zip(names, keys, parts, strict=True):
        error = next((part for part in (size, *pieces) if isinstance(part, RpcError)), None)
        if error is not None and error.retryable:
            failed = error
        elif error is not None:
            settle(name, Failure("model_error", f"the reply cannot be read: {error}"))
        elif size == sum(map(len, pieces)):
            _settle_whole(name, pieces, settle)
        else:
            large.append((name, key, size, pieces))
    if failed is not None:
        raise failed
    for name, key, size, pieces in large:
        if (yield from _read_rest(key, size, pieces)):
            _settle_whole(name, pieces, settle)


def _settle_whole(name: Name, pieces: Sequence[bytes], settle: Settle) -> None:
    if value := b"".join(pieces):
        settle(name, read_reply(value))


def _read_rest(key: str, size: int, pieces: list[bytes]) -> Call[bool]:
    """Add the pieces of a reply that are still missing; return whether it stayed the same one meanwhile."""
    start = sum(map(len, pieces))
    while start < size:
        count = min(PIECES_TOGETHER, -(-(size - start) // PIECE_BYTES))
        length, *more = yield _pieces(key, start, count)
        if length != size:
            return False
        pieces += more
        start += sum(map(len, more))
    return start == size


def _pieces(key: str, start: int, count: int) -> list[Command]:
    """Return what reads the size of a reply and some pieces of it."""
    starts = range(start, start + count * PIECE_BYTES, PIECE_BYTES)
    return [("STRLEN", key), *(("GETRANGE", key, at, at + PIECE_BYTES - 1) for at in starts)]


@dataclass(frozen=True, slots=True)
class JobSurvey:
    """Jobs as Redis knows them: those with a reply, and those of which it knows neither the id nor a reply."""

    answered: list[Name] = field(default_factory=list)
    missing: set[Name] = field(default_factory=set)


def survey(prefix: str, names: Iterable[Name]) -> Call[JobSurvey]:
    """Return which of the jobs have a reply and which are unknown; no reply is read."""
    found = JobSurvey()
    for together in _runs(list(names), SURVEYED_TOGETHER):
        keys = [(Keys(prefix, model), job_id) for model, job_id in together]
        # a job that ends in between has its reply before its id is gone
        ids = [("STRLEN", key.job(job_id)) for key, job_id in keys]
        heard = yield Tolerant([*ids, *(("STRLEN", key.result(job_id)) for key, job_id in keys)])
        for name, known, size in zip(together, heard[: len(keys)], heard[len(keys) :], strict=True):
            if isinstance(size, RpcError) and size.retryable:
                raise size
            if size:
                found.answered.append(name)
            elif known == 0:
                found.missing.add(name)
    return found


def _runs(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))


def lost(prefix: str, waits: Iterable[tuple[str, str]]) -> Call[set[tuple[str, str]]]:
    """Return those of the jobs that have neither a reply nor an entry, even if their ids are known.

    It reads whole entries on the server: not to be asked often. What it tells can be submitted again.
    """
    by_model = _by_model(waits)
    rounds = []
    for model, ids in by_model.items():
        keys = Keys(prefix, model)
        names = [name for job_id in ids for name in (keys.result(job_id), keys.job(job_id))]
        rounds.append(script("lost", (*map(keys.stream, LANES), *names), ()))
    replies = yield rounds
    return {
        (model, job_id)
        for (model, ids), gone in zip(by_model.items(), replies, strict=True)
        for job_id, is_gone in zip(ids, gone, strict=True)
        if is_gone
    }


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
    keys = Keys(prefix, check_model(model))
    check_job_id(job_id)
    reply = encode_reply(Failure.of(Cancelled(f"job {job_id} was cancelled")), model=model)
    names = (keys.result(job_id), keys.job(job_id), *map(keys.stream, LANES))
    (outcome,) = yield [script("cancel", names, (job_id, HOUR_MS, reply))]
    answer: CancelOutcome = outcome.decode()
    return answer
