"""The book a worker keeps of one job."""

import pytest

from inference_worker.batching import Batch
from inference_worker.job import JobInHand
from inference_worker.models.base import FollowUp, Unit
from rpc.errors import InvalidInput, ModelError
from rpc.messages import Meta
from tests.unit.inference_worker.samples import in_hand


def run(job: JobInHand, given: int, *outputs: object) -> None:
    """Prepare an input to as many units as there are outputs, and record them."""
    for ticket, output in zip(job.prepared(given, [Unit(None)] * len(outputs), 0.0), outputs, strict=True):
        job.record(ticket, output)


def test_a_job_is_done_when_its_last_unit_is() -> None:
    """A job with an input still to be prepared, or a unit still to be run, is not done."""
    job = in_hand(inputs=["a", "b"])
    seen = [job.done]
    run(job, 0, "A")
    seen.append(job.done)
    first, second = job.prepared(1, [Unit("b1"), Unit("b2")], 0.0)
    job.record(second, "B2")
    seen.append(job.done)
    job.record(first, "B1")

    assert [*seen, job.done] == [False, False, False, True]


def test_outcomes_come_in_the_order_of_the_inputs_and_their_units() -> None:
    """Whatever order units are run in, outputs stand where their units stood."""
    job = in_hand(inputs=["a", "b"])
    (only,) = job.prepared(1, [Unit("b")], 0.0)
    first, second = job.prepared(0, [Unit("a1"), Unit("a2")], 0.0)
    for ticket, output in ((second, "A2"), (only, "B"), (first, "A1")):
        job.record(ticket, output)

    assert job.outcomes() == [["A1", "A2"], ["B"]]


def test_a_unit_with_a_follow_up_is_not_done() -> None:
    """The follow-up has the place of the unit, and its output is the unit's."""
    job = in_hand(inputs=["a"])
    first, second = job.prepared(0, [Unit("a1"), Unit("a2")], 0.0)

    job.record(second, "A2")
    follow_up = job.record(first, FollowUp(Unit("rest")))

    assert follow_up is not None
    assert (follow_up.unit.data, follow_up.given, follow_up.place, job.done) == ("rest", 0, 0, False)
    assert job.record(follow_up, "A1") is None
    assert (job.done, job.outcomes()) == (True, [["A1", "A2"]])


def test_an_input_that_failed_has_no_follow_up() -> None:
    """No pass is spent on an input of which another unit failed."""
    job = in_hand(inputs=["a"])
    first, second = job.prepared(0, [Unit("a1"), Unit("a2")], 0.0)

    job.record(first, ModelError("unit"))

    assert job.record(second, FollowUp(Unit("rest"))) is None
    assert job.done


def test_an_input_whose_unit_failed_has_the_error_for_its_outcome() -> None:
    """One unit that fails fails its input, also if others of it succeed later, and no other input."""
    job = in_hand(inputs=["a", "b"])
    error = ModelError("unit")
    run(job, 0, error, "A2")
    run(job, 1, "B")

    assert (job.done, job.outcomes()) == (True, [error, ["B"]])


def test_an_input_that_was_refused_counts_as_done() -> None:
    """An input that never had units does not keep its job from ending."""
    job = in_hand(inputs=["a", "b"])
    error = InvalidInput("no text")
    run(job, 0, "A")
    job.refused(1, error, 0.0)

    assert (job.done, job.outcomes()) == (True, [["A"], error])


def test_an_input_may_have_no_units() -> None:
    """An input of nothing (an audio file of no length) is done without a pass."""
    job = in_hand()
    run(job, 0)

    assert (job.done, job.outcomes()) == (True, [[]])


def test_how_a_job_fared_is_summed_up() -> None:
    """The largest pass, the passes' time and the time in prepare are told with the reply, in milliseconds."""
    job = in_hand(inputs=["a", "b"], deliveries=2)
    tickets = job.prepared(0, [Unit("a")], 0.25) + job.prepared(1, [Unit("b")], 0.5)
    job.ran(Batch(tickets), 1.0)
    job.ran(Batch(tickets[:1]), 0.5)

    expected = Meta(worker="w", attempts=2, batch=2, queued_ms=5.0, prepare_ms=750.0, infer_ms=1500.0)
    assert expected == job.meta("w")


@pytest.mark.parametrize("deliveries", [1, 2])
def test_a_job_somebody_had_before_is_a_suspect(deliveries: int) -> None:
    """Only the first delivery is beyond suspicion."""
    assert in_hand(deliveries=deliveries).delivery.suspect is (deliveries == 2)


def test_the_lease_is_renewed_by_plain_data() -> None:
    """What renewal needs of a job is its entry, its lane and its id."""
    hold = in_hand(7, lane="bulk").hold

    assert (hold.entry_id, hold.lane, hold.job_id) == ("7000-0", "bulk", "j7")
