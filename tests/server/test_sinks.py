"""Replies sent on to a sink: in the step that settles the job, whatever the reply, and handed out until taken."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from redis import Redis

from rpc import Client, InvalidInput, QueueFull, RedisSettings, RpcError, sinks
from rpc.codec import decode_reply, pack
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Limits, Settlement
from rpc.errors import DeadLettered, Expired, ModelError
from rpc.inspection import dead_jobs, redrive
from rpc.keys import Keys
from rpc.messages import HOUR_MS, Failure, Success
from rpc.sinks import Completion
from tests.answering import age, echo, read_one, reply_with
from tests.callers import Callers
from tests.conftest import MakeConsumer
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import eventually

pytestmark = pytest.mark.server


def sunk(raw: "Redis", consumer: Consumer, sink: str = "stored") -> list[dict[str, Any]]:
    """Return what lies in a sink, each with its reply read."""
    entries: Any = raw.xrange(consumer.keys.sink(sink))
    told = [{name.decode(): value for name, value in fields.items()} for _, fields in entries]
    return [{**each, "reply": decode_reply(each["reply"])} for each in told]


def _unkept(delivery: Delivery, outputs: list[str]) -> Settlement:
    """A success that is kept nowhere but in the sink."""
    mark, whole = reply_with(delivery, Success(None)), reply_with(delivery, {"outputs": outputs})
    return Settlement(delivery, mark.reply, HOUR_MS, whole.reply)


def test_a_reply_goes_to_the_sink_in_the_step_that_settles_the_job(
    client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Once, with who it is for, readable; a job without a sink leaves nothing there."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored")
    client.submit("m", "op", ["b"], job_id="j2")
    deliveries = consumer.read(["interactive"], 9, block_ms=5000)
    settlements = [echo(delivery) for delivery in deliveries]
    consumer.settle(settlements)
    consumer.settle(settlements)

    (told,) = sunk(raw, consumer)
    assert (told["v"], told["id"], told["model"], told["op"]) == (b"1", b"j1", b"m", b"op")
    assert isinstance(told["reply"], Success)
    assert told["reply"].result == {"outputs": ["a"]}
    assert client.result("m", "j1") == {"outputs": ["a"]}
    raw.delete(consumer.keys.sink("stored"))


def test_a_reply_that_is_not_kept_is_whole_in_the_sink(
    client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """The result key has the mark that it is done, and nothing else."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored", keep_s=0)
    delivery = read_one(consumer)
    consumer.settle([_unkept(delivery, ["a"])])

    (told,) = sunk(raw, consumer)
    assert told["reply"].result == {"outputs": ["a"]}
    assert client.result("m", "j1") == {}
    raw.delete(consumer.keys.sink("stored"))


SECOND_ENDS: Mapping[str, tuple[Callable[[Consumer, Delivery], object], Mapping[str, Any]]] = {
    "success": (lambda consumer, one: consumer.settle([_unkept(one, ["again"])]), {"result": {"outputs": ["again"]}}),
    "error": (
        lambda consumer, one: consumer.settle([reply_with(one, Failure.of(ModelError("no")))]),
        {"code": "model_error"},
    ),
    "dead": (lambda consumer, one: consumer.bury(one, Failure.of(DeadLettered("no"))), {"code": "dead_lettered"}),
}


@pytest.mark.parametrize("payload", [{"payload": pack({"inputs": ["a"]})}, {"json": '{"inputs": ["a"]}'}])
@pytest.mark.parametrize("end", SECOND_ENDS)
def test_a_mark_is_no_reply(
    client: Client, raw: "Redis", make_consumer: MakeConsumer, end: str, payload: Mapping[str, Any]
) -> None:
    """The second entry of a job tells how it ended itself, never an empty success."""
    consumer = make_consumer()
    settle, told_of_it = SECOND_ENDS[end]
    for _ in range(2):
        fields: dict[Any, Any] = {"id": "j1", "op": "op", "keep_ms": 0, "sink": "stored", **payload}
        raw.xadd(consumer.keys.stream("interactive"), fields)
    first, second = consumer.read(["interactive"], 9, block_ms=5000)
    consumer.settle([_unkept(first, ["a"])])
    settle(consumer, second)

    once, again = (told["reply"] for told in sunk(raw, consumer))
    assert once.result == {"outputs": ["a"]}
    assert {name: getattr(again, name) for name in told_of_it} == told_of_it
    assert client.result("m", "j1") == {}
    raw.delete(consumer.keys.sink("stored"))


@pytest.mark.parametrize(("keep_s", "settlement"), [(0.0, _unkept), (60.0, lambda one, _: echo(one))])
def test_a_reply_is_told_also_when_its_entry_is_gone(
    client: Client,
    raw: "Redis",
    make_consumer: MakeConsumer,
    keep_s: float,
    settlement: Callable[[Delivery, list[str]], Settlement],
) -> None:
    """An unkept one is nowhere else; told once, also when it is settled again."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored", keep_s=keep_s)
    delivery = read_one(consumer)
    raw.xdel(consumer.keys.stream("interactive"), delivery.entry_id)
    for _ in range(2):
        consumer.settle([settlement(delivery, ["a"])])

    assert [told["reply"].result for told in sunk(raw, consumer)] == [{"outputs": ["a"]}]
    raw.delete(consumer.keys.sink("stored"))


def _settled(consumer: Consumer, failure: Failure) -> str:
    consumer.settle([reply_with(read_one(consumer), failure)])
    return failure.code


def _buried(consumer: Consumer) -> str:
    failure = Failure.of(DeadLettered("given up"))
    consumer.bury(read_one(consumer), failure)
    return failure.code


def _cancelled(client: Client, consumer: Consumer) -> str:
    delivery = read_one(consumer)
    client.cancel("m", "j1")
    # the worker had done it already
    consumer.settle([echo(delivery)])
    return "cancelled"


ENDS: Mapping[str, Callable[[Client, Consumer], str]] = {
    "error": lambda _, consumer: _settled(consumer, Failure.of(ModelError("no"))),
    "expired": lambda _, consumer: _settled(consumer, Failure.of(Expired("late"))),
    "dead": lambda _, consumer: _buried(consumer),
    "cancelled": _cancelled,
}


@pytest.mark.parametrize("end", ENDS)
def test_every_kind_of_reply_goes_there_once(
    client: Client, raw: "Redis", make_consumer: MakeConsumer, end: str
) -> None:
    """The one that stands: also of a job cancelled while a worker had it."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored")
    code = ENDS[end](client, consumer)

    assert [(told["id"], told["reply"].code) for told in sunk(raw, consumer)] == [(b"j1", code)]
    with pytest.raises(RpcError) as failed:
        client.result("m", "j1")
    assert failed.value.code == code
    raw.delete(consumer.keys.sink("stored"))


def test_two_workers_that_finish_the_same_job_tell_it_once(
    client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Whoever is second takes nothing out of the lane."""
    first, second = make_consumer("w1"), make_consumer("w2", limits=Limits(lease_ms=1000))
    client.submit("m", "op", ["a"], job_id="j1", sink="stored")
    mine = read_one(first)
    age(raw, first, mine, idle_ms=60_000)
    (theirs,) = second.claim("interactive", 1, suspect=True).taken
    first.settle([echo(mine)])
    second.settle([echo(theirs)])

    assert len(sunk(raw, first)) == 1
    raw.delete(first.keys.sink("stored"))


def test_a_settlement_whose_answer_was_lost_is_told_once(
    server: Server, redis_settings: RedisSettings, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """The worker sends it again."""
    consumer = make_consumer()
    with Proxy(server) as proxy, Client(settings=redis_settings) as client:
        told = {**redis_settings.model_dump(), "url": proxy.url}
        lossy = make_consumer("w2", settings=RedisSettings(**told))
        client.submit("m", "op", ["a"], job_id="j1", sink="stored")
        settlement = echo(read_one(lossy))
        proxy.lose_reply_to(b"EVALSHA", times=1)
        with pytest.raises(RpcError):
            lossy.settle([settlement])
        lossy.settle([settlement])

    assert len(sunk(raw, consumer)) == 1
    raw.delete(consumer.keys.sink("stored"))


def test_a_sink_that_nobody_empties_refuses_more(client: Client, raw: "Redis", make_consumer: MakeConsumer) -> None:
    """It holds as many replies as the lane may hold jobs; nothing is trimmed."""
    consumer = make_consumer(limits=Limits(max_jobs=2))
    consumer.announce({"ops": "op"})
    for number in range(2):
        client.submit("m", "op", ["a"], job_id=f"j{number}", sink="stored")
        consumer.settle([echo(read_one(consumer))])

    with pytest.raises(QueueFull, match="the sink stored of m is full: 2 replies"):
        client.submit("m", "op", ["a"], sink="stored")
    client.submit("m", "op", ["a"], sink="another")
    assert len(sunk(raw, consumer)) == 2
    raw.delete(consumer.keys.sink("stored"), consumer.keys.sink("another"))


@pytest.mark.parametrize("sink", ["a b", "", "x" * 65, "a:b"])
def test_a_sink_has_a_name_a_key_can_be_made_of(client: Client, sink: str) -> None:
    """Another is refused before anything is sent; an empty one is none."""
    if not sink:
        assert client.submit("m", "op", ["a"], job_id="j1", sink=sink) == "j1"
        return
    with pytest.raises(InvalidInput, match="sink"):
        client.submit("m", "op", ["a"], sink=sink)


def test_an_entry_that_is_no_job_is_told_too(
    redis_settings: RedisSettings, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """If it says whom to answer and which sink to tell."""
    consumer = make_consumer()
    keys = Keys(redis_settings.prefix, "m")
    raw.xadd(keys.stream("interactive"), {"id": "typed", "op": "op", "sink": "stored", "payload": b"\xc1"})
    delivery = read_one(consumer)
    consumer.settle([reply_with_failure(consumer, delivery)])

    assert [(told["id"], told["reply"].code) for told in sunk(raw, consumer)] == [(b"typed", "invalid_input")]
    raw.delete(keys.sink("stored"))


def reply_with_failure(consumer: Consumer, delivery: Any) -> Settlement:
    """Return the end of an entry that is no job."""
    del consumer
    return reply_with(delivery, Failure.of(delivery.job))


def test_a_job_queued_again_from_the_dead_letter_has_its_sink(
    client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """The error was told, and the result is told after it."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored")
    _buried(consumer)
    (dead,) = client.ask(dead_jobs(consumer.keys.prefix, "m"))
    client.ask(redrive(consumer.keys.prefix, "m", dead.dead_id))
    consumer.settle([echo(read_one(consumer))])

    assert [isinstance(told["reply"], Success) for told in sunk(raw, consumer)] == [False, True]
    raw.delete(consumer.keys.sink("stored"))


class Taking:
    """A caller that takes completions in a thread, until it has enough or is stopped."""

    def __init__(self, callers: Callers, **given: Any) -> None:
        self.seen: list[Completion] = []
        self._callers = callers
        self._given = given
        self._refuse: set[str] = set()

    def refuse(self, *job_ids: str) -> None:
        """Let these fail the first time they come."""
        self._refuse.update(job_ids)

    def take(self, completion: Completion) -> None:
        """Note a completion, or fail on it."""
        self.seen.append(completion)
        if completion.job_id in self._refuse:
            self._refuse.discard(completion.job_id)
            raise OSError("the disk is full")

    def until(self, enough: Callable[[list[Completion]], bool]) -> list[Completion]:
        """Take completions until there are enough; return them."""
        with self._callers.consuming("stored", self.take, **self._given):
            eventually(lambda: enough(self.seen), what="completions")
        return self.seen


def complete(client: Client, consumer: Consumer, *job_ids: str) -> None:
    """Queue jobs with a sink and answer them."""
    for job_id in job_ids:
        client.submit(consumer.keys.model, "op", [job_id], job_id=job_id, sink="stored")
        consumer.settle([echo(read_one(consumer))])


def test_completions_are_handed_over_and_gone(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Those that were there before, and those that come; of every model that was ever served."""
    one, two = make_consumer(model="m"), make_consumer(model="n")
    for consumer in (one, two):
        consumer.announce({"ops": "op"})
    complete(client, one, "j1", "j2")
    taking = Taking(callers)
    with callers.consuming("stored", taking.take):
        eventually(lambda: len(taking.seen) == 2)
        complete(client, two, "j3")
        eventually(lambda: len(taking.seen) == 3)
        eventually(lambda: not sunk(raw, one) and not sunk(raw, two), what="they are gone")

    assert [(each.model, each.job_id, each.op, each.result()) for each in taking.seen] == [
        ("m", "j1", "op", {"outputs": ["j1"]}),
        ("m", "j2", "op", {"outputs": ["j2"]}),
        ("n", "j3", "op", {"outputs": ["j3"]}),
    ]
    raw.delete(one.keys.sink("stored"), two.keys.sink("stored"))


def test_one_that_is_not_taken_comes_again(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """After its lease, without holding up the others."""
    consumer = make_consumer()
    complete(client, consumer, "bad", "good")
    taking = Taking(callers, models=["m"], lease_s=0.2)
    taking.refuse("bad")

    seen = [each.job_id for each in taking.until(lambda seen: len(seen) == 3)]
    assert seen == ["bad", "good", "bad"]
    raw.delete(consumer.keys.sink("stored"))


def test_what_a_relay_that_died_had_in_hand_comes_to_another(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """When its lease is over."""
    consumer = make_consumer()
    complete(client, consumer, "j1")
    raw.xgroup_create(consumer.keys.sink("stored"), "relay", "0")
    raw.xreadgroup("relay", "dead", {consumer.keys.sink("stored"): ">"})

    seen = Taking(callers, models=["m"], lease_s=0.2).until(lambda seen: len(seen) == 1)
    assert [each.job_id for each in seen] == ["j1"]
    raw.delete(consumer.keys.sink("stored"))


def test_a_server_that_was_emptied_is_read_again(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """The group is made again, and nothing that comes afterwards is missed."""
    consumer = make_consumer()
    complete(client, consumer, "j1")
    taking = Taking(callers)
    with callers.consuming("stored", taking.take, models=["m"]):
        eventually(lambda: len(taking.seen) == 1)
        raw.delete(consumer.keys.sink("stored"))
        complete(client, consumer, "j2")
        eventually(lambda: len(taking.seen) == 2)

    assert [each.job_id for each in taking.seen] == ["j1", "j2"]
    raw.delete(consumer.keys.sink("stored"))


def test_many_that_fail_again_and_again_keep_no_other_waiting(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Neither new ones nor those that others left, however many are in front of them."""
    consumer = make_consumer()
    sink = consumer.keys.sink("stored")
    complete(client, consumer, *(f"bad{number}" for number in range(200)), "left")
    raw.xgroup_create(sink, "relay", "0")
    raw.xreadgroup("relay", "dead", {sink: ">"}, count=300)
    good: list[str] = []

    def take(completion: Completion) -> None:
        if completion.job_id.startswith("bad"):
            raise OSError("the disk is full")
        good.append(completion.job_id)

    with callers.consuming("stored", take, models=["m"], lease_s=0.05):
        eventually(lambda: good == ["left"])
        complete(client, consumer, "new")
        eventually(lambda: good == ["left", "new"])
    raw.delete(sink)


def test_what_somebody_else_wrote_there_holds_nothing_up(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """It is handed over as a failure that names no job, and so are those behind it."""
    consumer = make_consumer()
    raw.xadd(consumer.keys.sink("stored"), {"id": b"\xff", "reply": b"\xc1"})
    complete(client, consumer, "j1")

    seen = Taking(callers, models=["m"]).until(lambda seen: len(seen) == 2)
    assert [each.job_id for each in seen] == ["\ufffd", "j1"]
    assert isinstance(seen[0].error, ModelError)
    raw.delete(consumer.keys.sink("stored"))


def test_a_relay_that_ends_leaves_no_trace(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Of those that end in order no consumer is left; of those that died, none that holds nothing."""
    consumer = make_consumer()
    sink = consumer.keys.sink("stored")
    complete(client, consumer, "j1")
    Taking(callers, models=["m"]).until(lambda seen: len(seen) == 1)

    eventually(lambda: raw.xinfo_consumers(sink, "relay") == [], what="it said good-bye")
    raw.xgroup_createconsumer(sink, "relay", "dead")
    reading = sinks.Reading(client.prefix, "stored", ["m"], "another", 1000)
    eventually(lambda: raw.xinfo_consumers(sink, "relay")[0]["idle"] > 0)
    client.ask(sinks.reap(reading, silent_ms=1))
    assert raw.xinfo_consumers(sink, "relay") == []
    raw.delete(sink)


def test_an_error_is_handed_over_as_one(
    callers: Callers, client: Client, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """Typed; asking for the result raises it."""
    consumer = make_consumer()
    client.submit("m", "op", ["a"], job_id="j1", sink="stored")
    _settled(consumer, Failure.of(ModelError("no memory")))
    (seen,) = Taking(callers, models=["m"]).until(lambda seen: len(seen) == 1)

    assert isinstance(seen.error, ModelError)
    with pytest.raises(ModelError, match="no memory"):
        seen.result()
    raw.delete(consumer.keys.sink("stored"))
