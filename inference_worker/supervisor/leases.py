"""Leases as the supervisor sees them: renewed while an engine makes progress, handed over when it has died.

One thread, one connection. A lease is a quarter old when it is renewed.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from inference_worker.supervisor.engine_process import EngineProcess
from rpc import leases
from rpc.connection import BlockingConnection
from rpc.deliveries import Place
from rpc.errors import RpcError, Unavailable
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)

RENEWED_PER_LEASE = 4

TRY_AGAIN_S = 0.2

REAP_EVERY_S = 60.0
"""The longest between two looks for workers that are gone; a shorter lease has them more often."""


@dataclass(frozen=True, slots=True)
class Death:
    """What an engine left behind for one of its models; see `rpc.leases.bereave`."""

    model: str
    consumer: str
    died_of: str
    working_on: frozenset[Place] | None
    alone: bool = False


class Leases:
    """Speaks to Redis for the engines of a supervisor."""

    def __init__(
        self,
        redis: RedisSettings,
        engines: Callable[[], Sequence[EngineProcess]],
        *,
        lease_s: float,
        hang_after_s: float,
    ) -> None:
        self._prefix = redis.prefix
        self._connection = BlockingConnection(redis)
        self._engines = engines
        self._lease_s = lease_s
        self._hang_after_s = hang_after_s
        self._every_s = lease_s / RENEWED_PER_LEASE
        self._deaths: list[Death] = []
        self._reap_at = 0.0
        self._wake = threading.Event()
        self._stopping = False
        self._round_at = time.monotonic()
        self._renewed_at = -math.inf

    def run(self) -> None:
        """Renew until stopped; then hand over what is left behind, if Redis hears of it."""
        while not self._stopping:
            self._wake.clear()
            self._round_at = time.monotonic()
            done = self._round()
            self._wake.wait(self._every_s if done else min(self._every_s, TRY_AGAIN_S))
        with contextlib.suppress(RpcError):
            for death in list(self._deaths):
                self._hand_over(death)

    def _round(self) -> bool:
        """Do what there is to do, each for itself; return whether all of it was done."""
        done = True
        for undone, task in self._tasks():
            try:
                task()
            except Unavailable as error:
                log.warning("%s: %s", undone, error)
                # what is left would only wait for the same server
                return False
            except RpcError as error:
                log.warning("%s: %s", undone, error)
                done = False
            except Exception:
                # all leases hang on this thread: it must outlive whatever goes wrong
                log.exception("%s", undone)
                done = False
        return done

    def _tasks(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield what there is to do, the most urgent first, each with what is said if it fails."""
        yield "leases not renewed", self._renew
        for death in list(self._deaths):
            yield f"jobs of {death.consumer} not handed over", partial(self._hand_over, death)
        if time.monotonic() >= self._reap_at:
            yield "consumers that are gone not dropped", self._reap

    def _renew(self) -> None:
        for engine in self._engines():
            if engine.ready and progressing(engine.stuck_since(), time.monotonic(), self._hang_after_s):
                lease_ms = int(self._lease_s * 1000)
                self._connection.run(leases.renew(self._prefix, engine.models, engine.name, lease_ms=lease_ms))
                # a round without an engine to renew for does not reach the server
                self._renewed_at = time.monotonic()

    def _hand_over(self, death: Death) -> None:
        released, suspects = self._connection.run(
            leases.bereave(
                self._prefix,
                death.model,
                death.consumer,
                died_of=death.died_of,
                working_on=death.working_on,
                alone=death.alone,
            )
        )
        log.info(
            "%s of %s ended (%s): %d jobs free at once, %d suspects",
            *(death.model, death.consumer, death.died_of, released, suspects),
        )
        self._deaths.remove(death)

    def _reap(self) -> None:
        for model in {model for engine in self._engines() for model in engine.models}:
            self._connection.run(leases.reap(self._prefix, model, lease_ms=int(self._lease_s * 1000)))
            self._reap_at = time.monotonic() + min(REAP_EVERY_S, self._lease_s)

    def bereaved(self, deaths: Sequence[Death]) -> None:
        """Hand over, as soon as Redis is there, what an engine left behind."""
        self._deaths += deaths
        self._wake.set()

    def renew_now(self) -> None:
        """Renew before it is time: an engine has become ready, and is to be known as alive."""
        self._wake.set()

    def stop(self) -> None:
        """Renew no more."""
        self._stopping = True
        self._wake.set()

    def late(self, now: float) -> bool:
        """Return whether the thread itself is stuck: no attempt for a whole lease and as long as Redis may take."""
        return now - self._round_at > self._lease_s + 60.0

    def fresh(self, now: float) -> bool:
        """Return whether Redis has heard from us within the last lease."""
        return now - self._renewed_at <= self._lease_s


def progressing(stuck_since: float | None, now: float, hang_after_s: float) -> bool:
    """Return whether an engine that has been at one thing since then may still come to its end by itself."""
    return stuck_since is None or now - stuck_since <= hang_after_s
