"""Which jobs may have ended an engine, for every state its jobs can be in when it dies."""

from collections.abc import Sequence

import pytest

from inference_worker.stamps import Work
from inference_worker.supervisor.blame import Blame, blame
from rpc.deliveries import Place

A: Place = ("interactive", "1-1")
B: Place = ("interactive", "2-1")
C: Place = ("bulk", "1-1")


def work(*entries: Place, model: str = "m", since: float = 100.0, fetching: bool = False, alone: bool = False) -> Work:
    """Return the work of a stage on these entries."""
    return Work(model, 0.0 if fetching else since, frozenset(entries), fetching, alone)


NOTHING: Sequence[Work] = ()


@pytest.mark.parametrize(
    ("works", "suspects", "counted"),
    [
        # read, waiting in the pool, waiting for Redis to settle or to keep: no stage is at work
        pytest.param(NOTHING, None, False, id="nothing at work"),
        pytest.param([work(A)], {A}, True, id="one at work"),
        pytest.param([work(A), work(A)], {A}, True, id="one at work in two stages"),
        pytest.param([work(A, B)], {A, B}, False, id="two in a pass"),
        pytest.param([work(A), work(B)], {A, B}, False, id="one in a pass, one prepared"),
        pytest.param([work(A), work(B, model="other")], {A}, False, id="another model at work"),
        pytest.param([work(A), work(A, model="other")], {A}, False, id="the same entry of another model"),
        pytest.param([work(A, fetching=True)], {A}, False, id="one waits for a store"),
        pytest.param([work(A), work(B, fetching=True)], {A, B}, False, id="one at work, one waits for a store"),
        pytest.param([work(A), work(A, fetching=True)], {A}, True, id="one at work that waits for a store too"),
        pytest.param([work(A, alone=True), work(B, fetching=True)], {A}, True, id="a suspect, one waits for a store"),
        pytest.param([work(B, model="other")], set(), True, id="only another model at work"),
    ],
)
def test_a_job_is_counted_only_if_it_alone_can_have_ended_the_engine(
    works: Sequence[Work], suspects: set[Place] | None, *, counted: bool
) -> None:
    """What else may have ended it runs alone from then on, uncounted; what merely was in hand is free."""
    found = blame(works)

    assert (found.entries("m"), found.alone) == (None if suspects is None else frozenset(suspects), counted)


def test_a_list_that_is_not_known_is_anybodys() -> None:
    """A pass of more entries than there is room for: every job of its model may have been in it."""
    found = blame([Work("m", 7.0, None), work(B, model="other")])

    assert (found.entries("m"), found.entries("other"), found.alone) == (None, frozenset({B}), False)


@pytest.mark.parametrize(
    ("works", "suspects", "counted"),
    [
        pytest.param([work(A, since=10.0), work(B, model="other")], {A}, True, id="one pass of two is stuck"),
        pytest.param([work(A, B, since=10.0), work(C)], {A, B}, False, id="a pass of two is stuck"),
        pytest.param([work(A), work(B)], {A, B}, False, id="the process is stuck"),
        pytest.param([work(A, since=10.0), work(B, fetching=True)], {A}, True, id="one is stuck, one waits"),
    ],
)
def test_what_is_stuck_is_to_blame_for_a_hang(works: Sequence[Work], suspects: set[Place], *, counted: bool) -> None:
    """An engine that is killed because a pass hangs is held against that pass, not against those beside it."""
    found = blame(works, stuck_before=50.0)

    assert (found.entries("m"), found.alone) == (frozenset(suspects), counted)


def test_nobody_is_blamed_for_an_engine_that_ended_by_itself() -> None:
    """An engine without use holds nothing against its jobs."""
    assert Blame(()).entries("m") == frozenset()
