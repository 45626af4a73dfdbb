"""Whether and when an engine is started again."""

import pytest

from inference_worker.supervisor.leases import progressing
from inference_worker.supervisor.restarts import LONGEST_S, Restarts


def test_the_first_engine_that_ends_is_replaced_at_once() -> None:
    """A crash costs no more than the loading; the restart is taken once."""
    restarts = Restarts(most_failures=3)

    assert restarts.ended(100.0, served=False)
    assert [restarts.due(100.0), restarts.due(100.0)] == [True, False]
    assert restarts.count == 1


def test_pauses_grow_while_no_engine_serves() -> None:
    """What ends again and again is tried less and less often, and at least every half a minute."""
    restarts = Restarts(most_failures=100)
    pauses = []
    for _ in range(20):
        assert restarts.ended(0.0, served=False)
        pauses.append(restarts.due_at)

    assert pauses[0] == 0.0
    assert pauses[1:] == sorted(pauses[1:], key=lambda pause: pause or 0.0)
    assert pauses[-1] == LONGEST_S


def test_an_engine_is_not_started_before_its_time() -> None:
    """The pause is kept."""
    restarts = Restarts(most_failures=5)
    restarts.ended(10.0, served=False)
    assert restarts.due(10.0)
    restarts.ended(10.0, served=False)

    assert [restarts.due(10.1), restarts.due(10.3)] == [False, True]


def test_engines_in_a_row_that_serve_nobody_end_it() -> None:
    """After so many failures in a row there is no other engine."""
    restarts = Restarts(most_failures=3)

    assert [restarts.ended(0.0, served=False) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("most_failures", [1, 2])
def test_an_engine_that_served_is_no_failure(most_failures: int) -> None:
    """Poison now and then does not add up: whoever served is replaced at once, and only those that did not count."""
    restarts = Restarts(most_failures)

    for _ in range(10):
        assert restarts.ended(7.0, served=True)
        assert restarts.due(7.0)
    assert [restarts.ended(7.0, served=False) for _ in range(most_failures)] == [True] * (most_failures - 1) + [False]


def test_progress_is_judged_by_how_long_one_thing_takes() -> None:
    """An engine that loads is waited for; one that is at one thing for longer than it may is not."""
    assert progressing(None, 1000.0, hang_after_s=1.0)
    assert progressing(99.0, 100.0, hang_after_s=1.0)
    assert not progressing(98.9, 100.0, hang_after_s=1.0)
