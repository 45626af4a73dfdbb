"""The finish stage: outcomes become a reply, and the reply, the ack and the delete reach Redis together.

One thread per model. What it could not deliver it delivers again until the server has answered.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from inference_worker.inhand import InHand
from inference_worker.isolation import Steps
from inference_worker.job import JobInHand
from inference_worker.metrics import ModelMetrics
from inference_worker.models.base import Model
from inference_worker.outcome import conclude, delay_s, kept_ms, passing, stored
from inference_worker.stamps import Stage, Stamps
from inference_worker.usefulness import Usefulness
from rpc.codec import encode_reply
from rpc.connection import NoGroup
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Place, Settlement
from rpc.errors import InvalidInput, ModelError, QueueFull, Unavailable
from rpc.messages import HOUR_MS, Failure, Job, Reply, Success

log = logging.getLogger(__name__)

FAULTS = (Unavailable, QueueFull, NoGroup)
"""What passes by itself: Redis away, full, or just emptied."""

MOST_REPLY_BYTES = 128 * 1024 * 1024
"""The largest reply that is stored: the server copies it while it runs the script that settles the job."""

TOGETHER = 256
"""The most jobs settled in one round trip."""


class BeyondUse(Exception):
    """The engine can do nothing but fail its jobs; one started afresh may do better."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A delivery that is answered without being run."""

    delivery: Delivery
    failure: Failure


@dataclass(frozen=True, slots=True)
class Burial:
    """A delivery that goes to the dead letter."""

    delivery: Delivery
    failure: Failure


Ending = JobInHand | Refused | Burial


class Finishing:
    """Settles what has come to its end, in the order it came."""

    def __init__(
        self,
        model: Model,
        in_hand: InHand,
        consumer: Consumer,
        metrics: ModelMetrics,
        stamps: Stamps,
        steps: Steps,
        *,
        most_failed: int,
    ) -> None:
        self._model = model
        self._in_hand = in_hand
        self._consumer = consumer
        self._metrics = metrics
        self._stamps = stamps
        self._steps = steps
        self._stage: Stage = stamps.stage(model.name)
        self._usefulness = Usefulness(most_failed)
        self._endings: queue.SimpleQueue[Ending | None] = queue.SimpleQueue()
        self._untold: set[Place] = set()
        self._telling = threading.Lock()

    def put(self, endings: Iterable[Ending]) -> None:
        """Hand over what has come to its end."""
        for ending in endings:
            self._untold.add(ending.delivery.place)
            self._endings.put(ending)

    def places(self) -> set[Place]:
        """Return the entries whose end Redis has not heard of yet."""
        return set(self._untold)

    def tell(self, jobs: Sequence[JobInHand]) -> None:
        """Settle jobs that are done, here and now if no unit waits and nothing else is being told, else in turn."""
        if self._in_hand.starved() and self._endings.empty() and self._telling.acquire(blocking=False):
            try:
                self._settle(jobs, self._settle_now)
            finally:
                self._telling.release()
        else:
            self.put(jobs)

    def stop(self) -> None:
        """End the thread once it has delivered what was handed over before."""
        self._endings.put(None)

    def run(self) -> None:
        """Deliver until stopped; raise `BeyondUse` when there is no sense in going on."""
        going = True
        while going:
            endings, going = self._next()
            with self._telling:
                self._bury([item for item in endings if isinstance(item, Burial)])
                self._settle([item for item in endings if not isinstance(item, Burial)], self._settle_surely)

    def _bury(self, burials: Sequence[Burial]) -> None:
        for burial in burials:
            _until_told(partial(self._consumer.bury, burial.delivery, burial.failure))
            self._metrics.dead_letters.inc()
            self._metrics.job(burial.delivery, burial.failure.code)
            self._untold.discard(burial.delivery.place)
        self._stamps.serve(len(burials))

    def _settle_surely(self, settlements: Sequence[Settlement]) -> bool:
        _until_told(partial(self._consumer.settle, settlements))
        return True

    def _settle_now(self, settlements: Sequence[Settlement]) -> bool:
        """Settle if Redis is there; return whether it was."""
        try:
            self._consumer.settle(settlements)
        except FAULTS:
            return False
        return True

    def _next(self) -> tuple[list[Ending], bool]:
        endings: list[Ending] = []
        ending = self._endings.get()
        while ending is not None:
            endings.append(ending)
            if len(endings) == TOGETHER or self._endings.empty():
                return endings, True
            ending = self._endings.get()
        return endings, False

    def _settle(self, endings: Sequence[JobInHand | Refused], tell: Callable[[Sequence[Settlement]], bool]) -> None:
        """Put off what may be tried again, and reply to the others, in turn if Redis does not hear of that now."""
        left = self._put_off(endings)
        if left and not self._reply_to(left, tell):
            self.put(left)
        elif self._usefulness.lost:
            raise BeyondUse(self._usefulness.lost)

    def _reply_to(self, endings: Sequence[JobInHand | Refused], tell: Callable[[Sequence[Settlement]], bool]) -> bool:
        """Reply; return whether Redis has heard of it."""
        endings = sorted(endings, key=_is_suspect)
        concluded = [each for group in _steps(endings) for each in self._concluded(group)]
        replies = [reply for reply, _ in concluded]
        if not tell([settlement for _, settlement in concluded]):
            return False
        self._untold.difference_update([ending.delivery.place for ending in endings])
        self._in_hand.settled(ending for ending in endings if isinstance(ending, JobInHand))
        now = time.monotonic()
        for ending, reply in zip(endings, replies, strict=True):
            self._metrics.job(ending.delivery, "ok" if isinstance(reply, Success) else reply.code)
            if isinstance(ending, JobInHand):
                self._metrics.timings(ending, now)
        self._stamps.serve(sum(isinstance(reply, Success) for reply in replies))
        self._usefulness.answered(replies)
        return True

    def _concluded(self, endings: Sequence[JobInHand | Refused]) -> list[tuple[Reply, Settlement]]:
        """Return the replies to some endings, made in one step, and how they are stored."""
        with self._steps.step(self._stage, [ending for ending in endings if isinstance(ending, JobInHand)]):
            replies = [self._reply(ending) for ending in endings]
            return [(reply, self._settlement(ending, reply)) for ending, reply in zip(endings, replies, strict=True)]

    def _put_off(self, endings: Sequence[JobInHand | Refused]) -> list[JobInHand | Refused]:
        """Have jobs tried again that failed on what may pass, if they may be; return the others."""
        left: list[JobInHand | Refused] = []
        for ending in endings:
            error = passing(ending.outcomes()) if isinstance(ending, JobInHand) else None
            if isinstance(ending, JobInHand) and error and self._again(ending):
                log.warning("job %s of %s is tried again later: %s", ending.job.id, ending.job.model, error)
            else:
                left.append(ending)
            self._usefulness.met(error)
        return left

    def _again(self, job: JobInHand) -> bool:
        deliveries = max(1, job.count)
        if deliveries >= self._consumer.limits.max_deliveries:
            return False
        _until_told(partial(self._consumer.retry, job.delivery, delay_s=delay_s(deliveries), count=job.count))
        self._metrics.retries.inc()
        self._untold.discard(job.delivery.place)
        self._in_hand.settled([job])
        return True

    def _reply(self, ending: JobInHand | Refused) -> Reply:
        if isinstance(ending, Refused):
            return ending.failure
        return conclude(self._model, ending.job.op, ending.outcomes(), ending.meta(self._consumer.name))

    def _settlement(self, ending: JobInHand | Refused, reply: Reply) -> Settlement:
        delivery = ending.delivery
        if isinstance(ending, Refused):
            encoded = encode_reply(reply, delivery.job.encoding, model=self._model.name)
            return Settlement(delivery, encoded, HOUR_MS, failed=True)
        job = ending.job
        whole, failed = b"", isinstance(reply, Failure)
        try:
            encoded = _encoded(job, stored(job, reply))
            if job.sink and not job.keep_ms:
                whole = _encoded(job, reply)
        except Exception as error:  # noqa: BLE001 (whatever a model returned, its job is told)
            log.warning("the result of job %s of %s cannot be sent: %s", job.id, job.model, error)
            failure = Failure.of(ModelError(f"the result {error}".encode(errors="replace").decode()))
            encoded = whole = encode_reply(failure, job.encoding, model=job.model)
            failed = True
        return Settlement(delivery, encoded, kept_ms(job, reply), whole, failed)


def _is_suspect(ending: JobInHand | Refused) -> bool:
    return isinstance(ending, JobInHand) and ending.delivery.suspect


def _steps(endings: Sequence[JobInHand | Refused]) -> Iterator[Sequence[JobInHand | Refused]]:
    """Yield the endings that are concluded together: suspects, which come last, each alone."""
    together = [ending for ending in endings if not _is_suspect(ending)]
    if together:
        yield together
    for suspect in endings[len(together) :]:
        yield [suspect]


def _encoded(job: Job, reply: Reply) -> bytes:
    """Return a reply as it is stored; raise `InvalidInput` if it has no form on the wire or is too large for it."""
    encoded = encode_reply(reply, job.encoding, model=job.model)
    if len(encoded) > MOST_REPLY_BYTES:
        raise InvalidInput(f"has {len(encoded)} bytes, over the limit of {MOST_REPLY_BYTES}: ask for less at once")
    return encoded


def _until_told(deliver: Callable[[], object]) -> None:
    """Deliver again and again while Redis is away; what is sent is safe to send twice."""
    for attempt in Retrying(
        retry=retry_if_exception_type(FAULTS),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        reraise=True,
    ):
        with attempt:
            deliver()
