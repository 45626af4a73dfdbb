"""What a supervisor says for its engines, and what a worker puts off."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from redis import Redis

from rpc import Client, leases
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Hold, Place
from rpc.keys import BEGUN, GROUP, LANES, PUT_OFF, SUSPECT
from rpc.messages import Failure
from tests.answering import age, carry_out, echo, held, job_of, reply_with, show_life
from tests.conftest import MakeConsumer

pytestmark = pytest.mark.server

Bereave = Callable[..., tuple[int, int]]


@pytest.fixture
def w1(make_consumer: MakeConsumer) -> Consumer:
    """Return a worker."""
    return make_consumer("w1")


@pytest.fixture
def w2(make_consumer: MakeConsumer) -> Consumer:
    """Return another worker."""
    return make_consumer("w2")


@pytest.fixture
def bereave(w2: Consumer) -> Bereave:
    """Return what the supervisor says of a worker that was killed; without `working_on` it knows nothing."""

    def call(dead: Consumer, working_on: set[Place] | None = None, *, alone: bool = False) -> tuple[int, int]:
        said = leases.bereave(dead.keys.prefix, "m", dead.name, died_of="SIGKILL", working_on=working_on, alone=alone)
        answer: tuple[int, int] = carry_out(w2, said)
        return answer

    return call


def in_hand(client: Client, consumer: Consumer, count: int) -> list[Delivery]:
    """Return the deliveries of so many new jobs of the first lane."""
    for number in range(count):
        client.submit("m", "op", ["a"], job_id=f"j{number}")
    return consumer.read(LANES, count, block_ms=0)


def hold(delivery: Delivery) -> Hold:
    """Return an entry as a worker holds it."""
    return Hold(delivery.entry_id, delivery.lane, job_of(delivery).id)


def consumers(raw: "Redis", consumer: Consumer) -> list[set[str]]:
    """Return the names in each lane's group."""
    found: list[Any] = [raw.xinfo_consumers(consumer.keys.stream(lane), GROUP) for lane in LANES]
    return [{each["name"].decode() for each in lane} for lane in found]


def idle_ms(raw: "Redis", consumer: Consumer) -> int:
    """Return how long the first lane's only pending entry counts as not heard of."""
    (pending,) = cast("Any", raw.xpending_range(consumer.keys.stream("interactive"), GROUP, "-", "+", 2))
    return int(pending["time_since_delivered"])


def test_what_waited_in_dead_hands_is_free_and_what_was_worked_on_is_suspected(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer, bereave: Bereave
) -> None:
    """What merely waited goes to anybody at once; the rest one by one, uncounted in company, and with how it ended."""
    first, second, *rest = in_hand(client, w1, 4)

    told = bereave(w1, {first.place, second.place})

    assert told == (2, 2)
    assert held(raw, w1) == [
        *((each.entry_id, "~died:SIGKILL", 1) for each in (first, second)),
        *((each.entry_id, BEGUN, 0) for each in rest),
    ]
    claim = w2.claim("interactive", 10, suspect=True)
    assert [(each.entry_id, each.deliveries, each.died_of) for each in claim.taken] == [
        *((each.entry_id, 1, "") for each in rest),
        (first.entry_id, 0, "SIGKILL"),
    ]
    assert claim.more
    assert claim.taken[-1].suspect


@pytest.mark.parametrize(
    ("count", "at_work", "alone", "expected"),
    [
        pytest.param(1, False, False, (BEGUN, 0), id="in hand"),
        pytest.param(1, False, True, (BEGUN, 0), id="in hand, another at work alone"),
        pytest.param(1, True, False, ("~died:SIGKILL", 1), id="at work in company"),
        pytest.param(1, True, True, ("~died:SIGKILL", 2), id="at work alone"),
        pytest.param(0, False, True, (SUSPECT, 0), id="a suspect in hand"),
        pytest.param(2, False, True, (SUSPECT, 2), id="a suspect in hand, counted once before"),
        pytest.param(2, True, True, ("~died:SIGKILL", 2), id="a suspect at work, counted before it began"),
        pytest.param(4, True, True, ("~died:SIGKILL", 4), id="a suspect at work for the last time"),
        pytest.param(1, None, False, ("~died:SIGKILL", 1), id="nobody knows"),
        pytest.param(3, None, False, ("~died:SIGKILL", 3), id="nobody knows of a suspect"),
    ],
)
def test_only_a_job_at_work_alone_is_counted(
    client: Client,
    raw: "Redis",
    w1: Consumer,
    bereave: Bereave,
    count: int,
    *,
    at_work: bool | None,
    alone: bool,
    expected: tuple[str, int],
) -> None:
    """Whatever state a job is in when its engine dies, it is counted only if it alone can have killed it."""
    (delivery,) = in_hand(client, w1, 1)
    w1.count(delivery.place, count)

    bereave(w1, None if at_work is None else {delivery.place} if at_work else set(), alone=alone)

    assert held(raw, w1) == [(delivery.entry_id, *expected)]


def test_a_lost_suspect_keeps_its_count_until_it_is_given_up_on(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """A worker lost as a whole tells nothing: only deliveries counted at the beginning of the work count."""
    (delivery,) = in_hand(client, w1, 1)
    counts = []
    for at_work in (False, False, True, True, False, True):
        age(raw, w1, delivery, idle_ms=31_000, deliveries=held(raw, w1)[0][2])
        (taken,) = w2.claim("interactive", 0, suspect=True).taken
        counts.append(taken.deliveries)
        if at_work:
            assert w2.count(taken.place, max(1, taken.deliveries) + 1)
        w1, w2 = w2, w1
    age(raw, w1, delivery, idle_ms=31_000, deliveries=held(raw, w1)[0][2])

    (dead,) = w2.claim("interactive", 0, suspect=False).dead

    assert (counts, dead.deliveries) == ([0, 0, 0, 2, 3, 3], 3)


def test_only_its_holder_counts_a_delivery(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that lost an entry, or settled it, changes no count."""
    (delivery,) = in_hand(client, w1, 1)

    assert (w2.count(delivery.place, 3), held(raw, w1)) == (False, [(delivery.entry_id, "w1", 1)])
    w1.settle([echo(delivery)])
    assert not w1.count(delivery.place, 3)


def test_a_suspect_given_back_stays_one(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A drained worker's suspect keeps its count and runs alone wherever it goes; it is there at once."""
    (delivery,) = in_hand(client, w1, 1)
    w1.count(delivery.place, 3)

    w1.release([replace(hold(delivery), begun=True, count=2)])

    assert held(raw, w1) == [(delivery.entry_id, SUSPECT, 2)]
    assert w2.claim("interactive", 10, suspect=False).taken == []
    (taken,) = w2.claim("interactive", 10, suspect=True).taken
    assert (taken.deliveries, taken.suspect, taken.attempts) == (2, True, 2)


def test_if_nobody_knows_what_was_worked_on_all_is_suspected(
    client: Client, raw: "Redis", w1: Consumer, bereave: Bereave
) -> None:
    """Any job may have killed a worker that died without telling: each of them has to run alone."""
    deliveries = in_hand(client, w1, 3)

    assert bereave(w1) == (0, 3)

    assert held(raw, w1) == [(each.entry_id, "~died:SIGKILL", 1) for each in deliveries]


def test_a_dead_worker_is_gone_from_both_lanes_and_from_the_living(
    client: Client, raw: "Redis", w1: Consumer, bereave: Bereave
) -> None:
    """Nothing says any more that it serves, and no list of readers grows with the dead."""
    client.submit("m", "op", ["a"], lane="bulk")
    in_hand(client, w1, 1)
    w1.announce({"device": "cpu"})
    show_life(w1)
    assert all("w1" in names for names in consumers(raw, w1))

    bereave(w1)

    assert not any("w1" in names for names in consumers(raw, w1))
    assert raw.exists(w1.keys.worker("w1")) == 0
    assert raw.zscore(w1.keys.workers, "w1") is None


def test_a_death_told_twice_is_told_once(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer, bereave: Bereave
) -> None:
    """A supervisor that did not hear the answer says it again, and takes nothing from who has the jobs by then."""
    first, *_ = in_hand(client, w1, 2)
    bereave(w1, {first.place})
    w2.claim("interactive", 10, suspect=True)
    before = held(raw, w1)

    assert bereave(w1, {first.place}) == (0, 0)

    assert held(raw, w1) == before


def test_a_death_touches_nobody_elses_jobs(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer, bereave: Bereave
) -> None:
    """What the dead worker was at but had lost before stays with whom it went to."""
    (delivery,) = in_hand(client, w1, 1)
    age(raw, w1, delivery, idle_ms=31_000)
    w2.claim("interactive", 1, suspect=True)

    assert bereave(w1, {delivery.place}) == (0, 0)

    assert held(raw, w1) == [(delivery.entry_id, "w2", 0)]


def test_a_death_before_the_first_job_is_no_error(raw: "Redis", w1: Consumer, w2: Consumer, bereave: Bereave) -> None:
    """An engine may die before it has read, or after the server was emptied."""
    assert bereave(w1) == (0, 0)
    raw.delete(*map(w2.keys.stream, LANES))

    assert bereave(w1) == (0, 0)


def test_only_silent_workers_without_jobs_are_dropped(
    client: Client, raw: "Redis", make_consumer: MakeConsumer, w1: Consumer
) -> None:
    """Who holds a job or gave a sign of life stays; who has ended without a word goes."""
    in_hand(client, w1, 1)
    living, ended = make_consumer("living"), make_consumer("ended")
    for each in (living, ended):
        client.submit("m", "op", ["a"])
        each.settle([echo(delivery) for delivery in each.read(LANES, 1, block_ms=0)])
    show_life(living)

    carry_out(w1, leases.reap(w1.keys.prefix, "m", silent_ms=0))

    assert consumers(raw, w1)[0] == {"w1", "living"}


def test_a_worker_heard_of_lately_is_not_dropped(client: Client, raw: "Redis", w1: Consumer) -> None:
    """One that reads but has not given a sign of life yet is left alone for a while."""
    w1.settle([echo(delivery) for delivery in in_hand(client, w1, 1)])

    assert carry_out(w1, leases.reap(w1.keys.prefix, "m")) == 0

    assert "w1" in consumers(raw, w1)[0]


def test_who_was_dropped_and_comes_back_reads_on(client: Client, w1: Consumer) -> None:
    """A worker cut off for long finds its place again by reading."""
    w1.settle([echo(delivery) for delivery in in_hand(client, w1, 1)])
    carry_out(w1, leases.reap(w1.keys.prefix, "m", silent_ms=0))

    client.submit("m", "op", ["a"], job_id="later")

    assert [delivery.job_id for delivery in w1.read(LANES, 1, block_ms=0)] == ["later"]


def test_nobody_is_dropped_where_there_is_no_lane(raw: "Redis", w1: Consumer) -> None:
    """A server that was emptied has nobody to drop."""
    raw.delete(*map(w1.keys.stream, LANES))

    assert carry_out(w1, leases.reap(w1.keys.prefix, "m", silent_ms=0)) == 0


def test_a_job_put_off_is_left_alone_for_the_delay_and_then_taken_over(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """It comes back when its delay is over, as a suspect, one delivery more counted."""
    (delivery,) = in_hand(client, w1, 1)

    assert w1.retry(delivery, delay_s=20.0)

    assert held(raw, w1) == [(delivery.entry_id, PUT_OFF, 2)]
    assert 10_000 <= idle_ms(raw, w1) < 20_000
    assert w2.claim("interactive", 10, suspect=True).taken == []
    stream = w1.keys.stream("interactive")
    raw.xclaim(stream, GROUP, PUT_OFF, 0, (delivery.entry_id,), idle=30_001, retrycount=2, justid=True)
    (taken,) = w2.claim("interactive", 10, suspect=True).taken
    assert (taken.deliveries, taken.left_by) == (2, PUT_OFF)


def test_a_delay_beyond_the_lease_is_the_lease(client: Client, raw: "Redis", w1: Consumer) -> None:
    """No job is put off for longer than a dead worker's jobs wait."""
    (delivery,) = in_hand(client, w1, 1)

    w1.retry(delivery, delay_s=3600.0)

    assert idle_ms(raw, w1) < 10_000


def test_only_its_holder_puts_a_job_off(client: Client, raw: "Redis", w1: Consumer, w2: Consumer) -> None:
    """A worker that came back from the dead changes nothing of a job that another has by now."""
    (delivery,) = in_hand(client, w1, 1)
    age(raw, w1, delivery, idle_ms=31_000)
    w2.claim("interactive", 1, suspect=True)

    assert not w1.retry(delivery, delay_s=1.0)

    assert held(raw, w1) == [(delivery.entry_id, "w2", 0)]
    w2.settle([echo(delivery)])
    assert not w2.retry(delivery, delay_s=1.0)


def test_a_job_is_put_off_by_the_delivery_it_was_had_by(client: Client, raw: "Redis", w1: Consumer) -> None:
    """Said once more, because the answer was lost, when the same worker has the job back: it stays where it is."""
    (delivery,) = in_hand(client, w1, 1)
    assert w1.retry(delivery, delay_s=0.0)
    (again,) = w1.claim("interactive", 1, suspect=True).taken

    assert not w1.retry(delivery, delay_s=0.0)

    assert held(raw, w1) == [(again.entry_id, "w1", 2)]


def test_an_error_counts_only_from_who_holds_the_entry(
    client: Client, raw: "Redis", w1: Consumer, w2: Consumer
) -> None:
    """A worker that comes back late fails no job that another one does meanwhile; what it has done well counts."""
    failed, done = in_hand(client, w1, 2)
    for delivery in (failed, done):
        age(raw, w1, delivery, idle_ms=31_000)
    taken = [w2.claim("interactive", 1, suspect=True).taken[0] for _ in range(2)]

    w1.settle([reply_with(failed, Failure("expired", "too late", retryable=True)), echo(done)])

    assert held(raw, w1) == [(failed.entry_id, "w2", 0)]
    assert client.result("m", str(done.job_id)) == {"outputs": list(job_of(done).inputs)}
    w2.settle([reply_with(taken[0], {"outputs": ["by w2"]})])
    assert client.result("m", str(failed.job_id)) == {"outputs": ["by w2"]}


def test_what_may_have_begun_is_known_as_such_to_whoever_gets_it(client: Client, w1: Consumer, w2: Consumer) -> None:
    """A job given back in mid-work, or taken over from the dead, is told from one that merely waited."""
    waited, begun = in_hand(client, w1, 2)
    w1.release([hold(waited), replace(hold(begun), begun=True)])

    taken = w2.claim("interactive", 10, suspect=True).taken

    assert {item.entry_id: (item.begun, item.deliveries) for item in taken} == {
        waited.entry_id: (False, 1),
        begun.entry_id: (True, 1),
    }
