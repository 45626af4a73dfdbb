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
from dataclasses import dataclass, field

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from inference_worker.job import JobInHand
from inference_worker.stamps import Stage
from rpc.deliveries import Place
from rpc.errors import RpcError, Unavailable

log = logging.getLogger(__name__)

Count = Callable[[Place, int], object]
"""Sets how often an entry counts as delivered; raises `RpcError`."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    alone: bool
    admitted: threading.Event = field(default_factory=threading.Event)


class Gate:
    """Admits steps in the order they come: side by side, but for those that run alone.

    A step that runs alone waits for those before it, and lets those behind it wait; neither can starve the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._alone = False
        self._waiting: deque[_Waiter] = deque()

    def enter(self, *, alone: bool) -> None:
        """Wait until the step may begin."""
        with self._lock:
            if not self._waiting and self._admits(alone=alone):
                self._admit(alone=alone)
                return
            waiter = _Waiter(alone)
            self._waiting.append(waiter)
        waiter.admitted.wait()

    def leave(self) -> None:
        """Let the next ones begin."""
        with self._lock:
            self._inside -= 1
            self._alone = False
            while self._waiting and self._admits(alone=self._waiting[0].alone):
                waiter = self._waiting.popleft()
                self._admit(alone=waiter.alone)
                waiter.admitted.set()

    def _admits(self, *, alone: bool) -> bool:
        return self._inside == 0 if alone else not self._alone

    def _admit(self, *, alone: bool) -> None:
        self._inside += 1
        self._alone = alone


class Steps:
    """The steps of one model's jobs, in an engine whose models share a gate."""

    def __init__(self, gate: Gate, count: Count) -> None:
        self._gate = gate
        self._count = count

    @contextmanager
    def step(self, stage: Stage, jobs: Sequence[JobInHand]) -> Iterator[None]:
        """Run the block as a step of these jobs; a suspect among them is the only one.

        After what is no `Exception` the engine ends: no other step begins, and what it was at stays to be read.
        """
        suspect = next((job for job in jobs if job.delivery.suspect), None)
        self._gate.enter(alone=suspect is not None)
        if suspect:
            self._tell(suspect, suspect.count_at_work)
        stage.begin([job.delivery.place for job in jobs], time.monotonic(), alone=suspect is not None)
        try:
            yield
        except Exception:
            self._end(stage, suspect)
            raise
        self._end(stage, suspect)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Run the block beside other steps, and never beside a suspect's; it is blamed on no job."""
        self._gate.enter(alone=False)
        yield
        self._gate.leave()

    def _end(self, stage: Stage, suspect: JobInHand | None) -> None:
        stage.end()
        if suspect:
            self._tell(suspect, suspect.count)
        self._gate.leave()

    def _tell(self, suspect: JobInHand, count: int) -> None:
        """Tell the server the count of a suspect, again and again while it is away and somebody wants the job."""
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
