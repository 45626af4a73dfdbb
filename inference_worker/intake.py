"""The read stage: one thread per model takes entries off the lanes, refuses what cannot run, hands on the rest.

It never takes more than can start soon: what it has not read, another worker can.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from inference_worker.clock import ServerClock
from inference_worker.finishing import Burial, Ending, Refused
from inference_worker.inhand import InHand
from inference_worker.job import JobInHand
from inference_worker.metrics import ModelMetrics
from inference_worker.outcome import refusal, verdict, worth_asking
from rpc.connection import NoGroup
from rpc.consumer import Consumer
from rpc.deliveries import Claim, Delivery, Place
from rpc.entries import Malformed
from rpc.errors import Cancelled, QueueFull, RpcError, Unavailable
from rpc.keys import LANES
from rpc.messages import Failure

log = logging.getLogger(__name__)

BLOCK_MS = 500
"""How long a read waits for an entry: also the longest until released entries are looked for."""

SUSPECT_WAIT_S = 0.02
"""The longest pause between two reads while suspects wait their turn, which is when the one in hand is done."""

FULL_WAIT_S = 0.1
"""How long a full lane keeps the reader from looking at the other one again."""

RETRY_S = 0.2

MIN_ADOPT_S = 1.0


@dataclass(frozen=True, slots=True)
class Onward:
    """Where entries go from here.

    Attributes:
        start: takes jobs that are to be run.
        end: takes what is answered without being run.
        known: tells which entries are on their way, from being read until Redis knows their end.
        tend: does what has come back to the thread that reads.
    """

    start: Callable[[Sequence[JobInHand]], None]
    end: Callable[[Iterable[Ending]], None]
    known: Callable[[], Collection[Place]]
    tend: Callable[[], None]


class Intake:
    """Reads for one model until stopped."""

    def __init__(
        self,
        consumer: Consumer,
        in_hand: InHand,
        ops: Sequence[str],
        clock: ServerClock,
        metrics: ModelMetrics,
        *,
        batch_size: int,
        onward: Onward,
    ) -> None:
        self._consumer = consumer
        self._in_hand = in_hand
        self._ops = ops
        self._clock = clock
        self._metrics = metrics
        self._batch_size = batch_size
        self._start, self._end, self._known, self._tend = onward.start, onward.end, onward.known, onward.tend
        self._stopping = threading.Event()
        self._unsure = True
        self._more_suspects = False
        self._claim_at = self._adopt_at = 0.0
        self._claim_every_s = min(BLOCK_MS, consumer.limits.lease_ms / 8) / 1000
        self._adopt_every_s = max(MIN_ADOPT_S, consumer.limits.lease_ms / 1000)

    def stop(self) -> None:
        """Read no more; a read under way ends within half a second."""
        self._stopping.set()

    def run(self) -> None:
        """Read until stopped, through every absence of Redis."""
        while not self._stopping.is_set():
            try:
                self._step()
            except NoGroup:
                self._unsure = True
            except (Unavailable, QueueFull) as error:
                if not self._unsure:
                    log.warning("%s: cannot read: %s", self._consumer.keys.model, error)
                self._unsure = True
                self._stopping.wait(RETRY_S)

    def _step(self) -> None:
        self._tend()
        if self._unsure:
            self._consumer.ensure_groups()
            self._clock.heard(self._consumer.server_ms())
            self._adopt_at = 0.0
            self._adopt()
            self._unsure = False
        self._adopt()
        self._claim()
        room = {lane: self._in_hand.room(lane) for lane in LANES}
        lanes = [lane for lane in LANES if room[lane]]
        full = len(lanes) < len(LANES)
        if lanes:
            count = min(self._batch_size, *(room[lane] for lane in lanes))
            # a full lane may have room again, or the suspect in hand be done, any moment: then only a glance
            block_ms = 0 if full or self._more_suspects else BLOCK_MS
            self._take(self._consumer.read(lanes, count, block_ms=block_ms))
        if self._more_suspects:
            self._in_hand.wait_for_suspect(SUSPECT_WAIT_S)
        elif full:
            self._in_hand.wait_for_room(FULL_WAIT_S)

    def _adopt(self) -> None:
        """Take in what Redis handed out in a reply that never arrived: it is ours, and its lease is renewed.

        After a lost connection that is likely; now and then it is looked for all the same, because the server may carry
        out a command of a connection that has been given up.
        """
        if time.monotonic() >= self._adopt_at:
            self._accept(self._consumer.adopt(self._known()))
            self._adopt_at = time.monotonic() + self._adopt_every_s

    def _claim(self) -> None:
        suspect_wanted = self._more_suspects and not self._in_hand.has_suspect()
        if time.monotonic() < self._claim_at and not suspect_wanted:
            return
        self._claim_at = time.monotonic() + self._claim_every_s
        self._more_suspects = False
        for lane in LANES:
            room = min(self._batch_size, self._in_hand.room(lane))
            claim = self._consumer.claim(lane, room, suspect=not self._in_hand.has_suspect())
            self._more_suspects |= claim.more
            self._accept(claim)

    def _accept(self, claim: Claim) -> None:
        self._end(Burial(delivery, verdict(delivery)) for delivery in claim.dead)
        self._take(claim.taken)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        now_ms = self._clock.now_ms()
        old = [item for item in deliveries if worth_asking(item, now_ms - item.submitted_ms)]
        answered = self._consumer.answered(old) if old else set()
        jobs = []
        for delivery in deliveries:
            if delivery.suspect:
                self._metrics.redeliveries.inc()
            taken = self._judge(delivery, now_ms, answered=delivery.place in answered)
            if isinstance(taken, JobInHand):
                jobs.append(taken)
            else:
                self._end([taken])
        self._in_hand.admit(jobs)
        self._start(jobs)

    def _judge(self, delivery: Delivery, now_ms: float, *, answered: bool) -> Ending:
        waited_ms = max(0.0, now_ms - delivery.submitted_ms)
        if isinstance(delivery.job, Malformed):
            failure = Failure.of(delivery.job)
            return Refused(delivery, failure) if delivery.job_id else Burial(delivery, failure)
        error: RpcError | None = refusal(delivery.job, self._ops, 0.0 if delivery.begun else waited_ms)
        if answered:
            # the reply that is there stays; this only takes the entry out of its lane
            error = Cancelled("answered before it was started")
        if error is not None:
            return Refused(delivery, Failure.of(error))
        return JobInHand(delivery, delivery.job, waited_ms, time.monotonic())
