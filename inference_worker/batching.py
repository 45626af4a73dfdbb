"""Which waiting units share the next forward pass. Pure: no thread, no clock, no Redis; `now` is passed in.

A batch is built around the unit that is due next, so that nothing starves, from units near it in cost, so that
padding stays small. Jobs take turns unit by unit, so that a long one holds nobody up.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from inference_worker.models.base import Unit
from rpc.keys import LANES, Lane

J = TypeVar("J")

WINDOW = 128
"""How many units, in the order of their turns, are looked at to fill a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket(Generic[J]):
    """A unit and where its output belongs: its place among the units of an input of a job."""

    job: J
    given: int
    place: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Batch(Generic[J]):
    """What goes through one forward pass."""

    tickets: Sequence[Ticket[J]]

    @property
    def padded(self) -> int:
        """Cost with every unit as large as the largest."""
        return len(self.tickets) * max(ticket.unit.cost for ticket in self.tickets)

    @property
    def real(self) -> int:
        """Cost of the units themselves."""
        return sum(ticket.unit.cost for ticket in self.tickets)


@dataclass(frozen=True, slots=True)
class Policy:
    """How batches are formed.

    Attributes:
        budget: the most cost one pass may hold, padding included; a unit above it goes alone.
        overhead: what a pass costs besides its units.
        linger_s: how long to wait for a batch to become as large as the last one.
        bulk_every: of so many batches at least one is of the bulk lane, if anything waits there.
    """

    budget: int
    overhead: int = 0
    linger_s: float = 0.0
    bulk_every: int = 8


class _Turns(Generic[J]):
    """The waiting units of one lane: jobs in the order of their turns."""

    def __init__(self) -> None:
        self.jobs: OrderedDict[J, deque[Ticket[J]]] = OrderedDict()
        self.since: float = 0.0

    def add(self, tickets: Sequence[Ticket[J]], now: float) -> None:
        if not self.jobs:
            self.since = now
        for ticket in tickets:
            self.jobs.setdefault(ticket.job, deque()).append(ticket)

    def add_first(self, ticket: Ticket[J], now: float) -> None:
        """Add a unit in front of the others of its job, whose turn stays as it is."""
        if not self.jobs:
            self.since = now
        self.jobs.setdefault(ticket.job, deque()).appendleft(ticket)

    def in_turn(self) -> Iterator[Ticket[J]]:
        """Yield the units: the first of each job, then the second of each, and so on."""
        queues: list[Iterator[Ticket[J]]] = [iter(tickets) for tickets in self.jobs.values()]
        while queues:
            going = []
            for queue in queues:
                ticket = next(queue, None)
                if ticket is not None:
                    going.append(queue)
                    yield ticket
            queues = going

    def take(self, chosen: Sequence[Ticket[J]]) -> None:
        """Remove units; a job that gave some and has more waits for its next turn."""
        gone = set(map(id, chosen))
        for job in dict.fromkeys(ticket.job for ticket in chosen):
            left = deque(ticket for ticket in self.jobs[job] if id(ticket) not in gone)
            if left:
                self.jobs[job] = left
                self.jobs.move_to_end(job)
            else:
                del self.jobs[job]

    def __len__(self) -> int:
        return sum(map(len, self.jobs.values()))


@dataclass(slots=True)
class _Rhythm:
    """What the last batches were, which decides about the next."""

    interactive_run: int = 0
    suspect_last: bool = False
    last_size: int = 0


@dataclass(slots=True)
class UnitPool(Generic[J]):
    """The units of all jobs of one model that wait for a forward pass."""

    policy: Policy
    _lanes: dict[Lane, _Turns[J]] = field(default_factory=lambda: {lane: _Turns() for lane in LANES})
    _suspects: _Turns[J] = field(default_factory=_Turns)
    _rhythm: _Rhythm = field(default_factory=_Rhythm)

    def add(self, tickets: Sequence[Ticket[J]], lane: Lane, *, suspect: bool, now: float) -> None:
        """Let units wait; those of a suspect job share no batch with another job."""
        (self._suspects if suspect else self._lanes[lane]).add(tickets, now)

    def add_follow_up(self, ticket: Ticket[J], lane: Lane, *, suspect: bool, now: float) -> None:
        """Let a unit wait for another pass: before its job's other units, so that inputs are completed in order."""
        (self._suspects if suspect else self._lanes[lane]).add_first(ticket, now)

    def discard(self, job: J) -> int:
        """Drop all waiting units of a job; return how many there were."""
        turns = (*self._lanes.values(), self._suspects)
        return sum(len(turn.jobs.pop(job, ())) for turn in turns)

    def __len__(self) -> int:
        """Return how many units wait."""
        return sum(map(len, (*self._lanes.values(), self._suspects)))

    def ready_at(self, now: float) -> float | None:
        """Return when the next batch should be taken: now, later if lingering may fill it, None if nothing waits."""
        if self._suspects.jobs:
            return now
        waiting = [turns for turns in self._lanes.values() if turns.jobs]
        if not waiting:
            return None
        if not self.policy.linger_s or sum(map(len, waiting)) >= self._rhythm.last_size:
            return now
        return max(now, min(turns.since for turns in waiting) + self.policy.linger_s)

    def take(self, now: float) -> Batch[J] | None:
        """Return the next batch, or None if nothing waits. Whether to linger is the caller's to obey."""
        turns = self._next_turns()
        if turns is None:
            return None
        first = next(turns.in_turn())
        mates = self._mates(turns, first)
        chosen = self._fill(first, mates)
        turns.take(chosen)
        turns.since = now
        self._rhythm.last_size = len(chosen)
        return Batch(chosen)

    def _next_turns(self) -> _Turns[J] | None:
        interactive, bulk = (self._lanes[lane] for lane in LANES)
        rhythm = self._rhythm
        if self._suspects.jobs and not (rhythm.suspect_last and (interactive.jobs or bulk.jobs)):
            rhythm.suspect_last = True
            return self._suspects
        rhythm.suspect_last = False
        bulk_due = rhythm.interactive_run >= self.policy.bulk_every - 1
        if bulk.jobs and (bulk_due or not interactive.jobs):
            rhythm.interactive_run = 0
            return bulk
        if interactive.jobs:
            rhythm.interactive_run += 1
            return interactive
        return None

    def _mates(self, turns: _Turns[J], first: Ticket[J]) -> list[Ticket[J]]:
        mates = []
        for ticket in turns.in_turn():
            alone = turns is self._suspects and ticket.job is not first.job
            if ticket.unit.group == first.unit.group and not alone:
                mates.append(ticket)
                if len(mates) == WINDOW:
                    break
        return mates

    def _fill(self, first: Ticket[J], mates: Sequence[Ticket[J]]) -> list[Ticket[J]]:
        # the sort keeps the order of turns among equals, and `first` leads its equals
        by_cost = sorted(mates, key=lambda ticket: ticket.unit.cost)
        start, stop = best_run(
            [ticket.unit.cost for ticket in by_cost],
            next(i for i, ticket in enumerate(by_cost) if ticket is first),
            budget=self.policy.budget,
            overhead=self.policy.overhead,
        )
        return by_cost[start:stop]


def best_run(costs: Sequence[int], must: int, *, budget: int, overhead: int) -> tuple[int, int]:
    """Return the run [start, stop) of ascending costs that holds `must` and wastes the least.

    Waste is (overhead + padded cost) / real cost; among equals the longest run wins. A run whose padded cost is
    over the budget is not considered, unless it is `must` alone.
    """
    if costs[0] == costs[-1]:
        return must, min(len(costs), must + max(1, budget // max(1, costs[must])))
    total = np.concatenate(([0], np.cumsum(costs)))
    starts = np.arange(must + 1)[:, None]
    stops = np.arange(must + 1, len(costs) + 1)[None, :]
    padded = (stops - starts) * np.asarray(costs)[None, must:]
    waste = (overhead + padded) / np.maximum(1, total[stops] - total[starts])
    waste[padded > budget] = np.inf
    waste -= 1e-9 * (stops - starts)
    start, stop = np.unravel_index(int(np.argmin(waste)), waste.shape)
    if not np.isfinite(waste[start, stop]):
        return must, must + 1
    return int(start), must + 1 + int(stop)
