"""The worker's verbs on a real server: read, claim, look after, settle, retry, release, bury, announce, leave."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.client import PubSub

from rpc import Client, inspection, leases
from rpc.codec import decode_reply
from rpc.connection import NoGroup
from rpc.consumer import REPLY_BYTES_TOLD, Consumer
from rpc.deliveries import Delivery, Hold, Limits
from rpc.entries import Malformed
from rpc.keys import GROUP, LANES, RELEASED
from rpc.messages import Failure, Success
from tests.answering import age, carry_out, echo, held, read_one, reply_with, told
from tests.conftest import MakeConsumer
from tests.waiting import eventually

pytestmark = pytest.mark.server

LEASE_MS = 30_000

DEAD = Failure("dead_lettered", "given up")


@pytest.fixture
def w1(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that has the jobs."""
    return make_consumer("w1")


@pytest.fixture
def w2(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that takes them over."""
    return make_consumer("w2")


def delivered(client: Client, consumer: Consumer, count: int = 1) -> list[Delivery]:
    """Submit jobs `j0`, `j1` ... and return them as that worker reads them."""
    for number in range(count):
        client.submit("m", "op", [number], job_id=f"j{number}")
    return consumer.read(["interactive"], count, block_ms=5000)


def delivered_to(client: Client, consumer: Consumer) -> list[Delivery]:
    """Submit the job `other` and return it as that worker reads it."""
    client.submit("m", "op", ["a"], job_id="other")
    return consumer.read(["interactive"], 1, block_ms=5000)


def renewed(consumer: Consumer) -> int:
    """Renew a worker's leases as its supervisor does; return how many there were."""
    prefix, model = consumer.keys.prefix, consumer.keys.model
    count: int = carry_out(consumer, leases.renew(prefix, [model], consumer.name, lease_ms=consumer.limits.lease_ms))
    return count


def hold(delivery: Delivery) -> Hold:
    """Return what a lease is renewed by."""
    return Hold(delivery.entry_id, delivery.lane, delivery.job_id or "")


def ids(deliveries: list[Delivery]) -> list[str | None]:
    """Return the job ids of deliveries."""
    return [delivery.job_id for delivery in deliveries]


@contextmanager
def listening(raw: "Redis", channel: str) -> Iterator[PubSub]:
    """Yield a confirmed subscription."""
    subscription: PubSub = raw.pubsub()  # type: ignore[no-untyped-call]
    with subscription:
        subscription.subscribe(channel)
        eventually(lambda: subscription.get_message(timeout=1.0))
        yield subscription


def message(subscription: PubSub, timeout_s: float = 5.0) -> Any:
    """Return the next message of a subscription, or None."""
    heard = subscription.get_message(timeout=timeout_s)
    return heard["data"] if heard else None


def stored(raw: "Redis", consumer: Consumer, job_id: str) -> Any:
    """Return the stored reply to a job."""
    value = raw.get(consumer.keys.result(job_id))
    assert isinstance(value, bytes)
    return decode_reply(value)


def test_both_lanes_are_read_and_each_entry_once(client: Client, w1: Consumer, w2: Consumer) -> None:
    """Workers share the jobs: none is handed out twice, the interactive lane comes first."""
    client.submit("m", "op", ["b"], job_id="b", lane="bulk")
    client.submit("m", "op", ["i"], job_id="i")

    assert ids(w1.read(LANES, 10, block_ms=0)) == ["i", "b"]
    assert w2.read(LANES, 10, block_ms=0) == []


def test_an_entry_that_is_no_job_is_read_as_such(raw: "Redis", w1: Consumer) -> None:
    """Garbage is handed to the worker with what is wrong, beside the good ones."""
    raw.xadd(w1.keys.stream("interactive"), {"junk": "1"})
    raw.xadd(w1.keys.stream("interactive"), {"op": "echo", "json": '{"inputs": ["a"]}'})

    garbage, good = w1.read(LANES, 10, block_ms=0)

    assert isinstance(garbage.job, Malformed)
    assert (garbage.job_id, good.job_id) == (None, good.entry_id)


@pytest.mark.parametrize("fields", [{"op": "echo", "json": '{"inputs": [{"base64": 5}]}'}], ids=["base64 of a number"])
def test_no_entry_can_make_reading_fail(raw: "Redis", w1: Consumer, fields: Any) -> None:
    """Whatever anybody types, the read that finds it returns."""
    raw.xadd(w1.keys.stream("interactive"), fields)

    assert isinstance(read_one(w1).job, Malformed)


def test_released_entries_go_to_another_at_once_and_uncounted(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """What a draining worker gives back is nobody's fault: no lease is waited for, no delivery counted."""
    deliveries = delivered(client, w1, 3)

    w1.release(list(map(hold, deliveries)))

    assert {holder for _, holder, _ in held(raw, w1)} == {RELEASED}
    claim = w2.claim("interactive", 10, suspect=False)
    assert ids(claim.taken) == ids(deliveries)
    assert [(taken.deliveries, taken.suspect) for taken in claim.taken] == [(1, False)] * 3


def test_no_more_released_entries_are_taken_than_asked_for(client: Client, w1: Consumer, w2: Consumer) -> None:
    """A worker takes what it has room for and leaves the rest to others."""
    w1.release(list(map(hold, delivered(client, w1, 5))))

    taken = [len(w2.claim("interactive", room, suspect=False).taken) for room in (0, 2, 10)]

    assert taken == [0, 2, 3]


def test_only_its_holder_gives_an_entry_back(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that has lost a job does not take it from the one that has it."""
    (delivery,) = delivered(client, w1)

    w2.release([hold(delivery)])

    assert held(raw, w1) == [(delivery.entry_id, "w1", 1)]


def test_an_entry_within_its_lease_is_left_alone(client: Client, w1: Consumer, w2: Consumer) -> None:
    """What was renewed lately is being worked on."""
    delivered(client, w1, 2)

    claim = w2.claim("interactive", 10, suspect=True)

    assert (claim.taken, claim.dead, claim.more) == ([], [], False)


def test_suspects_are_taken_one_at_a_time(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """Of the jobs of a dead worker only one may be the culprit, so each is taken alone, and the rest is told of."""
    deliveries = delivered(client, w1, 3)
    for delivery in deliveries:
        age(raw, w1, delivery, idle_ms=LEASE_MS + 1)

    none = w2.claim("interactive", 10, suspect=False)
    first = w2.claim("interactive", 10, suspect=True)
    second = w2.claim("interactive", 10, suspect=True)
    third = w2.claim("interactive", 10, suspect=True)

    assert [ids(claim.taken) for claim in (none, first, second, third)] == [[], ["j0"], ["j1"], ["j2"]]
    assert [claim.more for claim in (none, first, second, third)] == [True, True, True, False]
    assert [(delivery.deliveries, delivery.suspect) for delivery in first.taken] == [(0, True)]


def test_a_job_handed_out_too_often_is_taken_for_the_verdict_alone(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """After the most deliveries a job is not run again, even by a worker that has no room for a suspect."""
    (delivery,) = delivered(client, w1)
    age(raw, w1, delivery, idle_ms=LEASE_MS + 1, deliveries=4)

    claim = w2.claim("interactive", 0, suspect=False)

    assert (claim.taken, ids(claim.dead), claim.more) == ([], ["j0"], False)
    assert claim.dead[0].deliveries == 3
    assert held(raw, w2) == [(delivery.entry_id, "w2", 4)]


def test_the_published_limits_hold_for_every_worker(
    client: Client, raw: "Redis", w1: Consumer, make_consumer: MakeConsumer
) -> None:
    """A worker with other limits of its own obeys those the model's workers have published."""
    strict = make_consumer("strict", limits=Limits(lease_ms=50, max_deliveries=1))
    w1.announce({"device": "cpu"})
    (delivery,) = delivered(client, w1)
    age(raw, w1, delivery, idle_ms=LEASE_MS - 5000, deliveries=2)

    claim = strict.claim("interactive", 10, suspect=True)

    assert (claim.taken, claim.dead) == ([], [])


def test_a_worker_does_not_take_its_own_jobs_for_a_dead_ones(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A worker that was suspended for longer than its lease goes on with what it has."""
    (delivery,) = delivered(client, w1)
    age(raw, w1, delivery, idle_ms=LEASE_MS + 1)

    claim = w1.claim("interactive", 10, suspect=True)

    assert (claim.taken, claim.more, held(raw, w1)) == ([], False, [(delivery.entry_id, "w1", 1)])


@pytest.mark.parametrize("released", [True, False], ids=["released", "abandoned"])
def test_an_entry_an_operator_deleted_is_dropped(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer, *, released: bool
) -> None:
    """A pending id without its entry leaves the group, and no worker is handed nothing."""
    (delivery,) = delivered(client, w1)
    if released:
        w1.release([hold(delivery)])
    else:
        age(raw, w1, delivery, idle_ms=LEASE_MS + 1)
    raw.xdel(w1.keys.stream("interactive"), delivery.entry_id)

    claim = w2.claim("interactive", 10, suspect=True)

    assert (claim.taken, claim.dead, held(raw, w2)) == ([], [], [])


def test_a_job_settled_twice_is_stored_and_told_once(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A worker that is not sure whether it was heard says it again; nobody notices."""
    (delivery,) = delivered(client, w1)
    delivery = told(delivery, "c1")

    with listening(raw, "c1") as subscription:
        w1.settle([reply_with(delivery, {"outputs": ["first"]})])
        w1.settle([reply_with(delivery, {"outputs": ["second"]})])
        raw.publish("c1", "end")
        heard = [message(subscription), message(subscription)]

    assert (heard[0].partition(b"\n")[0], heard[1]) == (b"j0", b"end")
    assert stored(raw, w1, "j0").result == {"outputs": ["first"]}


def test_a_settled_job_leaves_nothing_but_its_reply(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Entry, pending mark and id key go in the same step in which the reply comes, with the life asked for."""
    (delivery,) = delivered(client, w1)

    w1.settle([reply_with(delivery, {"outputs": []}, keep_ms=60_000)])

    keys = w1.keys
    assert (raw.xlen(keys.stream("interactive")), held(raw, w1), raw.exists(keys.job("j0"))) == (0, [], 0)
    assert 50_000 < raw.pttl(keys.result("j0")) <= 60_000


def test_whoever_finishes_first_wins(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that lost its lease and finishes all the same has done the job; the new holder changes nothing."""
    (delivery,) = delivered(client, w1)
    age(raw, w1, delivery, idle_ms=LEASE_MS + 1)
    (again,) = w2.claim("interactive", 1, suspect=True).taken

    w1.settle([reply_with(delivery, {"outputs": ["zombie"]})])
    w2.settle([reply_with(again, {"outputs": ["holder"]})])

    assert (stored(raw, w1, "j0").result, held(raw, w1)) == ({"outputs": ["zombie"]}, [])


def test_many_jobs_are_settled_in_one_call(client: Client, raw: "Redis", w1: Consumer) -> None:
    """More jobs than one script takes are all settled."""
    deliveries = delivered(client, w1, 150)

    w1.settle(list(map(echo, deliveries)))

    assert (raw.xlen(w1.keys.stream("interactive")), held(raw, w1)) == (0, [])
    assert [stored(raw, w1, f"j{number}").result for number in (0, 149)] == [{"outputs": [0]}, {"outputs": [149]}]


def test_a_small_reply_travels_with_its_wake_up_and_a_large_one_does_not(
    client: Client, raw: "Redis", w1: Consumer
) -> None:
    """A wake-up that could fill a server's buffers brings the id alone."""
    small, large = (told(delivery, "c1") for delivery in delivered(client, w1, 2))

    with listening(raw, "c1") as subscription:
        w1.settle([reply_with(small, {"outputs": ["x"]}), reply_with(large, {"outputs": ["x" * REPLY_BYTES_TOLD]})])
        heard = dict(message(subscription).partition(b"\n")[::2] for _ in range(2))

    assert (set(heard), heard[b"j1"]) == ({b"j0", b"j1"}, b"")
    assert decode_reply(heard[b"j0"]) == stored(raw, w1, "j0")


def test_a_renewal_keeps_the_jobs_and_counts_nothing(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A job of any length is kept by its worker, however short the lease, without looking like a redelivery."""
    (delivery,) = delivered(client, w1)
    age(raw, w1, delivery, idle_ms=LEASE_MS + 1)

    assert renewed(w1) == 1
    assert (w2.claim("interactive", 10, suspect=True).taken, held(raw, w1)) == ([], [(delivery.entry_id, "w1", 1)])


def test_a_look_keeps_the_id_of_a_long_job(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A job that runs longer than its time to live is not queued a second time by a repeated submit."""
    client.submit("m", "op", ["a"], job_id="j0", timeout_s=0.05)
    delivery = read_one(w1)
    raw.pexpire(w1.keys.job("j0"), 5000)

    w1.look([hold(delivery)])

    assert raw.pttl(w1.keys.job("j0")) > 60_000


def test_a_look_tells_of_jobs_lost_to_another_worker(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that comes back from a pause learns what is no longer its own, and takes nothing back."""
    kept, lost = delivered(client, w1, 2)
    age(raw, w1, lost, idle_ms=LEASE_MS + 1)
    w2.claim("interactive", 1, suspect=True)

    look = w1.look([hold(kept), hold(lost)])

    assert (set(look.lost), set(look.answered)) == ({lost.place}, set())
    assert (lost.entry_id, "w2", 0) in held(raw, w2)


def test_a_look_tells_of_jobs_cancelled_meanwhile(client: Client, w1: Consumer) -> None:
    """A worker learns of a cancellation while it has the job."""
    kept, cancelled = delivered(client, w1, 2)
    client.cancel("m", "j1")

    look = w1.look([hold(kept), hold(cancelled)])

    assert (set(look.lost), set(look.answered)) == (set(), {cancelled.place})


def test_a_look_at_many_jobs_tells_of_each(client: Client, w1: Consumer) -> None:
    """More holds than one script takes are told apart by entry."""
    deliveries = delivered(client, w1, 300)
    for number in (0, 127, 128, 299):
        client.cancel("m", f"j{number}")

    look = w1.look(list(map(hold, deliveries)))

    assert {deliveries[number].place for number in (0, 127, 128, 299)} == look.answered


def test_a_look_without_jobs_tells_the_time(w1: Consumer) -> None:
    """An idle worker hears the server's clock."""
    before = w1.server_ms()
    look = w1.look([])

    assert (look.lost, look.answered) == (frozenset(), frozenset())
    assert before <= look.now_ms <= w1.server_ms()


def test_a_renewal_without_jobs_is_a_sign_of_life(raw: "Redis", w1: Consumer) -> None:
    """An idle worker counts as alive, by the server's clock, and so where its streams are gone."""
    raw.delete(*map(w1.keys.stream, LANES))
    before = w1.server_ms()

    assert renewed(w1) == 0
    assert before + LEASE_MS <= (raw.zscore(w1.keys.workers, "w1") or 0) <= w1.server_ms() + LEASE_MS


def test_a_renewal_reaches_every_job_and_no_other_worker(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """However many jobs a worker holds, all are renewed; those of another lapse as they would."""
    deliveries = delivered(client, w1, 1101)
    (other,) = delivered_to(client, w2)
    for delivery in (deliveries[0], deliveries[1100]):
        age(raw, w1, delivery, idle_ms=LEASE_MS + 1)
    age(raw, w2, other, idle_ms=LEASE_MS + 1)

    assert renewed(w1) == 1101
    assert ids(w1.claim("interactive", 10, suspect=True).taken) == ["other"]


def test_a_buried_job_is_answered_and_kept_for_the_operator(client: Client, raw: "Redis", w1: Consumer) -> None:
    """The dead letter has the job with the reason; its caller has the error; its lane has room."""
    (delivery,) = delivered(client, w1)

    moved = w1.bury(delivery, DEAD)

    (dead,) = client.ask(inspection.dead_jobs(w1.keys.prefix, "m"))
    assert (moved, stored(raw, w1, "j0"), raw.xlen(w1.keys.stream("interactive"))) == (True, DEAD, 0)
    assert (dead.job_id, dead.op, dead.lane, dead.code) == ("j0", "op", "interactive", "dead_lettered")
    assert (dead.reason, dead.deliveries, dead.consumer, dead.whole) == ("given up", 1, "w1", True)


def test_only_its_holder_buries_a_job(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that has lost a job cannot give it up while another runs it."""
    (delivery,) = delivered(client, w1)

    moved = w2.bury(delivery, DEAD)

    assert (moved, raw.xlen(w1.keys.dead), raw.exists(w1.keys.result("j0"))) == (False, 0, 0)
    assert held(raw, w1) == [(delivery.entry_id, "w1", 1)]


def test_a_job_is_buried_once(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A verdict said twice is one entry in the dead letter."""
    (delivery,) = delivered(client, w1)

    assert [w1.bury(delivery, DEAD), w1.bury(delivery, DEAD)] == [True, False]
    assert raw.xlen(w1.keys.dead) == 1


def test_an_entry_nobody_can_be_told_of_is_buried_all_the_same(raw: "Redis", w1: Consumer) -> None:
    """Garbage without an id leaves its lane for the dead letter, and no reply is made up."""
    raw.xadd(w1.keys.stream("interactive"), {"junk": "1"})
    delivery = read_one(w1)

    moved = w1.bury(delivery, Failure("invalid_input", "no job"))

    assert (moved, raw.xlen(w1.keys.dead), raw.xlen(w1.keys.stream("interactive"))) == (True, 1, 0)
    assert list(raw.scan_iter(match=f"{w1.keys.prefix}:*:result:*")) == []


def test_what_a_lost_read_handed_out_is_found_again(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Entries whose delivery never arrived belong to the worker at once, uncounted, and not after a lease."""
    for number in range(3):
        client.submit("m", "op", [number], job_id=f"j{number}", lane="bulk")
    (known,) = w1.read(["bulk"], 1, block_ms=0)
    raw.xreadgroup(GROUP, "w1", {w1.keys.stream("bulk"): ">"}, count=10)

    found = w1.adopt({known.place}).taken

    assert [(delivery.job_id, delivery.deliveries, delivery.lane) for delivery in found] == [
        ("j1", 1, "bulk"),
        ("j2", 1, "bulk"),
    ]


def test_adoption_drops_what_an_operator_deleted(client: Client, raw: "Redis", w1: Consumer) -> None:
    """A pending id without its entry is no delivery."""
    (delivery,) = delivered(client, w1)
    raw.xdel(w1.keys.stream("interactive"), delivery.entry_id)

    assert (w1.adopt(()).taken, held(raw, w1)) == ([], [])


def twins(raw: "Redis", consumer: Consumer) -> list[Delivery]:
    """Return two jobs, `interactive` and `bulk`, whose entries have one id, as those of one millisecond may."""
    for lane in LANES:
        job: Any = {"id": lane, "op": "op", "json": '{"inputs": ["a"]}'}
        raw.xadd(consumer.keys.stream(lane), job, id="1-1")
        raw.set(consumer.keys.job(lane), "1-1", px=60_000)
    return consumer.read(LANES, 1, block_ms=0)


def test_jobs_of_one_entry_id_in_both_lanes_are_told_apart(client: Client, raw: "Redis", w1: Consumer) -> None:
    """What became of an entry, and which were found again, is never told of one of the other lane."""
    interactive, bulk = twins(raw, w1)
    client.cancel("m", "bulk")

    assert w1.look([hold(interactive), hold(bulk)]).answered == {bulk.place}
    assert w1.answered([interactive, bulk]) == {bulk.place}
    assert ids(w1.adopt({interactive.place}).taken) == ["bulk"]


def test_replies_that_are_there_are_found_for_many_at_once(client: Client, w1: Consumer) -> None:
    """A worker learns which of the jobs it read need not be run."""
    first, second, third = delivered(client, w1, 3)
    client.cancel("m", "j1")

    assert w1.answered([first, second, third]) == {second.place}
    assert w1.answered([]) == set()


def test_a_worker_is_announced_to_callers_operators_and_scripts(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Who serves what, and under which limits, is told where the protocol says, and lapses by itself."""
    w1.announce({"device": "cpu", "ops": "op"})
    renewed(w1)

    state = client.ask(inspection.model_state(w1.keys.prefix, "m"))

    assert (state.workers, client.ask(inspection.known_models(w1.keys.prefix))) == (
        {"w1": {"device": "cpu", "ops": "op"}},
        ["m"],
    )
    assert raw.hget(w1.keys.config, "lease_ms") == b"30000"
    assert 0 < raw.pttl(w1.keys.worker("w1")) <= 3 * LEASE_MS


def test_a_worker_that_leaves_is_gone(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Nothing of a worker without jobs stays behind."""
    w1.announce({"device": "cpu"})
    renewed(w1)
    delivered(client, w1)
    w1.release([hold(delivery) for delivery in w1.adopt(()).taken])

    w1.leave()

    consumers = {consumer["name"] for consumer in raw.xinfo_consumers(w1.keys.stream("interactive"), GROUP)}
    assert (consumers, raw.exists(w1.keys.worker("w1"))) == ({RELEASED.encode()}, 0)
    assert client.ask(inspection.model_state(w1.keys.prefix, "m")).workers == {}


def test_a_worker_that_leaves_jobs_behind_does_not_take_them_along(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """Jobs still in the hands of one that leaves are found by the others when their lease lapses."""
    (delivery,) = delivered(client, w1)

    w1.leave()
    age(raw, w1, delivery, idle_ms=LEASE_MS + 1)

    assert ids(w2.claim("interactive", 1, suspect=True).taken) == ["j0"]


def test_a_lane_that_was_deleted_is_made_again(client: Client, raw: "Redis", w1: Consumer) -> None:
    """After an operator deletes a stream the worker says what is missing, makes it, and serves what comes next."""
    raw.delete(*map(w1.keys.stream, LANES))
    for verb in (lambda: w1.read(LANES, 1, block_ms=0), lambda: w1.claim("bulk", 1, suspect=True)):
        with pytest.raises(NoGroup):
            verb()
    client.submit("m", "op", ["a"], job_id="j1")

    w1.ensure_groups()
    w1.ensure_groups()

    assert ids(w1.read(LANES, 1, block_ms=0)) == ["j1"]


def test_a_blocked_read_is_told_that_its_lane_is_gone(raw: "Redis", w1: Consumer) -> None:
    """A worker that waits for jobs when its stream is deleted does not wait for ever."""
    idle = raw.info("clients")["blocked_clients"]

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(w1.read, LANES, 1, block_ms=5000)
        eventually(lambda: raw.info("clients")["blocked_clients"] > idle)
        raw.delete(*map(w1.keys.stream, LANES))
        with pytest.raises(NoGroup):
            reading.result(10.0)


def test_a_success_keeps_its_meta(client: Client, raw: "Redis", w1: Consumer) -> None:
    """How a job fared is stored with its result."""
    (delivery,) = delivered(client, w1)
    w1.settle([echo(delivery)])

    reply = stored(raw, w1, "j0")

    assert isinstance(reply, Success)
    assert reply.meta.worker == "in-process"
