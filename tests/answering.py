"""A worker's side of the wire in the test's own process, for tests of what callers see."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from redis import Redis

from rpc import leases
from rpc.calls import Call
from rpc.codec import encode_reply
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Settlement
from rpc.keys import GROUP, LANES, Lane
from rpc.messages import HOUR_MS, Blob, Failure, Job, Meta, Reply, Success

T = TypeVar("T")

Answer = Callable[[Job, list[Any]], Mapping[str, Any] | Reply]
"""What a played model makes of a job and its inputs."""

READ_MS = 5000
"""How long a read waits for an entry that a test has promised."""


def job_of(delivery: Delivery) -> Job:
    """Return the job of a delivery that has one."""
    assert isinstance(delivery.job, Job)
    return delivery.job


def carry_out(consumer: Consumer, call: Call[T]) -> T:
    """Carry out a conversation on the line a worker has, as its supervisor does on its own."""
    return consumer._connection.run(call)


def show_life(consumer: Consumer) -> None:
    """Give a worker its sign of life, as a supervisor does."""
    limits = consumer.limits
    carry_out(
        consumer, leases.renew(consumer.keys.prefix, [consumer.keys.model], consumer.name, lease_ms=limits.lease_ms)
    )


def read_one(consumer: Consumer, lanes: Sequence[Lane] = LANES) -> Delivery:
    """Return the next entry, waiting for it."""
    (delivery,) = consumer.read(lanes, 1, block_ms=READ_MS)
    return delivery


def reply_with(delivery: Delivery, result: Mapping[str, Any] | Reply, *, keep_ms: int = HOUR_MS) -> Settlement:
    """Return the end of a job."""
    reply = Success(result, Meta("in-process")) if isinstance(result, Mapping) else result
    model = delivery.job.model if isinstance(delivery.job, Job) else ""
    encoded = encode_reply(reply, delivery.job.encoding, model=model)
    return Settlement(delivery, encoded, keep_ms, failed=isinstance(reply, Failure))


def echo(delivery: Delivery, *, keep_ms: int = HOUR_MS) -> Settlement:
    """Return the end of a job that gives its inputs back."""
    return reply_with(delivery, {"outputs": list(job_of(delivery).inputs)}, keep_ms=keep_ms)


def given(consumer: Consumer, delivery: Delivery) -> list[Any]:
    """Return the inputs of a job as the worker's prepare stage gets them: what travelled as blobs is fetched."""
    job = job_of(delivery)
    return [consumer.blob(job.id, item) if isinstance(item, Blob) else item for item in job.inputs]


def told(delivery: Delivery, channel: str) -> Delivery:
    """Return the same delivery with another channel to tell of its end."""
    return replace(delivery, job=replace(job_of(delivery), reply=channel))


def outputs(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
    """Return the result of a model that gives its inputs back."""
    del job
    return {"outputs": inputs}


class Answering:
    """Answers whatever comes, with its own inputs unless told how, from a thread, until left."""

    def __init__(self, consumer: Consumer, answer: Answer = outputs) -> None:
        self._consumer = consumer
        self._answer = answer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.stop()
        self._thread.join(READ_MS / 1000)

    def stop(self) -> None:
        """Begin to end; a server is slow to see that nothing came, and many can wait for that at once."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            deliveries = self._consumer.read(LANES, 64, block_ms=10)
            if deliveries:
                self._consumer.settle([self._ended(delivery) for delivery in deliveries])

    def _ended(self, delivery: Delivery) -> Settlement:
        return reply_with(delivery, self._answer(job_of(delivery), given(self._consumer, delivery)))


def age(raw: "Redis", consumer: Consumer, delivery: Delivery, *, idle_ms: int, deliveries: int = 1) -> None:
    """Let an entry look as if its consumer had last been heard of that long ago, without waiting for it."""
    stream = consumer.keys.stream(delivery.lane)
    raw.xclaim(stream, GROUP, consumer.name, 0, (delivery.entry_id,), idle=idle_ms, retrycount=deliveries, justid=True)


def held(raw: "Redis", consumer: Consumer, lane: Lane = "interactive") -> list[tuple[str, str, int]]:
    """Return what is pending in a lane: entry, who holds it, how often it was handed out."""
    pending: Any = raw.xpending_range(consumer.keys.stream(lane), GROUP, "-", "+", 1000)
    return [(item["message_id"].decode(), item["consumer"].decode(), item["times_delivered"]) for item in pending]
