"""A job in the worker's hands: its inputs on their way to outputs, and what its callers will be told of it.

Pure bookkeeping: whoever calls it holds the lock that guards it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from inference_worker.batching import Batch, Ticket
from inference_worker.models.base import FollowUp, Outcome, Unit
from rpc.deliveries import Delivery, Hold
from rpc.errors import RpcError
from rpc.messages import JOB_MARGIN_MS, Job, Meta

NOTHING: Mapping[int, Any] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class JobInHand:
    """One job from its reading to its reply.

    Attributes:
        delivery: how it came.
        job: what is asked.
        queued_ms: how long it had waited when it was read, by the server's clock.
        received_at: when it was read, on the monotonic clock, in seconds.
        dropped: nobody wants it any more: what still waits is not run.
        started: whether one of its units is or was in a forward pass.
        count: the server's count of its deliveries while it is not at work.
    """

    delivery: Delivery
    job: Job
    queued_ms: float
    received_at: float
    dropped: bool = False
    started: bool = False
    batch: int = 0
    prepare_s: float = 0.0
    infer_s: float = 0.0
    count: int = field(init=False)
    _outcomes: list[list[Any] | RpcError | None] = field(init=False)
    _missing: list[int] = field(init=False)
    _unprepared: int = field(init=False)

    def __post_init__(self) -> None:
        """Make room for the inputs' outcomes."""
        self.count = self.delivery.deliveries
        count = len(self.job.inputs)
        self._outcomes = [None] * count
        self._missing = [0] * count
        self._unprepared = count

    def late(self, now: float) -> bool:
        """Return whether the job has waited longer than it may; once started, here or elsewhere, it is never late."""
        return not self.started and not self.delivery.begun and self.waited_ms(now) > self.job.ttl_ms

    def waited_ms(self, now: float) -> float:
        """Return how long ago the job was submitted."""
        return self.queued_ms + (now - self.received_at) * 1000

    def prepared(
        self, given: int, units: Sequence[Unit], took_s: float, outputs: Mapping[int, Any] = NOTHING
    ) -> list[Ticket["JobInHand"]]:
        """Note the units of an input, some of which have outputs already; return the others ready to wait."""
        self.prepare_s += took_s
        self._unprepared -= 1
        self._outcomes[given] = [outputs.get(place) for place in range(len(units))]
        self._missing[given] = len(units) - len(outputs)
        return [Ticket(self, given, place, unit) for place, unit in enumerate(units) if place not in outputs]

    def refused(self, given: int, error: RpcError, took_s: float) -> None:
        """Note that an input failed before it had units."""
        self.prepare_s += took_s
        self._unprepared -= 1
        self._outcomes[given] = error

    def ran(self, batch: Batch["JobInHand"], took_s: float) -> None:
        """Note that units of this job were in a forward pass."""
        self.batch = max(self.batch, len(batch.tickets))
        self.infer_s += took_s

    def record(self, ticket: Ticket["JobInHand"], output: Any) -> Ticket["JobInHand"] | None:
        """Note the output of a unit; an error fails its input. Return the ticket of a follow-up, which must wait."""
        outputs = self._outcomes[ticket.given]
        if isinstance(output, FollowUp) and isinstance(outputs, list):
            return Ticket(self, ticket.given, ticket.place, output.unit)
        self._missing[ticket.given] -= 1
        if isinstance(outputs, list):
            if isinstance(output, RpcError):
                self._outcomes[ticket.given] = output
            else:
                outputs[ticket.place] = output
        return None

    @property
    def done(self) -> bool:
        """Whether every input has its outcome."""
        return self._unprepared == 0 and not any(self._missing)

    def outcomes(self) -> list[Outcome]:
        """Return what became of the inputs, in their order, once `done`."""
        return [outcome if outcome is not None else [] for outcome in self._outcomes]

    @property
    def hold(self) -> Hold:
        """What this job is looked after by."""
        begun = self.started or self.delivery.begun
        count = self.count if self.delivery.suspect else None
        entry_id, lane = self.delivery.entry_id, self.delivery.lane
        return Hold(entry_id, lane, self.job.id, self.job.blobs, begun, count, self.life_ms)

    @property
    def life_ms(self) -> int:
        """How long its keys are to live from now on: as long as those of a job that is queued now."""
        return self.job.ttl_ms + JOB_MARGIN_MS

    @property
    def count_at_work(self) -> int:
        """What the server counts of a suspect while it is at work: one delivery more."""
        return max(1, self.count) + 1

    def progressed(self) -> None:
        """Note that a suspect got further than those that had it before: nothing is held against it any more."""
        self.count = 0

    def meta(self, worker: str) -> Meta:
        """Return how the job fared."""
        return Meta(
            worker=worker,
            attempts=self.delivery.attempts,
            batch=self.batch,
            queued_ms=round(self.queued_ms, 3),
            prepare_ms=round(self.prepare_s * 1000, 3),
            infer_ms=round(self.infer_s * 1000, 3),
        )
