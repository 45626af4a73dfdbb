"""Replies that were sent on to a sink, as whoever takes them reads them: conversations, and no connection in sight.

A sink is a stream of each model whose jobs named it. It gets the reply of a job in the very step that settles the job,
and keeps it until it is told that it was taken: each reply is handed out at least once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.calls import Call, Command, Round, Tolerant, read_reply, script
from rpc.errors import QueueFull, RpcError
from rpc.keys import RELAY, Keys, check_model, check_sink
from rpc.leases import SILENT_MS, reaping
from rpc.messages import Failure, Meta, Reply, Success

DEFAULT_LEASE_S = 30.0
"""How long a completion stays with one who took it and is not done, before it is handed out again."""

TOGETHER = 16
"""The most completions taken at a time of each model: whoever takes them has the lease for all of them."""

BEGINNING = b"0-0"
"""Where a look at what is in hand begins, and what is said when it has seen the end."""

BLOCK_MS = 1000
"""The longest wait for a new one, so that who waits can be stopped and hears of new models."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of one job, as a sink hands it out.

    Attributes:
        model: whose job it was.
        job_id: its id: the key to store the result under, since the same completion may be handed out again.
        op: what was asked; "" of an entry that was no job.
        reply: result or error.
        entry: which entry of the sink it is.
    """

    model: str
    job_id: str
    op: str
    reply: Reply
    entry: str

    def result(self) -> Mapping[str, Any]:
        """Return the result; raise the error if the job failed."""
        if isinstance(self.reply, Failure):
            raise self.reply.error()
        return self.reply.result or {}

    @property
    def error(self) -> RpcError | None:
        """The error the job ended with, or None."""
        return self.reply.error() if isinstance(self.reply, Failure) else None

    @property
    def meta(self) -> Meta:
        """How the job fared, as far as that is told."""
        return self.reply.meta if isinstance(self.reply, Success) else Meta()


@dataclass(frozen=True, slots=True)
class Reading:
    """Who takes what.

    Attributes:
        sink: the name of the sink.
        models: whose completions.
        consumer: the name of who takes them; no other has it.
        lease_ms: how long one may be in hand before it is handed out again.
    """

    prefix: str
    sink: str
    models: Sequence[str]
    consumer: str
    lease_ms: int

    def __post_init__(self) -> None:
        """Refuse names that would make a malformed key."""
        check_sink(self.sink)
        for model in self.models:
            check_model(model)

    def stream(self, model: str) -> str:
        """Return the key of the sink of a model."""
        return Keys(self.prefix, model).sink(self.sink)


def ensure(reading: Reading) -> Call[None]:
    """Make the groups where they are missing, from the first completion on."""
    commands: Round = [("XGROUP", "CREATE", reading.stream(model), RELAY, "0", "MKSTREAM") for model in reading.models]
    for reply in (yield Tolerant(commands)):
        # a full server refuses this also where there is nothing to make; where there is, the read says so
        if isinstance(reply, Exception) and not isinstance(reply, QueueFull) and "BUSYGROUP" not in str(reply):
            raise reply


def reap(reading: Reading, *, silent_ms: int = SILENT_MS) -> Call[None]:
    """Drop those who took completions here, hold none, and are gone: one that comes back is made again by its read."""
    yield [
        reaping(Keys(reading.prefix, model).workers, [reading.stream(model)], RELAY, silent_ms=silent_ms)
        for model in reading.models
    ]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Completions taken over, and where in each model's sink the next look goes on; nowhere if it saw the end."""

    completions: Sequence[Completion]
    onwards: Mapping[str, bytes]


def abandoned(reading: Reading, start: Mapping[str, bytes]) -> Call[Abandoned]:
    """Take completions whose lease is over: of those who died, and those that failed here.

    A look sees so many that are in hand and no more, so it goes on where the last one stopped.
    """
    models = [model for model in reading.models if model in start] or reading.models
    who = (RELAY, reading.consumer, reading.lease_ms)
    replies = yield [
        ("XAUTOCLAIM", reading.stream(model), *who, start.get(model, BEGINNING), "COUNT", TOGETHER) for model in models
    ]
    found = [
        _completion(model, entry)
        for model, (_, entries, *_) in zip(models, replies, strict=True)
        for entry in entries
        # one that somebody deleted has no fields
        if entry[1]
    ]
    return Abandoned(found, {name: at for name, (at, *_) in zip(models, replies, strict=True) if at != BEGINNING})


def arriving(reading: Reading, *, block_ms: int) -> Call[list[Completion]]:
    """Take new completions; wait for the first one up to `block_ms`, 0 not at all."""
    streams = {reading.stream(model): model for model in reading.models}
    wait: Command = ("BLOCK", block_ms) if block_ms else ()
    command = ("XREADGROUP", "GROUP", RELAY, reading.consumer, "COUNT", TOGETHER, *wait, "STREAMS")
    (found,) = yield [(*command, *streams, *(">" for _ in streams))]
    return [_completion(streams[stream.decode()], entry) for stream, entries in found or () for entry in entries]


def taken(reading: Reading, completion: Completion) -> Call[None]:
    """Say that a completion is done with: it goes."""
    yield [script("taken", (reading.stream(completion.model),), (RELAY, completion.entry))]


def leave(reading: Reading) -> Call[None]:
    """Go: what is still in hand is handed out again when its lease is over."""
    each = [(Keys(reading.prefix, model), reading.stream(model)) for model in reading.models]
    yield [
        script("leave", (keys.workers, keys.worker(reading.consumer), stream), (RELAY, reading.consumer))
        for keys, stream in each
    ]


def _completion(model: str, entry: Sequence[Any]) -> Completion:
    entry_id, flat = entry
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    # what somebody else wrote here must not keep the rest from being handed over
    job_id, op = (fields.get(name, b"").decode("utf-8", "replace") for name in (b"id", b"op"))
    return Completion(model, job_id, op, read_reply(fields.get(b"reply", b"")), entry_id.decode())
