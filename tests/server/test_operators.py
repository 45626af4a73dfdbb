"""What an operator asks and does: states, entries, the dead letter."""

from typing import Any

import pytest
from redis import Redis

from rpc import Client, InvalidInput, UnknownModel, inspection, leases
from rpc.consumer import DEAD_PAYLOAD_BYTES, Consumer
from rpc.deliveries import Delivery, Hold
from rpc.inspection import LaneState, ModelState
from rpc.messages import Failure
from tests.answering import Answering, carry_out, job_of, read_one
from tests.conftest import MakeConsumer

pytestmark = pytest.mark.server

DEAD = Failure("dead_lettered", "given up after 3 deliveries")


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return a worker."""
    return make_consumer()


@pytest.fixture
def prefix(consumer: Consumer) -> str:
    """Return the prefix of the test's keys."""
    return consumer.keys.prefix


def buried(client: Client, consumer: Consumer, *inputs: Any, job_id: str = "j1", **options: Any) -> str:
    """Submit a job, let it be given up on, and return its id in the dead letter."""
    client.submit("m", "op", list(inputs or ["a"]), job_id=job_id, **options)
    consumer.bury(read_one(consumer), DEAD)
    newest, *_ = client.ask(inspection.dead_jobs(consumer.keys.prefix, "m"))
    return newest.dead_id


def test_a_model_nobody_has_served_has_no_state(client: Client, prefix: str) -> None:
    """Asking for what is not there is answered with nothing, and makes nothing."""
    lanes = (LaneState("interactive", 0, 0, 0), LaneState("bulk", 0, 0, 0))

    assert client.ask(inspection.known_models(prefix)) == []
    assert ModelState("n", lanes, 0, {}) == client.ask(inspection.model_state(prefix, "n"))


def test_a_malformed_model_name_is_refused(client: Client, prefix: str) -> None:
    """An operator's typing error is told as one."""
    with pytest.raises(UnknownModel):
        client.ask(inspection.model_state(prefix, "a b"))


def test_what_waits_and_what_runs_is_told_apart(client: Client, consumer: Consumer, prefix: str) -> None:
    """Waiting is what no worker has read, running what one has; the age is the oldest's."""
    for number in range(3):
        client.submit("m", "op", [number])
    client.submit("m", "op", ["bulk"], lane="bulk")
    oldest = read_one(consumer, ["interactive"])

    interactive, bulk = client.ask(inspection.model_state(prefix, "m")).lanes

    assert (interactive.waiting, interactive.running, bulk.waiting, bulk.running) == (2, 1, 1, 0)
    assert 0 <= interactive.oldest_ms <= consumer.server_ms() - oldest.submitted_ms


def test_a_job_that_no_worker_holds_waits(
    client: Client, consumer: Consumer, prefix: str, make_consumer: MakeConsumer
) -> None:
    """Jobs that were given back, put off, or left behind by a dead engine count as waiting, not as running."""
    for _ in range(6):
        client.submit("m", "op", ["a"])
    ended = make_consumer("ended")
    worked_on, _ = (read_one(ended) for _ in range(2))
    carry_out(consumer, leases.bereave(prefix, "m", "ended", died_of="SIGKILL", working_on={worked_on.place}))
    given_back, put_off, *_ = (read_one(consumer) for _ in range(3))
    consumer.release([Hold(given_back.entry_id, "interactive", str(given_back.job_id))])
    consumer.retry(put_off, delay_s=10.0)

    interactive, _ = client.ask(inspection.model_state(prefix, "m")).lanes
    holders = [entry["held_by"] for entry in client.ask(inspection.peek(prefix, "m", "interactive", 10))]

    assert (interactive.waiting, interactive.running) == (5, 1)
    assert holders == ["~died:SIGKILL", "~begun", "~free", "~later", "w1", None]


def test_only_living_workers_are_told(client: Client, consumer: Consumer, prefix: str, raw: "Redis") -> None:
    """A worker that was not heard of for a lease is no worker."""
    consumer.announce({"device": "cpu"})
    raw.zadd(consumer.keys.workers, {"w1": consumer.server_ms() - 1, "w2": consumer.server_ms() + 60_000})

    assert client.ask(inspection.model_state(prefix, "m")).workers == {"w2": {}}


def test_an_entry_is_shown_with_its_payload_and_its_holder(client: Client, consumer: Consumer, prefix: str) -> None:
    """An operator sees what a job asks, how old it is, and who has it, in the order of the lane."""
    client.submit("m", "op", ["a"], {"x": 1}, job_id="held")
    client.submit("m", "op", ["b"], job_id="waiting")
    read_one(consumer)

    held, waiting = client.ask(inspection.peek(prefix, "m", "interactive", 10))

    assert (held["id"], held["op"], held["held_by"], held["deliveries"]) == ("held", "op", "w1", 1)
    assert held["payload"] == {"inputs": ["a"], "options": {"x": 1}}
    assert (waiting["id"], waiting["held_by"], waiting["deliveries"]) == ("waiting", None, 0)
    assert waiting["age_ms"] >= 0


def test_peeking_changes_nothing_and_shows_no_more_than_asked(client: Client, consumer: Consumer, prefix: str) -> None:
    """Looking at a lane delivers nothing."""
    for number in range(3):
        client.submit("m", "op", [number], job_id=f"j{number}")

    assert [entry["id"] for entry in client.ask(inspection.peek(prefix, "m", "interactive", 2))] == ["j0", "j1"]
    assert read_one(consumer).job_id == "j0"


def test_a_large_payload_is_shown_by_its_size(client: Client, consumer: Consumer, prefix: str) -> None:
    """A picture does not fill an operator's screen."""
    assert consumer.keys.model == "m"
    client.submit("m", "op", ["x" * 5000])

    (entry,) = client.ask(inspection.peek(prefix, "m", "interactive", 1))

    assert entry["payload"] == f"({entry['payload_bytes']} bytes)"


def test_garbage_can_be_looked_at(client: Client, consumer: Consumer, prefix: str, raw: "Redis") -> None:
    """An entry that is no job is shown as what it is."""
    raw.xadd(consumer.keys.stream("interactive"), {b"\xff": b"\xfe", b"payload": b"\xc1"})

    (entry,) = client.ask(inspection.peek(prefix, "m", "interactive", 1))

    assert (entry["\ufffd"], "not msgpack" in entry["payload"]) == ("\ufffd", True)


def test_a_lane_without_a_group_can_be_looked_at(client: Client, prefix: str) -> None:
    """Jobs that wait for their first worker are shown, and so is nothing."""
    client.submit("early", "op", ["a"], job_id="j1")

    assert [entry["id"] for entry in client.ask(inspection.peek(prefix, "early", "interactive", 5))] == ["j1"]
    assert client.ask(inspection.peek(prefix, "early", "bulk", 5)) == []


def test_dead_jobs_are_listed_newest_first_or_by_id(client: Client, consumer: Consumer, prefix: str) -> None:
    """The dead letter is read from its end; one of it can be asked for."""
    first = buried(client, consumer, job_id="first")
    second = buried(client, consumer, job_id="second")

    assert [dead.dead_id for dead in client.ask(inspection.dead_jobs(prefix, "m"))] == [second, first]
    assert [dead.job_id for dead in client.ask(inspection.dead_jobs(prefix, "m", dead_id=first))] == ["first"]
    assert len(client.ask(inspection.dead_jobs(prefix, "m", count=1))) == 1


def test_the_payload_of_a_dead_job_can_be_seen(client: Client, consumer: Consumer, prefix: str) -> None:
    """What the job asked is kept with the reason it failed for."""
    dead_id = buried(client, consumer, "poison")

    assert client.ask(inspection.dead_payload(prefix, "m", dead_id)) == {"inputs": ["poison"], "options": {}}


def test_a_dead_job_queued_again_is_as_new(client: Client, consumer: Consumer, prefix: str) -> None:
    """Its error is gone, its deliveries start from none, and it is answered under its old id."""
    dead_id = buried(client, consumer, "a", lane="bulk")

    job_id = client.ask(inspection.redrive(prefix, "m", dead_id))

    with Answering(consumer):
        assert (job_id, client.result("m", job_id, timeout_s=10.0)) == ("j1", {"outputs": ["a"]})
    assert client.ask(inspection.dead_jobs(prefix, "m")) == []


def test_a_redriven_job_is_what_it_was(client: Client, consumer: Consumer, prefix: str) -> None:
    """Op, inputs, options, lane and times of the job are those of its caller, and nobody suspects it."""
    client.submit("m", "op", ["a"], {"x": 1}, job_id="j1", lane="bulk", keep_s=7.0)
    before = read_one(consumer)
    consumer.bury(before, DEAD)
    (dead,) = client.ask(inspection.dead_jobs(prefix, "m"))

    client.ask(inspection.redrive(prefix, "m", dead.dead_id))
    after = read_one(consumer)

    assert (job_of(before), after.lane, after.deliveries) == (job_of(after), "bulk", 1)


def test_a_typed_job_queued_again_is_answered_under_the_id_that_is_told(
    client: Client, consumer: Consumer, prefix: str, raw: "Redis"
) -> None:
    """A job typed without an id has its entry's; whoever queues it again is told where its answer will be."""
    raw.xadd(consumer.keys.stream("interactive"), {"op": "echo", "json": '{"inputs": ["a"]}'})
    consumer.bury(read_one(consumer), DEAD)
    (dead,) = client.ask(inspection.dead_jobs(prefix, "m"))

    job_id = client.ask(inspection.redrive(prefix, "m", dead.dead_id))

    assert job_id == read_one(consumer).job_id


def test_a_dead_job_is_queued_again_once(client: Client, consumer: Consumer, prefix: str) -> None:
    """Two operators who retry the same job do not make it two."""
    dead_id = buried(client, consumer)
    client.ask(inspection.redrive(prefix, "m", dead_id))

    with pytest.raises(InvalidInput, match=f"the dead letter of m has no {dead_id}"):
        client.ask(inspection.redrive(prefix, "m", dead_id))


def test_a_job_too_large_to_be_kept_cannot_be_queued_again(client: Client, consumer: Consumer, prefix: str) -> None:
    """The dead letter says that it has no copy, and what size it was; it makes no empty job of it."""
    dead_id = buried(client, consumer, "x" * DEAD_PAYLOAD_BYTES)
    (dead,) = client.ask(inspection.dead_jobs(prefix, "m"))

    with pytest.raises(InvalidInput, match=f"payload of {dead.payload_bytes} bytes was not kept"):
        client.ask(inspection.redrive(prefix, "m", dead_id))

    assert (dead.whole, dead.payload_bytes > DEAD_PAYLOAD_BYTES) == (False, True)


def test_garbage_cannot_be_queued_again(client: Client, consumer: Consumer, prefix: str, raw: "Redis") -> None:
    """What was no job does not become one."""
    raw.xadd(consumer.keys.stream("interactive"), {"junk": "1"})
    garbage: Delivery = read_one(consumer)
    consumer.bury(garbage, Failure("invalid_input", "no job"))
    (dead,) = client.ask(inspection.dead_jobs(prefix, "m"))

    with pytest.raises(InvalidInput):
        client.ask(inspection.redrive(prefix, "m", dead.dead_id))


def test_dead_jobs_are_dropped_by_id_or_all(client: Client, consumer: Consumer, prefix: str) -> None:
    """Purging says how many went, and what was not there does not count."""
    first = buried(client, consumer, job_id="first")
    for number in range(3):
        buried(client, consumer, job_id=f"j{number}")

    gone = [client.ask(inspection.purge(prefix, "m", which)) for which in ([first], [first], [])]

    assert (gone, client.ask(inspection.dead_jobs(prefix, "m"))) == ([1, 0, 3], [])


@pytest.mark.parametrize("dead_id", ["1-0", "nonsense", "-", "+", "(1-0"])
def test_an_id_the_dead_letter_has_not_is_a_callers_error(
    client: Client, consumer: Consumer, prefix: str, dead_id: str
) -> None:
    """Whoever mistypes an id reads that it is not there, whatever was typed, and no other job is touched."""
    buried(client, consumer)

    with pytest.raises(InvalidInput):
        client.ask(inspection.redrive(prefix, "m", dead_id))
    with pytest.raises(InvalidInput):
        client.ask(inspection.dead_payload(prefix, "m", dead_id))
