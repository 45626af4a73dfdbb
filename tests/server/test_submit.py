"""Queueing jobs: idempotent, bounded, and never without a reply that is there already."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from rpc import Client, InvalidInput, JobLost, ModelError, QueueFull, RedisSettings, UnknownModel, calls
from rpc.codec import encode_reply
from rpc.consumer import Consumer
from rpc.deliveries import Limits
from rpc.keys import GROUP, LANES, Keys
from rpc.messages import HOUR_MS, Encoding, Failure, Job
from tests.answering import echo, job_of, read_one
from tests.conftest import MakeConsumer
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

BOUND = 20


@pytest.fixture
def bounded(make_consumer: MakeConsumer) -> Iterator[Consumer]:
    """Yield a consumer whose model holds at most 20 jobs in a lane."""
    consumer = make_consumer(limits=Limits(max_jobs=BOUND))
    consumer.announce({"device": "cpu"})
    yield consumer
    consumer.leave()


def test_a_job_sent_twice_is_queued_once(client: Client, raw: "Redis", redis_settings: RedisSettings) -> None:
    """Who is not sure whether a submit arrived sends it again with its id."""
    ids = [client.submit("m", "op", ["a"], job_id="j1") for _ in range(3)]

    assert (ids, raw.xlen(Keys(redis_settings.prefix, "m").stream("interactive"))) == (["j1"] * 3, 1)


def test_the_first_submit_makes_the_group_and_the_jobs_before_a_worker_count(
    client: Client, raw: "Redis", redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """What scales workers from zero reads the group's lag, which exists before any worker does and is exact."""
    keys = Keys(redis_settings.prefix, "m")
    jobs = [client.submit("m", "op", ["a"], lane=lane) for lane in LANES for _ in range(3)]

    groups: Any = [raw.xinfo_groups(keys.stream(lane)) for lane in LANES]
    assert [[(group["name"], group["lag"]) for group in each] for each in groups] == [[(GROUP.encode(), 3)]] * 2
    assert [delivery.job_id for delivery in make_consumer().read(LANES, 10, block_ms=0)] == jobs


def test_a_caller_that_may_make_no_group_submits_all_the_same(
    raw: "Redis", redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """The group is then made by the first worker, from the first job on."""
    raw.execute_command("ACL", "SETUSER", "caller", "reset", "on", ">secret", "~*", "+@all", "-xgroup")  # type: ignore[no-untyped-call]
    url = redis_settings.url.get_secret_value().replace("redis://", "redis://caller:secret@")

    with Client(settings=RedisSettings.from_env({}, url=url, prefix=redis_settings.prefix)) as caller:
        job = caller.submit("m", "op", ["a"])

    assert raw.xinfo_groups(Keys(redis_settings.prefix, "m").stream("interactive")) == []
    assert read_one(make_consumer()).job_id == job


def test_a_job_sent_again_joins_the_one_that_runs(client: Client, make_consumer: MakeConsumer) -> None:
    """The same id is the same job also after a worker has read it."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1")
    read_one(consumer)
    client.submit("m", "op", ["a"], job_id="j1")

    assert consumer.read(["interactive"], 10, block_ms=0) == []


def test_a_job_sent_again_after_its_end_is_not_run_again(client: Client, make_consumer: MakeConsumer) -> None:
    """While its reply is kept, the same id is answered with it, without a worker."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1")
    consumer.settle([echo(read_one(consumer))])

    assert client.call("m", "op", ["a"], job_id="j1", timeout_s=5.0) == {"outputs": ["a"]}
    assert consumer.read(["interactive"], 10, block_ms=0) == []


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_a_job_sent_again_after_what_may_pass_is_run(
    client: Client, raw: "Redis", make_consumer: MakeConsumer, encoding: Encoding
) -> None:
    """An error that says that trying again can help gives way to another try under the same id; others stay."""
    consumer = make_consumer()
    for code, retryable in (("expired", True), ("model_error", False)):
        reply = encode_reply(Failure(code, "no", retryable=retryable), encoding, model="m")
        raw.set(consumer.keys.result(code), reply, px=60_000)
        client.submit("m", "op", ["again"], job_id=code)

    consumer.settle([echo(read_one(consumer))])

    assert client.result("m", "expired") == {"outputs": ["again"]}
    with pytest.raises(ModelError):
        client.result("m", "model_error")
    assert raw.xlen(consumer.keys.stream("interactive")) == 0


def test_the_same_call_said_again_is_no_other_try(
    client: Client, raw: "Redis", make_consumer: MakeConsumer, redis_settings: RedisSettings
) -> None:
    """Its answer was not heard, and the reply to what it queued stays."""
    consumer = make_consumer()
    job = Job("m", "op", ["a"], id="j1")
    late = encode_reply(Failure("expired", "no", retryable=True), "msgpack", model="m")
    raw.set(consumer.keys.result("j1"), late, px=60_000)

    assert client.ask(calls.submit(redis_settings, [job], again=True)) == [True]
    assert (raw.get(consumer.keys.result("j1")), raw.xlen(consumer.keys.stream("interactive"))) == (late, 0)


def test_a_job_that_nobody_waits_for_may_wait_an_hour(client: Client, make_consumer: MakeConsumer) -> None:
    """No caller's patience bounds it, unless it says how long."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"])
    client.submit("m", "op", ["a"], timeout_s=5.0)

    assert [job_of(read_one(consumer)).ttl_ms for _ in range(2)] == [3_600_000, 5_000]


def test_a_reply_is_there_for_as_long_as_was_asked(client: Client, raw: "Redis", make_consumer: MakeConsumer) -> None:
    """Then it is gone, and who asks for it learns that there is none."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", keep_s=0.3)
    consumer.settle([echo(read_one(consumer), keep_ms=300)])

    assert client.result("m", "j1") == {"outputs": ["a"]}
    eventually(lambda: not raw.exists(consumer.keys.result("j1")))
    with pytest.raises(JobLost):
        client.result("m", "j1", timeout_s=LONG_S)


def test_a_submit_says_whether_its_reply_is_there(
    client: Client, make_consumer: MakeConsumer, redis_settings: RedisSettings
) -> None:
    """A caller that joins late learns in the same round trip that it need not wait."""
    consumer = make_consumer()
    jobs = [Job("m", "op", [name], id=name) for name in ("done", "new")]
    client.submit("m", "op", ["done"], job_id="done")
    consumer.settle([echo(read_one(consumer))])

    assert client.ask(calls.submit(redis_settings, jobs)) == [True, False]


def test_a_full_lane_has_room_again_when_a_job_is_done(client: Client, bounded: Consumer) -> None:
    """What counts is what waits and runs; a job that ends makes room for one."""
    for number in range(BOUND):
        client.submit("m", "op", [number])
    delivery = read_one(bounded)
    with pytest.raises(QueueFull, match=f"the interactive lane of m is full: {BOUND} jobs"):
        client.submit("m", "op", ["one too many"])
    bounded.settle([echo(delivery)])

    assert client.submit("m", "op", ["fits"], job_id="j1") == "j1"


def test_each_lane_has_its_own_bound(client: Client, bounded: Consumer, raw: "Redis") -> None:
    """A flood of bulk work leaves room for those who wait."""
    for number in range(BOUND):
        client.submit("m", "op", [number], lane="bulk")
    with pytest.raises(QueueFull):
        client.submit("m", "op", ["one too many"], lane="bulk")
    client.submit("m", "op", ["fits"])

    assert [raw.xlen(bounded.keys.stream(lane)) for lane in ("interactive", "bulk")] == [1, BOUND]


def test_a_job_that_is_queued_already_is_never_refused(client: Client, bounded: Consumer) -> None:
    """A repeated submit to a full lane joins its job: it needs no room."""
    assert bounded.limits.max_jobs == BOUND
    for number in range(BOUND):
        client.submit("m", "op", [number], job_id=f"j{number}")

    assert client.submit("m", "op", [0], job_id="j0") == "j0"


def test_an_over_size_payload_is_refused_before_it_is_sent(redis_settings: RedisSettings, raw: "Redis") -> None:
    """The limit is the sender's to keep: Redis never sees the bytes."""
    small = redis_settings.model_copy(update={"max_payload_bytes": 1024})
    with (
        Client(settings=small) as caller,
        pytest.raises(InvalidInput, match=r"payload of \d+ bytes is over the limit of 1024"),
    ):
        caller.submit("m", "op", ["x" * 1024])

    assert raw.exists(Keys(redis_settings.prefix, "m").stream("interactive")) == 0


def test_jobs_wait_for_a_worker_that_is_not_there_yet(client: Client, make_consumer: MakeConsumer) -> None:
    """A submit to a model nobody serves yet is queued, and its first worker gets it."""
    client.submit("m", "op", ["early"], job_id="j1")

    assert read_one(make_consumer()).job_id == "j1"


@pytest.mark.parametrize("model", ["", "a b", "a:b", "{m}"])
def test_a_malformed_model_name_never_becomes_a_key(
    client: Client, model: str, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """`UnknownModel` is raised before anything is sent."""
    with pytest.raises(UnknownModel):
        client.submit(model, "op", ["a"])

    assert list(raw.scan_iter(match=f"{redis_settings.prefix}:*")) == []


def test_the_entry_is_spelled_as_the_protocol_says(client: Client, raw: "Redis", redis_settings: RedisSettings) -> None:
    """A program that reads the stream finds the documented fields, and the id's key lives longer than the job may."""
    keys = Keys(redis_settings.prefix, "m")
    client.submit("m", "op", ["a"], {"x": 1}, job_id="j1", timeout_s=60.0, keep_s=5.0, lane="bulk")

    entries: Any = raw.xrange(keys.stream("bulk"))
    ((entry, fields),) = entries

    payload = b"\x82\xa6inputs\x91\xa1a\xa7options\x81\xa1x\x01"
    expected = {b"v": b"1", b"id": b"j1", b"op": b"op", b"ttl_ms": b"60000", b"keep_ms": b"5000", b"payload": payload}
    assert (expected, entry) == (fields, raw.get(keys.job("j1")))
    assert 60_000 < raw.pttl(keys.job("j1")) <= HOUR_MS
