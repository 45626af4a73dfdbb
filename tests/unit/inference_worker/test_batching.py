"""Which units share a forward pass."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.batching import Batch, Policy, Ticket, UnitPool, best_run
from inference_worker.models.base import Unit
from rpc.keys import Lane

Tickets = list[Ticket[str]]


def tickets(job: str, *costs: int, group: Any = None) -> Tickets:
    """Return the units of a job, one input each."""
    return [Ticket(job, given, 0, Unit(f"{job}{given}", cost, group)) for given, cost in enumerate(costs)]


def pool_of(*waiting: Tickets, budget: int = 4, overhead: int = 0) -> UnitPool[str]:
    """Return a pool in which the units of some jobs wait in the interactive lane."""
    pool: UnitPool[str] = UnitPool(Policy(budget, overhead))
    for units in waiting:
        add(pool, units)
    return pool


def add(
    pool: UnitPool[str], units: Tickets, lane: Lane = "interactive", *, suspect: bool = False, now: float = 0.0
) -> None:
    """Let units wait."""
    pool.add(units, lane, suspect=suspect, now=now)


def take(pool: UnitPool[str]) -> Tickets:
    """Return the units of the next batch, of which there must be one."""
    batch = pool.take(0.0)
    assert batch is not None
    return list(batch.tickets)


def jobs(taken: Sequence[Ticket[str]]) -> str:
    """Return the jobs of a batch's units, sorted."""
    return "".join(sorted(ticket.job for ticket in taken))


def drained(pool: UnitPool[str]) -> list[Tickets]:
    """Return all batches until nothing waits."""
    batches = []
    while len(pool):
        batches.append(take(pool))
    return batches


def wastes(costs: Sequence[int], overhead: int) -> dict[tuple[int, int], Fraction]:
    """Return the waste of every run."""
    return {
        (start, stop): Fraction(overhead + (stop - start) * costs[stop - 1], max(1, sum(costs[start:stop])))
        for start in range(len(costs))
        for stop in range(start + 1, len(costs) + 1)
    }


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12).map(sorted),
    st.data(),
    st.integers(1, 150),
    st.integers(0, 80),
)
def test_the_run_chosen_is_the_one_a_brute_force_finds(
    costs: list[int], data: st.DataObject, budget: int, overhead: int
) -> None:
    """No run that holds the unit and fits the budget wastes less; of equals the longest is chosen."""
    must = data.draw(st.sampled_from([i for i in range(len(costs)) if i == 0 or costs[i - 1] < costs[i]]))
    allowed = {
        run: waste
        for run, waste in wastes(costs, overhead).items()
        if run[0] <= must < run[1] and (run[1] - run[0]) * costs[run[1] - 1] <= budget
    } or {(must, must + 1): Fraction(0)}

    chosen = best_run(costs, must, budget=budget, overhead=overhead)

    longest = max(stop - start for (start, stop), waste in allowed.items() if waste == allowed[chosen])
    assert float(allowed[chosen] - min(allowed.values())) == pytest.approx(0, abs=1e-6)
    assert longest == chosen[1] - chosen[0]


def test_equal_units_fill_the_budget() -> None:
    """Units of one size waste nothing together, so a pass holds as many as fit."""
    assert best_run([5] * 20, 0, budget=52, overhead=0) == (0, 10)


def test_a_unit_over_the_budget_goes_alone() -> None:
    """A unit larger than any pass may be still gets its pass."""
    assert best_run([2, 2, 90], 2, budget=10, overhead=1000) == (2, 3)


def test_units_far_apart_in_size_do_not_share_a_pass() -> None:
    """A short text is not padded to a long one when the pass itself is cheap."""
    assert best_run([4, 4, 5, 200], 0, budget=1000, overhead=8) == (0, 3)


def test_a_costly_pass_is_worth_padding() -> None:
    """Where a pass costs much besides its units, unequal ones share it."""
    assert best_run([4, 4, 5, 20], 0, budget=1000, overhead=4096) == (0, 4)


UNITS = st.tuples(st.integers(1, 40), st.sampled_from(["x", "y"]))
JOBS = st.lists(
    st.tuples(st.lists(UNITS, min_size=1, max_size=6), st.sampled_from(["interactive", "bulk"]), st.booleans()),
    min_size=1,
    max_size=10,
)


@given(JOBS, st.integers(1, 100), st.integers(0, 60))
def test_every_unit_leaves_once_in_a_pass_that_may_hold_it(
    waiting: list[tuple[list[tuple[int, str]], Lane, bool]], budget: int, overhead: int
) -> None:
    """No unit is lost or run twice; no pass mixes groups, lanes or suspects, or is over budget but with one unit."""
    pool: UnitPool[str] = UnitPool(Policy(budget, overhead))
    kinds = {}
    expected = set()
    for number, (units, lane, suspect) in enumerate(waiting):
        job = f"j{number}"
        kinds[job] = job if suspect else lane
        made = [Ticket(job, given, 0, Unit(f"{job}.{given}", cost, group)) for given, (cost, group) in enumerate(units)]
        expected |= {ticket.unit.data for ticket in made}
        add(pool, made, lane, suspect=suspect)

    batches = drained(pool)

    left = [ticket.unit.data for batch in batches for ticket in batch]
    assert (len(expected), expected) == (len(left), set(left))
    for batch in batches:
        assert len({ticket.unit.group for ticket in batch}) == 1
        assert len({kinds[ticket.job] for ticket in batch}) == 1
        assert Batch(batch).padded <= budget or len(batch) == 1


@given(st.data(), st.integers(1, 60), st.integers(0, 60))
def test_the_oldest_job_never_starves(data: st.DataObject, budget: int, overhead: int) -> None:
    """A job is begun after at most as many passes as jobs were waiting in front of it, whatever comes behind."""
    pool: UnitPool[str] = UnitPool(Policy(budget, overhead))
    in_front = data.draw(st.integers(0, 5))
    for number in range(in_front):
        add(pool, tickets(f"front{number}", *data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))))
    add(pool, tickets("oldest", data.draw(st.integers(1, 40))))

    passes = 0
    while passes <= in_front:
        add(pool, tickets(f"late{passes}", *data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))))
        passes += 1
        if any(ticket.job == "oldest" for ticket in take(pool)):
            break
    else:
        pytest.fail(f"still waiting after {passes} passes")


def test_a_long_job_does_not_hold_up_a_short_one() -> None:
    """A clip that comes behind a recording of hours is in the next pass, not behind all of it."""
    pool = pool_of(tickets("r", *[1] * 100))
    take(pool)
    add(pool, tickets("c", 1))

    assert "c" in jobs(take(pool))


def test_jobs_take_turns_unit_by_unit() -> None:
    """Jobs that wait together are in every pass together, with one unit each before one has two."""
    pool = pool_of(tickets("a", *[1] * 4), tickets("b", *[1] * 4), tickets("c", *[1] * 4), budget=3)

    assert list(map(jobs, drained(pool))) == ["abc"] * 4


def test_a_follow_up_goes_before_the_other_units_of_its_job() -> None:
    """An input is completed in order, and units of other jobs are not overtaken."""
    pool = pool_of(tickets("a", 1, 1, 1), tickets("b", 1), budget=1)
    (first,) = take(pool)

    rest = Ticket(first.job, first.given, first.place, Unit("rest"))
    pool.add_follow_up(rest, "interactive", suspect=False, now=0.0)

    assert [ticket.unit.data for batch in drained(pool) for ticket in batch] == ["b0", "rest", "a1", "a2"]


@pytest.mark.parametrize("suspect", [False, True])
def test_a_follow_up_of_a_job_without_other_units_waits_its_turn(*, suspect: bool) -> None:
    """It comes behind the jobs that wait; that of a suspect is alone in its pass."""
    pool = pool_of(tickets("b", 1), tickets("c", 1))

    pool.add_follow_up(tickets("a", 1)[0], "interactive", suspect=suspect, now=0.0)

    assert list(map(jobs, drained(pool))) == (["a", "bc"] if suspect else ["abc"])


def test_units_of_another_group_wait_for_their_own_pass() -> None:
    """Units that want other options are not run with these, but come next."""
    pool = pool_of(tickets("a", 1, 1, group="en"), tickets("b", 1, group="de"), tickets("c", 1, group="en"))

    assert list(map(jobs, drained(pool))) == ["aac", "b"]


def test_interactive_goes_first() -> None:
    """What somebody waits for is run before what nobody watches, though it came later."""
    pool = pool_of(budget=1)
    add(pool, tickets("b", 1), "bulk")
    add(pool, tickets("i", 1), "interactive")

    assert list(map(jobs, drained(pool))) == ["i", "b"]


def test_one_batch_in_eight_is_bulk_however_busy_the_other_lane_is() -> None:
    """Interactive work without end delays bulk work and never stops it."""
    pool = pool_of(tickets("i", *[1] * 40), budget=1)
    add(pool, tickets("b", *[1] * 5), "bulk")

    taken = "".join(map(jobs, drained(pool)))

    assert taken == "iiiiiiib" * 5 + "i" * 5


def test_bulk_has_every_pass_nobody_else_wants() -> None:
    """Bulk work does not wait for a turn while the device is idle."""
    pool = pool_of()
    add(pool, tickets("b", *[1] * 8), "bulk")

    assert list(map(jobs, drained(pool))) == ["bbbb", "bbbb"]


def test_a_suspect_runs_alone() -> None:
    """A job that may have killed a worker shares no pass, not even with another suspect."""
    pool = pool_of()
    add(pool, tickets("s", 1, 1), suspect=True)
    add(pool, tickets("t", 1), suspect=True)

    assert list(map(jobs, drained(pool))) == ["ss", "t"]


def test_a_suspect_and_the_others_alternate() -> None:
    """A suspect of many passes does not hold up the others, nor they the suspect."""
    pool = pool_of(tickets("a", *[1] * 8), budget=2)
    add(pool, tickets("s", *[1] * 6), suspect=True)

    assert list(map(jobs, drained(pool))) == ["ss", "aa", "ss", "aa", "ss", "aa", "aa"]


def test_what_nobody_wants_any_more_is_not_run() -> None:
    """The units of a job that was cancelled leave the pool, and only they."""
    pool = pool_of(tickets("a", 1, 1), tickets("b", 1))
    add(pool, tickets("a", 1), "bulk")

    assert (pool.discard("a"), len(pool), pool.discard("a")) == (3, 1, 0)
    assert list(map(jobs, drained(pool))) == ["b"]


def test_an_empty_pool_has_no_batch() -> None:
    """Nothing waits: no batch, and no time at which one is due."""
    pool = pool_of()

    assert (pool.take(0.0), pool.ready_at(5.0), len(pool)) == (None, None, 0)


def lingering() -> UnitPool[str]:
    """Return a pool that waits up to 2 s for company and whose last batch had three units."""
    pool: UnitPool[str] = UnitPool(Policy(100, 8, linger_s=2.0))
    add(pool, tickets("first", 1, 1, 1), now=9.0)
    pool.take(10.0)
    return pool


def test_the_first_batch_waits_for_nobody() -> None:
    """A worker that has just started answers at once."""
    pool: UnitPool[str] = UnitPool(Policy(100, 8, linger_s=2.0))
    add(pool, tickets("a", 1), now=9.0)

    assert pool.ready_at(9.0) == 9.0


def test_a_batch_smaller_than_the_last_waits_a_while() -> None:
    """Where more came at a time before, a pass waits for them, but no longer than the linger."""
    pool = lingering()
    add(pool, tickets("a", 1), now=11.0)
    add(pool, tickets("b", 1), now=12.0)

    assert [pool.ready_at(now) for now in (11.0, 12.5, 13.0, 20.0)] == [13.0, 13.0, 13.0, 20.0]


def test_a_batch_as_large_as_the_last_waits_for_nobody() -> None:
    """Once as many wait as went before, there is nothing to wait for."""
    pool = lingering()
    add(pool, tickets("a", 1, 1), now=11.0)
    add(pool, tickets("b", 1), "bulk", now=11.0)

    assert pool.ready_at(11.0) == 11.0


def test_a_suspect_waits_for_nobody() -> None:
    """Nothing may keep a suspect company, so it does not wait for any."""
    pool = lingering()
    add(pool, tickets("s", 1), suspect=True, now=11.0)

    assert pool.ready_at(11.0) == 11.0


def test_without_linger_no_batch_waits() -> None:
    """A linger of nothing is no wait."""
    pool = pool_of(tickets("a", 1, 1, 1))
    pool.take(10.0)
    add(pool, tickets("b", 1), now=11.0)

    assert pool.ready_at(11.0) == 11.0


def test_what_padding_costs_is_known_of_each_batch() -> None:
    """The padded cost is the largest times the number, the real one the sum."""
    batch = Batch(tickets("a", 2, 5, 3))

    assert (batch.padded, batch.real) == (15, 10)
