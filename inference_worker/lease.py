"""Lease renewal: says to Redis, four times a lease, that the jobs in hand are being worked on.

It knows jobs only as `Hold`s, plain data, and needs nothing else of the pipelines: it can run in another process.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from inference_worker.clock import ServerClock
from rpc.consumer import Beat, Consumer, Hold, Place
from rpc.errors import RpcError

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class Leased:
    """One model's side of the renewal.

    Attributes:
        consumer: who holds the leases.
        holds: what is in hand.
        about: what the worker says of itself and the model.
        gone: told the entries lost to another worker, and those answered by somebody else.
    """

    consumer: Consumer
    holds: Callable[[], Sequence[Hold]]
    about: Callable[[], Mapping[str, str]]
    gone: Callable[[Collection[Place], Collection[Place]], None]


class LeaseRenewal:
    """Renews the leases of all models of a worker from one thread."""

    def __init__(self, leased: Sequence[Leased], clock: ServerClock, *, lease_s: float) -> None:
        self._leased = leased
        self._clock = clock
        self._every_s = lease_s / BEATS_PER_LEASE
        self._stopping = threading.Event()
        self.beaten_at = -math.inf
        self.stamp = time.monotonic()

    def run(self) -> None:
        """Renew until stopped."""
        while True:
            self.stamp = time.monotonic()
            try:
                for leased in self._leased:
                    self._renew(leased)
                self.beaten_at = time.monotonic()
            except RpcError as error:
                log.warning("leases not renewed: %s", error)
            if self._stopping.wait(self._every_s):
                return

    def _renew(self, leased: Leased) -> None:
        leased.consumer.announce(leased.about())
        beat: Beat = leased.consumer.beat(leased.holds())
        self._clock.heard(beat.now_ms)
        if beat.lost or beat.answered:
            leased.gone(beat.lost, beat.answered)

    def stop(self) -> None:
        """Renew no more."""
        self._stopping.set()

    def late(self, now: float) -> bool:
        """Return whether the thread itself is stuck: no attempt for a whole lease."""
        return now - self.stamp > BEATS_PER_LEASE * self._every_s + 1.0

    def fresh(self, now: float) -> bool:
        """Return whether Redis has heard from us within the last lease."""
        return now - self.beaten_at <= BEATS_PER_LEASE * self._every_s
