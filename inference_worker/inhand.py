"""The jobs of one model this worker holds: the one state its threads share, behind one lock.

Threads wait here for work, for room and for the end; what is decided about batches is decided in `batching`.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from inference_worker.batching import Batch, Policy, Ticket, UnitPool
from inference_worker.job import NOTHING, JobInHand
from inference_worker.models.base import Unit
from rpc.deliveries import Hold, Place
from rpc.errors import RpcError
from rpc.keys import LANES, Lane


class InHand:
    """What is read and not yet settled. Every method may be called from any thread."""

    def __init__(self, policy: Policy, *, units_held: int) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[Place, JobInHand] = {}
        self._weights: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._pool: UnitPool[JobInHand] = UnitPool(policy)
        self._units_held = units_held
        self._closed = False
        self._hungry = False

    def admit(self, jobs: Iterable[JobInHand]) -> None:
        """Take jobs in, from their reading on; one that comes back by another delivery takes its own place."""
        with self._changed:
            for job in jobs:
                self._let_go(self._jobs.get(job.delivery.place))
                self._jobs[job.delivery.place] = job
                self._weights[job.delivery.lane] += len(job.job.inputs)

    def settled(self, jobs: Iterable[JobInHand]) -> None:
        """Let go of jobs that were answered or given back."""
        with self._changed:
            for job in jobs:
                self._let_go(job)
            self._changed.notify_all()

    def _let_go(self, job: JobInHand | None) -> None:
        """Forget a job, unless another delivery of its entry has its place."""
        if job is not None and self._jobs.get(job.delivery.place) is job:
            del self._jobs[job.delivery.place]
            self._weights[job.delivery.lane] -= len(job.job.inputs)
            self._drop(job)

    def room(self, lane: Lane) -> int:
        """Return how many more inputs of a lane may be read: never more than can start soon."""
        with self._changed:
            return self._room(lane)

    def _room(self, lane: Lane) -> int:
        room = self._units_held - self._weights[lane]
        # an entry at a time would cost a round trip each
        return room if room >= max(1, self._units_held // 8) else 0

    def wait_for_room(self, timeout_s: float) -> None:
        """Wait until every lane has room."""
        with self._changed:
            self._changed.wait_for(lambda: all(map(self._room, LANES)) or self._closed, timeout_s)

    def has_suspect(self) -> bool:
        """Return whether a redelivered job is in hand; another one must not be, then."""
        with self._changed:
            return self._has_suspect()

    def _has_suspect(self) -> bool:
        return any(job.delivery.suspect for job in self._jobs.values())

    def wait_for_suspect(self, timeout_s: float) -> None:
        """Wait until no redelivered job is in hand."""
        with self._changed:
            self._changed.wait_for(lambda: not self._has_suspect() or self._closed, timeout_s)

    def places(self) -> set[Place]:
        """Return the entries in hand."""
        with self._changed:
            return set(self._jobs)

    def holds(self) -> list[Hold]:
        """Return what leases are to be renewed."""
        with self._changed:
            return [job.hold for job in self._jobs.values()]

    def prepared(
        self, job: JobInHand, given: int, units: Sequence[Unit], took_s: float, outputs: Mapping[int, Any] = NOTHING
    ) -> bool:
        """Let the units of an input wait for their pass, but for those with outputs; return whether the job is done."""
        with self._changed:
            tickets = job.prepared(given, units, took_s, outputs)
            if tickets and not job.dropped:
                delivery = job.delivery
                self._pool.add(tickets, delivery.lane, suspect=delivery.suspect, now=time.monotonic())
                if self._hungry:
                    self._changed.notify_all()
            return job.done and not job.dropped

    def refused(self, job: JobInHand, given: int, error: RpcError, took_s: float) -> bool:
        """Note that an input failed; return whether the job is done with that."""
        with self._changed:
            job.refused(given, error, took_s)
            return job.done and not job.dropped

    def next_batch(self) -> Batch[JobInHand] | None:
        """Wait for the next batch and return it; None when no more will be asked for."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                at = self._pool.ready_at(now)
                if at is None or at > now:
                    self._hungry = True
                    self._changed.wait(None if at is None else at - now)
                    self._hungry = False
                    continue
                return self._take(now)
            return None

    def batch_now(self) -> Batch[JobInHand] | None:
        """Return the next batch, or None if nothing waits."""
        with self._changed:
            return self._take(time.monotonic())

    def _take(self, now: float) -> Batch[JobInHand] | None:
        batch = self._pool.take(now)
        for ticket in batch.tickets if batch else ():
            ticket.job.started = not ticket.job.late(now)
        return batch

    def starved(self) -> bool:
        """Return whether no unit waits: whoever would run it has time for something else."""
        with self._changed:
            return not self._pool

    def record(self, batch: Batch[JobInHand], outputs: Sequence[object], took_s: float) -> list[JobInHand]:
        """Note the outputs of a batch, in its order; return the jobs that are done with that. Follow-ups wait again."""
        with self._changed:
            jobs = dict.fromkeys(ticket.job for ticket in batch.tickets)
            for job in jobs:
                job.ran(batch, took_s)
            for ticket, output in zip(batch.tickets, outputs, strict=True):
                if follow_up := ticket.job.record(ticket, output):
                    self._add_follow_up(follow_up)
            return [job for job in jobs if job.done and not job.dropped]

    def _add_follow_up(self, ticket: Ticket[JobInHand]) -> None:
        delivery = ticket.job.delivery
        if not ticket.job.dropped:
            self._pool.add_follow_up(ticket, delivery.lane, suspect=delivery.suspect, now=time.monotonic())

    def drop(self, places: Collection[Place]) -> list[JobInHand]:
        """Stop working on entries nobody wants from us any more; return their jobs."""
        with self._changed:
            jobs = [self._jobs[place] for place in places if place in self._jobs]
            return [job for job in jobs if self._drop(job)]

    def withdraw(self, *, running: bool) -> list[JobInHand]:
        """Stop working on the jobs no unit of which was in a pass yet, or on all; return them."""
        with self._changed:
            return [job for job in list(self._jobs.values()) if (running or not job.started) and self._drop(job)]

    def _drop(self, job: JobInHand) -> bool:
        fresh = not job.dropped and not job.done
        if fresh:
            job.dropped = True
            self._pool.discard(job)
        return fresh

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until every job is settled; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout_s)

    def close(self) -> None:
        """End all waiting: no more batches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
