"""Inputs too large for an entry: they travel under keys of their own, and never outlive their job."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from redis import Redis

from rpc import Client, InvalidInput, JobLost, QueueFull, RedisSettings
from rpc.calls import BLOB_BYTES_TOGETHER
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Hold, Limits, Settlement
from rpc.inspection import dead_jobs
from rpc.messages import JOB_MARGIN_MS, Blob, Failure
from tests.answering import given, job_of, read_one, reply_with
from tests.callers import Callers
from tests.conftest import MakeConsumer
from tests.servers import Server

pytestmark = pytest.mark.server

INLINE = 1000

LARGE = bytes(range(256)) * 5


@pytest.fixture
def redis_settings(server: Server, redis_settings: RedisSettings) -> RedisSettings:
    """Return settings under which a kilobyte is large."""
    del server
    return redis_settings.model_copy(update={"inline_bytes": INLINE})


@pytest.fixture
def worker(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that has the jobs."""
    return make_consumer()


def blobs(raw: "Redis") -> list[str]:
    """Return the names of all blobs on the server that the tests' model has, less what all have in common."""
    names: list[bytes] = list(raw.scan_iter(match="*:blob:*", count=1000))
    return sorted(name.decode().partition(":blob:")[2] for name in names)


@pytest.fixture
def raw(raw: "Redis") -> Iterator["Redis"]:
    """Yield the server without what tests of other modules left; whatever a test did, no blob may be left behind."""
    for name in raw.scan_iter(match="*:blob:*", count=1000):
        raw.unlink(name)
    yield raw
    assert blobs(raw) == []


def end(worker: Consumer, delivery: Delivery) -> None:
    """Answer a job."""
    worker.settle([reply_with(delivery, {"outputs": []})])


@pytest.mark.usefixtures("raw")
def test_what_is_large_arrives_as_it_was_sent(callers: Callers, worker: Consumer) -> None:
    """Bytes, text and pixels keep their type; small inputs beside them stay in the entry, in their order."""
    pixels = np.arange(3000, dtype=np.uint8).reshape(10, 100, 3)
    inputs = ["small", LARGE, "ü" * INLINE, pixels, 7]
    callers.make().submit("m", "op", inputs)

    delivery = read_one(worker)
    arrived = given(worker, delivery)

    assert [type(item) for item in job_of(delivery).inputs] == [str, Blob, Blob, Blob, int]
    assert arrived[:3] == inputs[:3]
    assert np.array_equal(arrived[3], pixels)
    assert arrived[4] == 7
    end(worker, delivery)


def test_a_file_lies_there_as_it_is(client: Client, raw: "Redis", worker: Consumer) -> None:
    """The bytes of a file are not wrapped: redis-cli can read and write them."""
    job_id = client.submit("m", "op", [LARGE])

    assert raw.get(worker.keys.blob(job_id, 0)) == LARGE
    end(worker, read_one(worker))


def test_a_blob_larger_than_one_write_arrives_whole(client: Client, raw: "Redis", worker: Consumer) -> None:
    """What is written in pieces is read in one, and has a time to live."""
    huge = np.random.default_rng(0).bytes(2 * BLOB_BYTES_TOGETHER + 12_345)
    job_id = client.submit("m", "op", [huge], timeout_s=60.0)
    delivery = read_one(worker)

    assert given(worker, delivery) == [huge]
    assert 0 < raw.pttl(worker.keys.blob(job_id, 0)) <= 60_000 + JOB_MARGIN_MS
    client.submit("m", "op", [huge], job_id=job_id, timeout_s=60.0)
    assert given(worker, delivery) == [huge]
    end(worker, delivery)


def test_blobs_go_with_the_answer(client: Client, raw: "Redis", worker: Consumer) -> None:
    """Settling a job deletes its blobs in the same step; those of a job beside it stay."""
    client.submit("m", "op", [LARGE, "small", LARGE], job_id="first")
    client.submit("m", "op", [LARGE], job_id="second")
    first, second = worker.read(["interactive"], 2, block_ms=5000)

    assert blobs(raw) == ["first:0", "first:2", "second:0"]
    end(worker, first)
    assert blobs(raw) == ["second:0"]
    worker.settle([Settlement(second, b"whatever", 1000)])


def test_blobs_of_many_jobs_settled_together_all_go(client: Client, raw: "Redis", worker: Consumer) -> None:
    """Jobs with and without blobs in one settlement: each loses exactly its own, and each gets its own reply."""
    for number in range(10):
        client.submit("m", "op", [LARGE] * (number % 3) or ["small"], job_id=f"j{number}")
    deliveries = worker.read(["interactive"], 10, block_ms=5000)

    worker.settle([reply_with(delivery, {"outputs": [delivery.job_id]}) for delivery in deliveries])

    assert blobs(raw) == []
    assert [client.result("m", f"j{number}")["outputs"] for number in range(10)] == [[f"j{n}"] for n in range(10)]


def test_blobs_go_with_a_job_given_up_on(client: Client, raw: "Redis", worker: Consumer) -> None:
    """The dead letter keeps no blob, and says that the job cannot be queued again."""
    client.submit("m", "op", [LARGE], job_id="poison")

    worker.bury(read_one(worker), Failure("dead_lettered", "given up"))

    assert blobs(raw) == []
    (dead,) = client.ask(dead_jobs(worker.keys.prefix, "m"))
    assert not dead.whole


def test_blobs_of_a_refused_submit_go_at_once(client: Client, raw: "Redis", make_consumer: MakeConsumer) -> None:
    """A lane that is full keeps neither the job nor what was written for it."""
    worker = make_consumer(limits=Limits(max_jobs=1))
    worker.announce({"state": "ready"})
    client.submit("m", "op", ["small"])

    with pytest.raises(QueueFull):
        client.submit("m", "op", [LARGE])
    assert blobs(raw) == []


def test_blobs_of_a_job_sent_again_after_its_end_go_at_once(client: Client, raw: "Redis", worker: Consumer) -> None:
    """An answered job is not run again, and its inputs do not come back."""
    client.submit("m", "op", [LARGE], job_id="done")
    end(worker, read_one(worker))

    client.submit("m", "op", [LARGE], job_id="done")

    assert blobs(raw) == []


def test_a_lease_renews_the_blobs_too(client: Client, raw: "Redis", worker: Consumer) -> None:
    """A job that runs for longer than it was to wait keeps its inputs for whoever takes it over."""
    job_id = client.submit("m", "op", [LARGE], timeout_s=1.0)
    delivery = read_one(worker)
    key = worker.keys.blob(job_id, 0)
    raw.pexpire(key, 5_000)

    job = job_of(delivery)
    worker.look([Hold(delivery.entry_id, delivery.lane, job.id, job.blobs)])

    assert raw.pttl(key) > 5_000
    end(worker, delivery)


@pytest.mark.usefixtures("raw")
def test_a_blob_that_is_gone_is_a_lost_job(client: Client, worker: Consumer) -> None:
    """Whoever deleted it, the caller is told that the job can be sent again."""
    client.submit("m", "op", [LARGE])
    delivery = read_one(worker)
    end(worker, delivery)

    with pytest.raises(JobLost, match=r"blob 0 of job .* is missing"):
        given(worker, delivery)


@pytest.mark.usefixtures("raw")
def test_a_foreign_blob_over_the_limit_is_refused(client: Client, make_consumer: MakeConsumer) -> None:
    """A caller that does not check sizes itself is told by the worker."""
    worker = make_consumer(limits=Limits(max_input_bytes=1100))
    client.submit("m", "op", [LARGE])
    delivery = read_one(worker)

    with pytest.raises(InvalidInput, match="1280 bytes is over the limit of 1100"):
        given(worker, delivery)
    end(worker, delivery)


def test_an_input_over_the_limit_is_never_sent(redis_settings: RedisSettings, raw: "Redis") -> None:
    """The caller is told at once, and nothing was written."""
    small = redis_settings.model_copy(update={"max_input_bytes": 1024})
    with Client(settings=small) as client, pytest.raises(InvalidInput, match="input 1 of 1280 bytes is over the limit"):
        client.submit("m", "op", ["fine", LARGE])
    assert blobs(raw) == []


@pytest.mark.parametrize("reserved", [{"blob": 0}, {"blob": 1, "packed": True}, {"ref": "file:x"}])
def test_what_would_be_taken_for_a_blob_is_refused(client: Client, reserved: dict[str, Any]) -> None:
    """A caller's own map that means something else on the wire is not sent."""
    with pytest.raises(InvalidInput, match="would be taken for a blob or a reference"):
        client.submit("m", "op", [reserved])
