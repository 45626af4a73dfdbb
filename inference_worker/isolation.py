"""The steps in which a job can end its engine, and a suspect kept alone in them.

A step is where foreign bytes or a model's code are at work: preparing an input, a pass, finishing, and resuming from
kept outputs. Steps of other jobs run side by side; that of a suspect runs alone in its engine, all models included, and
counts as a delivery while it lasts. So the death of an engine is blamed on a job only where it was alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from inference_worker.job import JobInHand
from inference_worker.stamps import Stage
from rpc.deliveries import Place
from rpc.errors import RpcError, Unavailable

log = logging.getLogger(__name__)

Count = Callable[[Place, int], object]
"""Sets how often an entry counts as delivered; raises `RpcError`."""


RESERVED_S = 0.02
"""Seconds that nothing else is admitted after a suspect's step whose next one follows at once."""


class Gate:
    """Admits steps in the order they come: side by side, but for those that run alone.

    A step that runs alone begins after the steps before it have ended. Steps behind it begin after it has ended. So
    neither kind starves the other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._alone = False
        self._waiting: deque[object] = deque()
        self._reserved: object = None
        self._reserved_until = 0.0

    def enter(self, *, alone: bool, owner: object = None) -> None:
        """Wait until the step may begin; the step of the owner that `leave` reserved it for begins at once."""
        with self._changed:
            if owner is None or owner is not self._reserved:
                self._wait(alone=alone)
            self._reserved = None
            self._inside += 1
            self._alone = alone

    def leave(self, *, reserve: object = None) -> None:
        """Let waiting steps begin; with `reserve`, the step of that owner goes first if it comes in `RESERVED_S`."""
        with self._changed:
            self._inside -= 1
            self._alone = False
            self._reserved = reserve
            if reserve is not None:
                self._reserved_until = time.monotonic() + RESERVED_S
            if self._waiting:
                self._changed.notify_all()

    def _wait(self, *, alone: bool) -> None:
        if not self._waiting and self._admits(alone=alone):
            return
        ticket = object()
        self._waiting.append(ticket)
        while self._waiting[0] is not ticket or not self._admits(alone=alone):
            self._changed.wait(None if self._reserved is None else RESERVED_S)
        self._waiting.popleft()
        self._changed.notify_all()

    def _admits(self, *, alone: bool) -> bool:
        if self._reserved is not None and time.monotonic() < self._reserved_until:
            return False
        return self._inside == 0 if alone else not self._alone


class Steps:
    """The steps of one model's jobs, in an engine whose models share a gate."""

    def __init__(self, gate: Gate, count: Count) -> None:
        self.gate = gate
        self._count = count

    def step(self, stage: Stage, jobs: Sequence[JobInHand]) -> "Step":
        """Return a context in which a step of these jobs runs; a suspect among them must be the only one."""
        return Step(self, stage, jobs)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run the block beside other steps, and never beside a suspect's; it is blamed on no job.

        An `Exception` of the block ends only the block. Any other one ends the engine, and no suspect begins before.
        """
        self.gate.enter(alone=False)
        try:
            yield
        except Exception:
            self.gate.leave()
            raise
        self.gate.leave()

    def tell(self, suspect: JobInHand, count: int) -> None:
        """Tell the server the count of a suspect; while the server is away, repeat it until the job is dropped."""
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(Unavailable),
                wait=wait_random_exponential(multiplier=0.05, max=1.0),
                stop=lambda _: suspect.dropped,
                reraise=True,
            ):
                with attempt:
                    self._count(suspect.delivery.place, count)
        except RpcError as error:
            log.warning("deliveries of job %s of %s not counted: %s", suspect.job.id, suspect.job.model, error)


class Step:
    """A step of jobs, from its admission to its end.

    An exception that is not an `Exception` ends the engine: no other step begins, and the stage stays readable.

    Attributes:
        continues: whether another step of a suspect follows at once: then nothing else is admitted in between.
    """

    __slots__ = ("_jobs", "_stage", "_steps", "_suspect", "continues")

    def __init__(self, steps: Steps, stage: Stage, jobs: Sequence[JobInHand]) -> None:
        self.continues = False
        self._steps = steps
        self._stage = stage
        self._jobs = jobs
        self._suspect = next((job for job in jobs if job.delivery.suspect), None)

    def __enter__(self) -> Self:
        """Wait until the step may begin, and say that it does."""
        suspect = self._suspect
        self._steps.gate.enter(alone=suspect is not None, owner=suspect)
        if suspect:
            self._steps.tell(suspect, suspect.count_at_work)
        places = [job.delivery.place for job in self._jobs]
        self._stage.begin(places, time.monotonic(), alone=suspect is not None)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Say that the step is over."""
        if kind is not None and not issubclass(kind, Exception):
            return
        suspect = self._suspect
        self._stage.end()
        if suspect:
            self._steps.tell(suspect, suspect.count)
        self._steps.gate.leave(reserve=suspect if self.continues else None)
