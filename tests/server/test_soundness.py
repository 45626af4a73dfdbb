"""Jobs in nobody's care are found, and those that are cared for are not taken for such."""

from collections.abc import Callable

import pytest
from redis import Redis

from rpc import Client
from rpc.consumer import Consumer
from rpc.deliveries import Hold
from rpc.keys import GROUP, LANES, PUT_OFF, Keys
from rpc.soundness import LaneCare, lane_care, queued_models
from tests.answering import Answering, read_one
from tests.conftest import MakeConsumer
from tests.waiting import LONG_S

pytestmark = pytest.mark.server

WELL = [LaneCare(lane) for lane in LANES]


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return a worker."""
    return make_consumer()


Care = Callable[..., list[LaneCare]]


@pytest.fixture
def care(client: Client, consumer: Consumer) -> Care:
    """Return a look at who cares for the jobs of the worker's model, given the names of live workers."""

    def care(*alive: str) -> list[LaneCare]:
        return client.ask(lane_care(consumer.keys.prefix, "m", alive))

    return care


def test_jobs_on_their_ordinary_ways_are_cared_for(client: Client, consumer: Consumer, care: Care) -> None:
    """Waiting, running, answered and cancelled, none is strange."""
    assert care() == WELL
    for number in range(6):
        client.submit("m", "op", ["a"], job_id=f"j{number}", lane="bulk" if number % 2 else "interactive")
    held = [read_one(consumer, [lane]) for lane in LANES]
    assert care("w1") == WELL
    client.cancel("m", "j5")
    consumer.release([Hold(held[0].entry_id, held[0].lane, "j0")])
    assert care("w1") == WELL
    with Answering(consumer):
        assert client.result("m", "j4", timeout_s=LONG_S)
    assert care("w1") == WELL


def test_a_model_that_is_not_there_has_nothing_to_care_for(client: Client, care: Care, consumer: Consumer) -> None:
    """Asking makes nothing; neither does a job before the first worker count as astray."""
    assert client.ask(lane_care(consumer.keys.prefix, "absent", ())) == WELL
    client.submit("absent", "op", ["a"])
    assert client.ask(lane_care(consumer.keys.prefix, "absent", ())) == WELL
    assert care() == WELL


def test_jobs_whose_holder_was_deleted_are_astray_until_handed_out_again(
    client: Client, consumer: Consumer, care: Care, raw: "Redis"
) -> None:
    """DELCONSUMER by hand leaves jobs to nobody; what the doctor advises hands them out again."""
    for number in range(3):
        client.submit("m", "op", ["a"], job_id=f"j{number}")
    read_one(consumer)
    read_one(consumer)
    stream = consumer.keys.stream("interactive")
    raw.xgroup_delconsumer(stream, GROUP, consumer.name)

    assert care() == [LaneCare("interactive", stray=2), LaneCare("bulk")]
    raw.execute_command("XGROUP", "SETID", stream, GROUP, "0")  # type: ignore[no-untyped-call]
    assert care() == WELL
    with Answering(consumer):
        assert all(client.result("m", f"j{number}", timeout_s=LONG_S) for number in range(3))


def test_jobs_sent_before_a_group_that_begins_at_the_end_are_astray(
    client: Client, raw: "Redis", consumer: Consumer
) -> None:
    """A group made by hand at `$` skips what waits."""
    client.submit("n", "op", ["a"])
    stream = Keys(consumer.keys.prefix, "n").stream("interactive")
    raw.xgroup_destroy(stream, GROUP)
    raw.xgroup_create(stream, GROUP, "$")

    assert client.ask(lane_care(consumer.keys.prefix, "n", ()))[0].stray == 1


def test_jobs_of_the_dead_that_nobody_takes_over_are_stale(
    client: Client, consumer: Consumer, care: Care, raw: "Redis"
) -> None:
    """Three leases after the last sign of life; those of a live worker never, however long they run."""
    consumer.announce({"device": "cpu"})
    for number in range(2):
        client.submit("m", "op", ["a"], job_id=f"j{number}")
    held = [read_one(consumer), read_one(consumer)]
    stream = consumer.keys.stream("interactive")
    fresh = care()
    past_ms = 3 * consumer.limits.lease_ms + 1000
    raw.xclaim(stream, GROUP, PUT_OFF, 0, [held[0].entry_id], idle=past_ms, justid=True)
    raw.xclaim(stream, GROUP, consumer.name, 0, [held[1].entry_id], idle=past_ms, justid=True)

    assert fresh == WELL
    assert care("w1") == [LaneCare("interactive", stale=1), LaneCare("bulk")]
    assert care() == [LaneCare("interactive", stale=2), LaneCare("bulk")]


def test_other_groups_and_other_kinds_of_keys_are_told(consumer: Consumer, care: Care, raw: "Redis") -> None:
    """A group that is not ours by its name, a lane that is no stream in the server's words."""
    raw.xgroup_create(consumer.keys.stream("interactive"), "others", "0")
    raw.delete(consumer.keys.stream("bulk"))
    raw.set(consumer.keys.stream("bulk"), "text", px=60_000)

    interactive, bulk = care()

    assert interactive == LaneCare("interactive", strangers=("others",))
    assert "wrong kind" in bulk.wrong
    raw.delete(consumer.keys.stream("bulk"))


def test_models_are_found_by_their_lanes(client: Client, consumer: Consumer, raw: "Redis") -> None:
    """Whether or not a worker ever served them; what is no lane is no model."""
    prefix = consumer.keys.prefix
    client.submit("unserved", "op", ["a"], lane="bulk")
    for key in (f"{prefix}:{{bad name}}:bulk", f"{prefix}:{{m}}:dead", f"{prefix}:m:bulk", f"{prefix}x:{{n}}:bulk"):
        raw.xadd(key, {"a": "b"})

    assert client.ask(queued_models(prefix)) == ["m", "unserved"]
    raw.delete(f"{prefix}x:{{n}}:bulk")
