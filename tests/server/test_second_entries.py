"""A job whose first entry is gone or forgotten, and that was queued again under its id."""

from typing import Any, cast

import pytest
from redis import Redis

from rpc import Client, calls, inspection
from rpc.consumer import Consumer
from rpc.deliveries import Delivery
from rpc.keys import Keys
from rpc.messages import HOUR_MS, Failure
from rpc.settings import RedisSettings
from tests.answering import echo, given, read_one, reply_with
from tests.conftest import MakeConsumer

pytestmark = pytest.mark.server

LARGE = "x" * 300_000

GIVEN_UP = Failure("dead_lettered", "given up")


@pytest.fixture
def w1(make_consumer: MakeConsumer) -> Consumer:
    """Return a worker."""
    return make_consumer("w1")


def queued_again(client: Client, raw: "Redis", consumer: Consumer, text: str) -> Delivery:
    """Queue a job, have a worker read it, delete its entry by hand, and queue it again; return the first delivery."""
    client.submit("m", "op", [text], job_id="j")
    first = read_one(consumer)
    raw.xdel(consumer.keys.stream("interactive"), first.entry_id)
    assert client.ask(calls.lost(consumer.keys.prefix, [("m", "j")])) == {("m", "j")}
    client.submit("m", "op", [text], job_id="j")
    return first


def test_a_late_answer_leaves_the_second_entry_known(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Who answers the first entry frees nothing of the second: once the reply is gone, a submit joins that."""
    first = queued_again(client, raw, w1, LARGE)
    w1.settle([reply_with(first, {"outputs": ["a"]})])
    raw.delete(w1.keys.result("j"))

    client.submit("m", "op", [LARGE], job_id="j")

    assert raw.xlen(w1.keys.stream("interactive")) == 1
    assert given(w1, read_one(w1)) == [LARGE]


def test_an_error_of_the_first_entry_is_none_of_the_second(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A job that is queued again is not failed by who still had the entry that is gone; that one is done with."""
    first = queued_again(client, raw, w1, "a")

    w1.settle([reply_with(first, Failure("expired", "too late", retryable=True))])

    assert not raw.exists(w1.keys.result("j"))
    w1.settle([echo(read_one(w1))])
    assert client.result("m", "j") == {"outputs": ["a"]}
    assert raw.xpending(w1.keys.stream("interactive"), "workers")["pending"] == 0


def test_a_verdict_on_the_first_entry_is_none_on_the_second(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A job that is queued again is not answered with the error of the entry that is gone."""
    first = queued_again(client, raw, w1, "a")

    assert w1.bury(first, GIVEN_UP)

    assert not raw.exists(w1.keys.result("j"))
    assert raw.exists(w1.keys.job("j"))
    w1.settle([echo(read_one(w1))])
    assert raw.exists(w1.keys.result("j"))


def test_a_dead_job_that_is_queued_again_is_joined(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A dead job whose caller has sent it again meanwhile is not queued a second time by an operator."""
    client.submit("m", "op", ["a"], job_id="j")
    w1.bury(read_one(w1), GIVEN_UP)
    raw.delete(w1.keys.result("j"))
    client.submit("m", "op", ["a"], job_id="j", lane="bulk")
    (dead,) = client.ask(inspection.dead_jobs(w1.keys.prefix, "m"))

    assert client.ask(inspection.redrive(w1.keys.prefix, "m", dead.dead_id)) == "j"

    assert [raw.xlen(w1.keys.stream(lane)) for lane in ("interactive", "bulk")] == [0, 1]
    assert client.ask(inspection.dead_jobs(w1.keys.prefix, "m")) == []


def test_a_redriven_job_is_known_for_as_long_as_it_may_wait(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A job with a long time to live has an id that lives as long, also the second time."""
    client.submit("m", "op", ["a"], job_id="j", timeout_s=86_400.0)
    w1.bury(read_one(w1), GIVEN_UP)
    (dead,) = client.ask(inspection.dead_jobs(w1.keys.prefix, "m"))

    client.ask(inspection.redrive(w1.keys.prefix, "m", dead.dead_id))

    assert raw.pttl(w1.keys.job("j")) > 24 * HOUR_MS


def test_a_cancelled_job_stays_cancelled_for_as_long_as_it_may_wait(client: Client, raw: "Redis", w1: Consumer) -> None:
    """The mark of a cancelled job does not lapse before its entry would: it never runs."""
    client.submit("m", "op", ["a"], job_id="j", timeout_s=86_400.0)

    client.cancel("m", "j")

    assert raw.pttl(w1.keys.result("j")) > 24 * HOUR_MS


def test_an_entry_of_the_same_number_in_the_other_lane_is_not_the_jobs(
    client: Client, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """A job whose entry was deleted is lost, though another job's entry has the same id in the other lane."""
    keys = Keys(redis_settings.prefix, "m")
    client.submit("m", "op", ["a"], job_id="j")
    ((entry, fields),) = cast("Any", raw.xrange(keys.stream("interactive")))
    raw.xadd(keys.stream("bulk"), {**fields, b"id": b"other"}, id=entry)
    raw.xdel(keys.stream("interactive"), entry)

    assert client.ask(calls.lost(keys.prefix, [("m", "j")])) == {("m", "j")}
