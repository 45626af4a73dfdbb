"""Inputs too large for an entry: they travel under keys of their own, and never outlive their job."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from redis import Redis

from rpc import Client, InvalidInput, JobLost, QueueFull, RedisSettings, Unavailable
from rpc.calls import BLOB_BYTES_TOGETHER, Call, Round, submit
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Hold, Limits, Settlement
from rpc.inspection import dead_jobs
from rpc.keys import Keys
from rpc.messages import JOB_MARGIN_MS, Blob, Failure, Job
from tests.answering import carry_out, given, job_of, read_one, reply_with
from tests.callers import Callers
from tests.conftest import MakeConsumer, settings_for
from tests.servers import Server

pytestmark = pytest.mark.server

INLINE = 1000

LARGE = bytes(range(256)) * 5


@pytest.fixture
def redis_settings(server: Server, redis_settings: RedisSettings) -> RedisSettings:
    """Return settings under which a kilobyte is large."""
    del server
    return redis_settings.model_copy(update={"inline_bytes": INLINE})


def one_round(commands: Round) -> Call[list[Any]]:
    """Return the replies to one round of another conversation."""
    replies: list[Any] = yield commands
    return replies


@pytest.fixture
def worker(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that has the jobs."""
    return make_consumer()


def blobs(raw: "Redis") -> list[str]:
    """Return the names of all blobs on the server that the tests' model has, less what all have in common."""
    names: list[bytes] = list(raw.scan_iter(match="*:blob:*", count=1000))
    return sorted(name.decode().partition(":blob:")[2] for name in names)


def uploads(raw: "Redis", settings: RedisSettings) -> list[bytes]:
    """Return the keys of inputs that were written and not taken over by a job."""
    return list(raw.scan_iter(match=f"{settings.prefix}:*:upload:*", count=1000))


@pytest.fixture
def raw(raw: "Redis", redis_settings: RedisSettings) -> Iterator["Redis"]:
    """Yield the server without what tests of other modules left; whatever a test did, no blob may be left behind."""
    for name in raw.scan_iter(match="*:blob:*", count=1000):
        raw.unlink(name)
    yield raw
    assert (blobs(raw), uploads(raw, redis_settings)) == ([], [])


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


@pytest.mark.parametrize("size", [len(LARGE), 2 * BLOB_BYTES_TOGETHER + 1], ids=["one write", "pieces"])
def test_a_submit_that_joins_changes_nothing_of_the_job_it_joins(
    callers: Callers, raw: "Redis", redis_settings: RedisSettings, worker: Consumer, size: int
) -> None:
    """The first submit's bytes are the job's, waiting, running and cancelled, and the second's are gone at once."""
    caller = callers.make()
    caller.submit("m", "op", [b"a" * size], job_id="j1")

    caller.submit("m", "op", [b"b" * size, b"c" * size], job_id="j1")
    delivery = read_one(worker)
    caller.submit("m", "op", [b"d" * size], job_id="j1")
    caller.cancel("m", "j1")
    caller.submit("m", "op", [b"e" * size], job_id="j1")

    assert given(worker, delivery) == [b"a" * size]
    assert (blobs(raw), uploads(raw, redis_settings)) == (["j1:0"], [])
    end(worker, delivery)


def test_a_blob_outlives_no_job_that_ended_while_it_was_written(
    callers: Callers, raw: "Redis", redis_settings: RedisSettings, worker: Consumer
) -> None:
    """A submit whose job is settled between its writes and its script leaves neither a blob nor an upload."""
    job = Job("m", "op", [LARGE], id="j1")
    callers.make().submit("m", "op", [LARGE], job_id="j1")
    second = submit(redis_settings, [job])
    carry_out(worker, one_round(second.send(None)))
    end(worker, read_one(worker))

    assert carry_out(worker, one_round(second.send([True]))) == [[b"done"]]

    assert (blobs(raw), uploads(raw, redis_settings)) == ([], [])


@pytest.mark.usefixtures("raw")
def test_an_upload_that_expired_is_sent_again(redis_settings: RedisSettings, worker: Consumer, raw: "Redis") -> None:
    """A job is never queued without its blobs: its submit is `Unavailable`, which clients send again."""
    job = Job("m", "op", [LARGE], id="j1")
    call = submit(redis_settings, [job])
    call.send(None)
    answers = carry_out(worker, one_round(call.send([True])))

    with pytest.raises(Unavailable, match="expired"):
        call.send(answers)
    assert raw.xlen(worker.keys.stream("interactive")) == 0


def test_a_server_that_fills_up_during_an_upload_keeps_none_of_it(own_server: Server) -> None:
    """A blob refused in its middle queues no job and leaves no bytes; with room again the same submit succeeds."""
    settings = settings_for(own_server)
    with Redis.from_url(own_server.url, protocol=2) as raw, Client(settings=settings) as client:
        client.submit("m", "op", ["warm"])
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] + 2_000_000)
        with pytest.raises(QueueFull):
            client.submit("m", "op", [b"x" * 8_000_000], job_id="j1")
        kept = [name for name in raw.scan_iter() if b":upload:" in name or b":blob:" in name or b":job:j1" in name]
        raw.config_set("maxmemory", 0)
        client.submit("m", "op", [b"x" * 8_000_000], job_id="j1")

        assert (kept, raw.strlen(Keys(settings.prefix, "m").blob("j1", 0))) == ([], 8_000_000)
