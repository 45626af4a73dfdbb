"""The lookout: asks Redis about the jobs in hand, which may be cancelled or another worker's by now, and announces.

Leases are renewed by the supervisor, which does so even while a library in this process lets no thread run.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from inference_worker.clock import ServerClock
from rpc.consumer import Consumer
from rpc.deliveries import Hold, Place
from rpc.errors import RpcError

log = logging.getLogger(__name__)

ANNOUNCED_PER_LEASE = 4

ANNOUNCE_S = 5.0
"""The longest between two announcements: they tell that work gets done, also while no job ends."""

LOOK_S = 1.0
"""The longest until a cancellation is noticed, while there is something to cancel."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One model's side of it.

    Attributes:
        consumer: who holds the jobs.
        holds: what is in hand.
        about: what the worker says of itself and the model.
        gone: told the entries lost to another worker, and those answered by somebody else.
    """

    consumer: Consumer
    holds: Callable[[], Sequence[Hold]]
    about: Callable[[], Mapping[str, str]]
    gone: Callable[[Collection[Place], Collection[Place]], None]


class Lookout:
    """Looks after the jobs of all models of an engine from one thread."""

    def __init__(self, watched: Sequence[Watched], clock: ServerClock, *, lease_s: float) -> None:
        self._watched = watched
        self._clock = clock
        self._announce_every_s = announce_every_s(lease_s)
        self._every_s = min(LOOK_S, self._announce_every_s)
        self._announce_at = -math.inf
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.is_set():
            try:
                self._look_round()
            except RpcError as error:
                log.warning("jobs in hand not looked after: %s", error)
            self._stopping.wait(self._every_s)

    def _look_round(self) -> None:
        announce = time.monotonic() >= self._announce_at
        for watched in self._watched:
            holds = watched.holds()
            if holds or announce:
                self._look(watched, holds)
            # a server that is full refuses this, and nothing else here
            if announce:
                watched.consumer.announce(watched.about())
        if announce:
            self._announce_at = time.monotonic() + self._announce_every_s

    def _look(self, watched: Watched, holds: Sequence[Hold]) -> None:
        look = watched.consumer.look(holds)
        self._clock.heard(look.now_ms)
        if look.lost or look.answered:
            watched.gone(look.lost, look.answered)

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()


def announce_every_s(lease_s: float) -> float:
    """Return how often a worker says what there is to say of itself."""
    return min(ANNOUNCE_S, lease_s / ANNOUNCED_PER_LEASE)
