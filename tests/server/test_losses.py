"""A server that is emptied, killed, stopped, full or forgetful, and what callers and workers make of it."""

from collections.abc import Iterator

import pytest
from redis import Redis

from rpc import Cancelled, Client, JobLost, Progress, RedisSettings, Timeout, Unavailable
from rpc.connection import NoGroup
from rpc.consumer import Consumer
from rpc.keys import LANES
from tests.answering import Answering, echo, read_one
from tests.callers import Callers
from tests.conftest import MakeConsumer, settings_for
from tests.servers import Server
from tests.waiting import LONG_S

pytestmark = pytest.mark.server


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, so that consumers and callers use that one."""
    return settings_for(own_server, sweep_s=0.2, connect_timeout_s=0.5)


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


@pytest.fixture
def raw(own_server: Server) -> Iterator["Redis"]:
    """Yield redis-py itself."""
    with Redis.from_url(own_server.url, protocol=2) as redis:
        yield redis


def test_after_everything_was_deleted_callers_are_told_and_workers_go_on(
    callers: Callers, consumer: Consumer, raw: "Redis"
) -> None:
    """`FLUSHALL` ends no worker; who holds only an id is told, who holds the inputs sends them again under theirs."""
    caller = callers.make()
    call = callers.start(caller.call, "m", "op", ["lost"], timeout_s=LONG_S, job_id="held")
    job_id = caller.submit("m", "op", ["gone"])
    result = callers.start(caller.result, "m", job_id, timeout_s=LONG_S)
    assert {delivery.job_id for delivery in (read_one(consumer), read_one(consumer))} == {"held", job_id}

    raw.flushall()

    assert isinstance(result.exception(LONG_S), JobLost)
    with pytest.raises(NoGroup):
        consumer.read(LANES, 1, block_ms=0)
    consumer.ensure_groups()
    with Answering(consumer):
        assert call.result(LONG_S) == {"outputs": ["lost"]}
        assert caller.call("m", "op", ["next"], timeout_s=LONG_S) == {"outputs": ["next"]}


def test_a_job_lost_when_the_time_is_up_is_told(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """Nobody waits longer than asked for because a job had to be sent again."""
    caller = callers.make()
    call = callers.start(caller.call, "m", "op", ["lost"], timeout_s=1.0)
    read_one(consumer)

    raw.flushall()

    assert isinstance(call.exception(LONG_S), JobLost | Timeout)


@pytest.mark.parametrize("wanted", [True, False], ids=["cancelled", "left"])
def test_a_job_nobody_waits_for_any_more_is_cancelled_if_asked(callers: Callers, *, wanted: bool) -> None:
    """When the time is up the job goes on, and its id fetches the reply, unless the caller chose otherwise."""
    caller = callers.make()

    with pytest.raises(Timeout):
        caller.call("m", "op", ["a"], timeout_s=0.2, job_id="j1", cancel_abandoned=wanted)

    if wanted:
        with pytest.raises(Cancelled):
            caller.result("m", "j1", timeout_s=LONG_S)
    assert caller.progress("m", "j1") == Progress("finished" if wanted else "waiting")


def test_a_call_outlives_a_server_that_crashes(callers: Callers, consumer: Consumer, own_server: Server) -> None:
    """A job that was queued when Redis was killed is there when it is back, and its caller still waits for it."""
    caller = callers.make()
    call = callers.start(caller.call, "m", "op", ["a"], timeout_s=LONG_S)
    delivery = read_one(consumer)

    own_server.restart()

    with pytest.raises(Unavailable):
        consumer.server_ms()
    consumer.settle([echo(delivery)])
    assert call.result(LONG_S) == {"outputs": ["a"]}


def test_a_call_made_while_the_server_is_away_is_submitted_when_it_is_back(
    callers: Callers, consumer: Consumer, own_server: Server
) -> None:
    """A caller with time left tries again; nothing it did not send is lost."""
    caller = callers.make()
    own_server.kill()
    call = callers.start(caller.call, "m", "op", ["a"], timeout_s=LONG_S)
    with pytest.raises(Unavailable):
        consumer.server_ms()

    own_server.start()
    with Answering(consumer):
        assert call.result(LONG_S) == {"outputs": ["a"]}


def test_what_was_acknowledged_outlives_a_crash(
    redis_settings: RedisSettings, consumer: Consumer, own_server: Server, raw: "Redis"
) -> None:
    """Jobs, who holds them and how often they were handed out are there again after a kill."""
    with Client(settings=redis_settings) as client:
        for number in range(50):
            client.submit("m", "op", [number])
    for _ in range(10):
        read_one(consumer)

    own_server.restart()

    stream = consumer.keys.stream("interactive")
    pending = raw.xpending(stream, "workers")
    assert (raw.xlen(stream), pending["pending"]) == (50, 10)
