"""What the named calls ask for and how their answers are put together. No I/O: both clients share it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

from rpc.deadlines import Deadline
from rpc.entries import size_of
from rpc.errors import InvalidInput, ModelError, PartialFailure, RpcError, from_code
from rpc.keys import LANES, Lane, check_lane, check_op
from rpc.messages import HOUR_MS, Failure, Job, Reply, Success, new_job_id
from rpc.rejects import Rejects
from rpc.results import Vector, one_of, shortened, stacked

OnError = Literal["raise", "nan"]

DEFAULT_TIMEOUT_S = 60.0

QUEUED_TIMEOUT_S = 3600.0
"""How long a job may wait to be started that is only queued: no caller's patience says."""

LOOK_TIMEOUT_S = 5.0
"""How long `cancel` and `progress` are tried while Redis is away, unless told otherwise."""

MOST_S = 1_000_000_000
"""The longest time a job may be given, some thirty years: in ms a number that every server takes."""

RECONNECT_S = 0.2
"""Pause of a listener between two attempts to reach Redis."""

FIRST_LOOK_S, LAST_LOOK_S = 0.05, 0.5

CLOSED = Failure("unavailable", "the client was closed")
"""What those get who still wait when a client is closed."""

INPUTS_PER_JOB = 256
"""A longer list travels as several jobs, so that several workers share it and no reply grows large."""

BYTES_PER_JOB = 4 * 1024 * 1024
"""Nor does an entry: a list of more bytes than this travels as several jobs too."""


class CallOptions(TypedDict, total=False):
    """What every call takes.

    Attributes:
        timeout_s: how long to wait; the job is not started after it either. Unless given 60 s, and an hour for
            `transcribe` and for `submit`, with which nobody waits.
        lane: "interactive" or "bulk".
        job_id: the same id twice is the same job; made up unless given.
        keep_s: how long the reply can be fetched; 3600 s unless given.
        cancel_abandoned: whether the job is cancelled if the caller stops waiting before it has the reply, because
            its time is up or it is itself cancelled. False unless given: the job goes on, and its id fetches the reply.
        sink: the name of the sink that gets the reply as well, whole even with `keep_s` 0; see `rpc.sinks`.
        require_worker: whether the call fails at once if no worker serves the model: with `UnknownModel` if none ever
            did, with `Unavailable` if none does now. False unless given: the job waits for a worker to come.
    """

    timeout_s: float
    lane: Lane
    job_id: str
    keep_s: float
    cancel_abandoned: bool
    sink: str
    require_worker: bool


def deadline(options: CallOptions) -> Deadline:
    """Return until when a call waits."""
    return Deadline.after(options.get("timeout_s", DEFAULT_TIMEOUT_S), now=time.monotonic())


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of which model, and how its job travels.

    Attributes:
        reply: the channel that is to be told of the reply, or "".
        inline_bytes: a larger input does not stay in the entry.
        max_input_bytes: a larger file is not read.
    """

    model: str
    op: str
    options: Mapping[str, Any]
    reply: str = ""
    inline_bytes: int = 256 * 1024
    max_input_bytes: int = 256 * 1024 * 1024


def is_disposable(call: CallOptions) -> bool:
    """Return whether nobody but its caller can ask for the reply: no id, no life of the reply and no sink was named."""
    return not (call.get("job_id") or call.get("sink") or "keep_s" in call)


def job(asked: Asked, inputs: Sequence[Any], call: CallOptions) -> Job:
    """Return the job of one call; raise `InvalidInput` or `UnknownModel` on what could not travel."""
    check_names(call, CallOptions)
    timeout_s, keep_s = call.get("timeout_s", DEFAULT_TIMEOUT_S), call.get("keep_s", HOUR_MS / 1000)
    if not 0 < timeout_s <= MOST_S:
        raise InvalidInput(f"timeout_s {timeout_s} is no number of seconds above 0, up to {MOST_S}")
    if not 0 <= keep_s <= MOST_S:
        raise InvalidInput(f"keep_s {keep_s} is no number of seconds up to {MOST_S}")
    if asked.reply and not keep_s:
        raise InvalidInput("keep_s 0 keeps no result, so there is none to wait for: use submit")
    if not inputs or isinstance(inputs, str | bytes):
        raise InvalidInput("inputs must be a list of at least one input")
    return Job(
        model=asked.model,
        op=check_op(asked.op),
        inputs=inputs,
        options=asked.options,
        id=call.get("job_id") or new_job_id(),
        disposable=bool(asked.reply) and is_disposable(call),
        lane=check_lane(call.get("lane", LANES[0])),
        ttl_ms=max(1, int(timeout_s * 1000)),
        # 0 keeps nothing, which is not what a very short time means
        keep_ms=max(1, int(keep_s * 1000)) if keep_s else 0,
        reply=asked.reply,
        sink=call.get("sink", ""),
    )


def queued_job(asked: Asked, inputs: Sequence[Any], call: CallOptions) -> Job:
    """Return the job of a call that only queues it."""
    return job(asked, inputs, CallOptions(**{"timeout_s": QUEUED_TIMEOUT_S, **call}))


def check_names(given: Mapping[str, Any], known: type[CallOptions]) -> None:
    """Raise `TypeError` on an argument that a call does not have: a misspelt one would silently do nothing."""
    for name in given:
        if name not in known.__annotations__:
            raise TypeError(f"got an unexpected keyword argument {name!r}; there is {', '.join(known.__annotations__)}")


def list_jobs(asked: Asked, inputs: Sequence[Any], call: CallOptions, *, most: int = INPUTS_PER_JOB) -> list[Job]:
    """Return the jobs of a list call; with a `job_id`, the jobs of a long list are `<job_id>.0`, `.1` and so on."""
    chunks = _chunks(inputs, most, asked.inline_bytes)
    if len(chunks) == 1:
        return [job(asked, chunks[0], call)]
    if not chunks:
        return []
    base = call.get("job_id") or new_job_id()
    first = job(asked, chunks[0], call)
    return [replace(first, id=f"{base}.{index}", inputs=chunk) for index, chunk in enumerate(chunks)]


def _chunks(inputs: Sequence[Any], most: int, inline_bytes: int) -> list[Sequence[Any]]:
    """Return the inputs in runs of at most `most`, of which no more than so many bytes stay in an entry."""
    chunks: list[list[Any]] = []
    together = 0
    for given in inputs:
        size = size_of(given)
        size = 0 if size > inline_bytes else size
        together += size
        if not chunks or len(chunks[-1]) == most or together > BYTES_PER_JOB:
            chunks.append([])
            together = size
        chunks[-1].append(given)
    return list(chunks)


def looks() -> Iterator[float]:
    """Return the pauses between looks at a result nobody will tell us of, in seconds, growing to half a second."""
    pause_s = FIRST_LOOK_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LAST_LOOK_S)


def check_texts(texts: Any) -> None:
    """Raise `InvalidInput` unless `texts` is a list: one str would be taken for a list of letters."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InvalidInput(f"texts is a {type(texts).__name__}, not a list of str")


def check_on_error(on_error: Any) -> None:
    """Raise `InvalidInput` unless `on_error` says what becomes of inputs that fail."""
    if on_error not in get_args(OnError):
        raise InvalidInput(f"on_error must be one of {', '.join(get_args(OnError))}, got {on_error!r:.100}")


def result_of(reply: Reply) -> Mapping[str, Any]:
    """Return the result of a reply, or raise its error."""
    if isinstance(reply, Failure):
        raise reply.error()
    return reply.result or {}


def vector_of(reply: Reply, dimensions: int | None = None, *, normalize: bool = True) -> Vector:
    """Return the one vector of an embedding reply, float32 (d,), or raise its error; see `results.shortened`."""
    vector: Vector = one_of(result_of(reply), "vectors").copy()
    return shortened(vector, dimensions, normalize=normalize)


def vectors_of(
    jobs: Sequence[Job],
    replies: Sequence[Reply],
    *,
    on_error: OnError,
    rejects: Rejects | None = None,
    dimensions: int | None = None,
) -> Vector:
    """Return the vectors of a list call, float32 (n, d), rows in the order of the call.

    Raises `PartialFailure` if inputs failed, those that were not sent among them, or with `on_error="nan"` leaves NaN
    rows. An error that is not the fault of single inputs is raised as it is.
    """
    told, failed = gathered(jobs, replies)
    rows = stacked([len(asked.inputs) for asked in jobs], [result.get("vectors") for result in told])
    rows = shortened(rows, dimensions, normalize=normalizes(jobs))
    if rejects is not None:
        rows, failed = rejects.rows(rows), rejects.failed(failed)
    if failed and on_error == "raise":
        raise PartialFailure(summary(failed, len(rows)), vectors=rows, failed=failed)
    return rows


def normalizes(jobs: Sequence[Job]) -> bool:
    """Return whether jobs ask for vectors of unit norm."""
    return all(job.options.get("normalize", True) for job in jobs)


def gathered(jobs: Sequence[Job], replies: Sequence[Reply]) -> tuple[list[Mapping[str, Any]], Mapping[int, RpcError]]:
    """Return the results of the jobs of a list call, and the errors of single inputs by their place in the call.

    The result of a job whose only input failed is empty. Raises an error that is not the fault of single inputs.
    """
    results, failed = [], {}
    start = 0
    for asked, reply in zip(jobs, replies, strict=True):
        result, errors = _told(asked, reply)
        results.append(result)
        failed.update({start + index: error for index, error in errors.items()})
        start += len(asked.inputs)
    return results, failed


def summary(failed: Mapping[int, RpcError], count: int) -> str:
    """Return how many of so many inputs failed, and why the first did."""
    index, first = min(failed.items())
    return f"{len(failed)} of {count} inputs failed, the first at {index}: {first}"


def _told(asked: Job, reply: Reply) -> tuple[Mapping[str, Any], dict[int, RpcError]]:
    if isinstance(reply, Success):
        result = reply.result or {}
        check_complete(asked, result)
        return result, {item["index"]: from_code(item["code"], item["message"]) for item in result.get("failed", ())}
    error = reply.error()
    if isinstance(error, InvalidInput) and len(asked.inputs) == 1:
        return {}, {0: error}
    raise error


def check_complete(asked: Job, result: Mapping[str, Any]) -> None:
    """Raise `ModelError` if an embedding model told of nothing, `InvalidInput` if it told of other inputs.

    The latter happens to who gives the id of one list to another: what is there is the answer to the first.
    """
    told = [len(result[name]) for name in ("vectors", "sparse", "colbert") if name in result]
    if not told:
        raise ModelError(f"the result of job {asked.id} has no vectors")
    if told[0] != len(asked.inputs):
        raise InvalidInput(f"job {asked.id} is one of {told[0]} inputs, not of these {len(asked.inputs)}")
