"""The jobs a worker holds, behind one lock. Only what one thread can see is tested here."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference_worker.batching import Policy, UnitPool
from inference_worker.inhand import InHand
from inference_worker.job import JobInHand
from inference_worker.models.base import FollowUp, Unit
from rpc.errors import InvalidInput
from tests.unit.inference_worker.samples import in_hand

SOON_S = 20.0


def holding(*jobs: JobInHand, budget: int = 8, units_held: int = 16) -> InHand:
    """Return a worker's hands with these jobs in them."""
    hands = InHand(Policy(budget), units_held=units_held)
    hands.admit(jobs)
    return hands


def prepared(hands: InHand, job: JobInHand) -> None:
    """Give every input of a job one unit."""
    for given in range(len(job.job.inputs)):
        hands.prepared(job, given, [Unit(given)], 0.0)


def ids(jobs: list[JobInHand]) -> list[str]:
    """Return the ids of jobs."""
    return [job.job.id for job in jobs]


def test_a_job_goes_in_is_run_and_goes_out() -> None:
    """What was admitted is held until it is settled, and done when its units have their outputs."""
    job = in_hand(1, inputs=["a", "b"])
    hands = holding(job)
    prepared(hands, job)

    batch = hands.batch_now()
    assert batch is not None
    finished = hands.record(batch, ["A", "B"], 0.0)
    before = len(hands.holds())
    hands.settled(finished)

    assert (ids(finished), job.outcomes()) == (["j1"], [["A"], ["B"]])
    assert (before, hands.holds(), hands.wait_until_empty(0.0), hands.batch_now()) == (1, [], True, None)


def test_a_job_that_comes_back_by_another_delivery_has_its_place_once() -> None:
    """An entry that is handed out here again counts once, and the end of its first delivery takes nothing off."""
    first, again = in_hand(1, inputs=["a"] * 8), in_hand(1, inputs=["a"] * 8)
    hands = holding(first, units_held=16)
    prepared(hands, first)

    hands.admit([again])
    prepared(hands, again)
    hands.settled([first])

    batch = hands.batch_now()
    assert batch is not None
    assert (first.dropped, {ticket.job for ticket in batch.tickets}) == (True, {again})
    assert (len(hands.holds()), hands.room("interactive")) == (1, 8)
    hands.settled([again])
    assert (hands.holds(), hands.room("interactive")) == ([], 16)


def test_entries_of_two_lanes_may_have_one_id() -> None:
    """Lanes number their entries apart: two jobs queued in the same millisecond are two jobs."""
    interactive = in_hand(1, lane="interactive")
    bulk = in_hand(1, id="other", lane="bulk")
    hands = holding(interactive, bulk)

    before = {(hold.lane, hold.job_id) for hold in hands.holds()}
    hands.settled([interactive])
    after = {(hold.lane, hold.job_id) for hold in hands.holds()}

    assert (before, after) == ({("interactive", "j1"), ("bulk", "other")}, {("bulk", "other")})


def test_room_is_what_may_still_be_read_of_a_lane() -> None:
    """Inputs held count against their own lane alone; too little room to be worth a round trip is none."""
    hands = holding(in_hand(1, inputs=["a"] * 10, lane="bulk"), units_held=16)

    rooms = [hands.room("interactive"), hands.room("bulk")]
    hands.admit([in_hand(2, inputs=["a"] * 5, lane="bulk")])

    assert (rooms, hands.room("bulk")) == ([16, 6], 0)


def test_a_job_larger_than_the_hands_is_held_all_the_same() -> None:
    """Nothing more is read beside it; once it is settled there is room again."""
    giant = in_hand(1, inputs=["a"] * 99)
    hands = holding(giant, units_held=16)
    before = hands.room("interactive")
    hands.settled([giant])

    assert (before, hands.room("interactive")) == (0, 16)


def test_a_suspect_in_hand_is_known() -> None:
    """While a redelivered job is in hand no other one may be taken."""
    suspect = in_hand(1, deliveries=2)
    hands = holding(in_hand(2), suspect)
    before = hands.has_suspect()
    hands.settled([suspect])

    assert (before, hands.has_suspect()) == (True, False)


def test_what_was_dropped_is_not_run_and_not_told() -> None:
    """A job nobody wants any more leaves the pool; units of it that run are forgotten."""
    running, waiting = in_hand(1, inputs=["a", "b"]), in_hand(2)
    hands = holding(running, waiting, budget=2)
    prepared(hands, running)
    batch = hands.batch_now()
    assert batch is not None
    prepared(hands, waiting)

    dropped = hands.withdraw(running=True)

    assert ids(dropped) == ["j1", "j2"]
    assert (hands.record(batch, ["A", "B"], 0.0), hands.batch_now()) == ([], None)
    assert hands.withdraw(running=True) == []


def test_only_what_has_not_begun_is_withdrawn_first() -> None:
    """A job one unit of which is in a pass is running, also if others of it wait."""
    running, waiting = in_hand(1, inputs=["a", "b"]), in_hand(2)
    hands = holding(running, waiting, budget=1)
    prepared(hands, running)
    hands.batch_now()
    prepared(hands, waiting)

    assert ids(hands.withdraw(running=False)) == ["j2"]


def test_a_job_that_is_done_is_not_withdrawn() -> None:
    """What waits only for its reply to be told is answered, not given back."""
    job = in_hand(1)
    hands = holding(job)
    prepared(hands, job)
    batch = hands.batch_now()
    assert batch is not None
    hands.record(batch, ["A"], 0.0)

    assert hands.withdraw(running=True) == []


def test_a_job_whose_inputs_all_failed_is_done_without_a_pass() -> None:
    """The last refusal says that the job is done."""
    job = in_hand(1, inputs=["a", "b"])
    hands = holding(job)

    done = [hands.refused(job, given, InvalidInput("no"), 0.0) for given in range(2)]

    assert (done, hands.batch_now()) == ([False, True], None)


def test_an_input_prepared_after_its_job_was_dropped_is_not_run() -> None:
    """A job dropped while it is being prepared leaves no unit behind."""
    job = in_hand(1)
    hands = holding(job)
    hands.withdraw(running=True)
    prepared(hands, job)

    assert hands.batch_now() is None


def test_a_follow_up_waits_for_another_pass() -> None:
    """Its job is not done before, and the other jobs of the batch are."""
    long, short = in_hand(1), in_hand(2)
    hands = holding(long, short)
    prepared(hands, long)
    prepared(hands, short)

    batch = hands.batch_now()
    assert batch is not None
    finished = hands.record(batch, [FollowUp(Unit("rest")), "B"], 0.0)
    again = hands.batch_now()
    assert again is not None

    assert (ids(finished), [ticket.unit.data for ticket in again.tickets]) == (["j2"], ["rest"])
    assert (ids(hands.record(again, ["A"], 0.0)), long.outcomes()) == (["j1"], [["A"]])


def test_a_follow_up_of_a_dropped_job_is_not_run() -> None:
    """A cancelled job takes no further pass."""
    job = in_hand(1)
    hands = holding(job)
    prepared(hands, job)
    batch = hands.batch_now()
    assert batch is not None

    hands.drop([job.delivery.place])

    assert hands.record(batch, [FollowUp(Unit("rest"))], 0.0) == []
    assert hands.batch_now() is None


def test_whether_units_wait_is_asked_behind_the_lock() -> None:
    """The units are counted while nobody adds any, as everything else is done here."""
    hands = holding()

    class Guarded(UnitPool[JobInHand]):
        def __len__(self) -> int:
            # raises unless this thread has the lock
            hands._changed.notify_all()
            return super().__len__()

    hands._pool = Guarded(Policy(8))

    assert hands.starved()


@pytest.mark.parametrize("woken_by", ["work", "the end"])
def test_who_waits_for_a_batch_is_woken(woken_by: str) -> None:
    """The infer thread sleeps until there is work or no more will come."""
    job = in_hand(1)
    hands = holding(job)
    started = threading.Event()

    def wait() -> int | None:
        started.set()
        batch = hands.next_batch()
        return None if batch is None else len(batch.tickets)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait)
        assert started.wait(SOON_S)
        if woken_by == "work":
            prepared(hands, job)
        else:
            hands.close()

        assert waiting.result(SOON_S) == (1 if woken_by == "work" else None)
