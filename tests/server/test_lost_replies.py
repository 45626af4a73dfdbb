"""Commands that were carried out and whose replies never arrived: nothing is done twice, nothing is forgotten."""

from collections.abc import Iterator

import pytest
from redis import Redis

from rpc import Client, RedisSettings, Unavailable, leases
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Hold
from rpc.errors import Expired
from rpc.keys import LANES, RELEASED
from rpc.messages import Failure
from rpc.scripts import SCRIPTS
from tests.answering import age, carry_out, echo, held, read_one, reply_with
from tests.callers import Callers
from tests.conftest import MakeConsumer
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server


def run(script: str) -> bytes:
    """Return what a command holds that runs a script."""
    return SCRIPTS[script].sha.encode()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Yield a way to the server that loses replies."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def lossy(redis_settings: RedisSettings, proxy: Proxy) -> RedisSettings:
    """Return settings that lead there."""
    return redis_settings.from_env({}, url=proxy.url, prefix=redis_settings.prefix, sweep_s=0.5)


@pytest.fixture
def consumer(make_consumer: MakeConsumer, lossy: RedisSettings) -> Consumer:
    """Return a worker whose replies get lost."""
    return make_consumer(settings=lossy)


@pytest.fixture
def delivery(client: Client, consumer: Consumer) -> Delivery:
    """Return a job in that worker's hands."""
    client.submit("m", "op", ["a"], job_id="j1")
    return read_one(consumer)


def test_a_reply_whose_fetching_failed_is_fetched_again(
    callers: Callers, lossy: RedisSettings, proxy: Proxy, make_consumer: MakeConsumer
) -> None:
    """A caller told of its reply that then cannot read it asks again."""
    consumer = make_consumer()
    text = "x" * 50_000
    call = callers.start(callers.make(lossy).call, "m", "op", [text], timeout_s=LONG_S)
    delivery = read_one(consumer)
    proxy.lose_reply_to(b"GETRANGE")

    consumer.settle([echo(delivery)])

    assert (call.result(LONG_S), proxy.to_lose) == ({"outputs": [text]}, 0)


def test_a_submit_that_is_said_again_is_no_other_try(
    callers: Callers, lossy: RedisSettings, proxy: Proxy, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """A caller that did not hear its job was queued gets the reply to that, be it one that says to try again."""
    consumer = make_consumer()
    proxy.lose_reply_to(run("submit"), times=1000)
    call = callers.start(callers.make(lossy).call, "m", "op", ["a"], job_id="j1", timeout_s=LONG_S)
    consumer.settle([reply_with(read_one(consumer), Failure("expired", "too late", retryable=True))])
    left = proxy.to_lose
    eventually(lambda: proxy.to_lose < left - 1)
    proxy.lose_no_more()

    with pytest.raises(Expired):
        call.result(LONG_S)
    assert raw.xlen(consumer.keys.stream("interactive")) == 0


def test_a_read_that_was_carried_out_is_found_again(
    client: Client, consumer: Consumer, proxy: Proxy, raw: "Redis"
) -> None:
    """Entries handed out in a reply that was lost are the worker's, at once and uncounted."""
    for number in range(5):
        client.submit("m", "op", [number], job_id=f"j{number}")
    proxy.lose_reply_to(b"XREADGROUP")
    with pytest.raises(Unavailable):
        consumer.read(LANES, 10, block_ms=0)

    found = consumer.adopt(()).taken

    assert [(item.job_id, item.deliveries) for item in found] == [(f"j{number}", 1) for number in range(5)]
    assert {times for _, _, times in held(raw, consumer)} == {1}


def test_a_release_that_was_carried_out_is_not_uncounted_twice(
    consumer: Consumer, delivery: Delivery, proxy: Proxy, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Giving back what was given back already changes nothing."""
    holds = [Hold(delivery.entry_id, delivery.lane, "j1")]
    proxy.lose_reply_to(run("release"))
    with pytest.raises(Unavailable):
        consumer.release(holds)
    consumer.release(holds)

    assert held(raw, consumer) == [(delivery.entry_id, RELEASED, 0)]
    (taken,) = make_consumer("w2").claim("interactive", 10, suspect=False).taken
    assert taken.deliveries == 1


def test_a_burial_that_was_carried_out_is_one_dead_job(
    consumer: Consumer, delivery: Delivery, proxy: Proxy, raw: "Redis"
) -> None:
    """A verdict said twice lies in the dead letter once."""
    proxy.lose_reply_to(run("dead"))
    with pytest.raises(Unavailable):
        consumer.bury(delivery, Failure("dead_lettered", "given up"))

    assert consumer.bury(delivery, Failure("dead_lettered", "given up")) is False
    assert raw.xlen(consumer.keys.dead) == 1


def test_a_claim_that_was_carried_out_is_found_again(
    consumer: Consumer, delivery: Delivery, proxy: Proxy, make_consumer: MakeConsumer
) -> None:
    """A released job claimed in a reply that was lost belongs to the claimant, which finds it."""
    make_consumer("w1").release([Hold(delivery.entry_id, delivery.lane, "j1")])
    proxy.lose_reply_to(run("claim"))
    with pytest.raises(Unavailable):
        consumer.claim("interactive", 10, suspect=True)

    assert [item.job_id for item in consumer.adopt(()).taken] == ["j1"]


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
def test_a_claim_for_the_verdict_is_no_job_when_it_is_found_again(
    consumer: Consumer, delivery: Delivery, proxy: Proxy, raw: "Redis", make_consumer: MakeConsumer, *, dies: bool
) -> None:
    """A job handed out too often, and handed over in a reply that was lost, is not run again, whoever finds it."""
    other = make_consumer("w2")
    age(raw, other, delivery, idle_ms=consumer.limits.lease_ms + 1, deliveries=4)
    proxy.lose_reply_to(run("claim"))
    with pytest.raises(Unavailable):
        consumer.claim("interactive", 10, suspect=True)

    if dies:
        prefix, model = consumer.keys.prefix, consumer.keys.model
        carry_out(other, leases.bereave(prefix, model, consumer.name, died_of="SIGKILL", working_on=()))
        found = other.claim("interactive", 10, suspect=True)
    else:
        found = consumer.adopt(())

    assert found.taken == []
    assert [(item.job_id, item.deliveries) for item in found.dead] == [("j1", 3)]
