"""Leases as the supervisor sees them: renewed while an engine makes progress, handed over when it has died.

One thread, one connection. A lease is a quarter old when it is renewed.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference_worker.supervisor.engine_process import EngineProcess
from rpc import leases
from rpc.connection import BlockingConnection
from rpc.deliveries import Place
from rpc.errors import RpcError
from rpc.fitness import Finding, examine, judged, refusal
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)

RENEWED_PER_LEASE = 4

TRY_AGAIN_S = 0.2

REAP_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Death:
    """What an engine left behind for one of its models; see `rpc.leases.bereave`."""

    model: str
    consumer: str
    died_of: str
    working_on: frozenset[Place] | None


class Leases:
    """Speaks to Redis for the engines of a supervisor."""

    def __init__(
        self,
        redis: RedisSettings,
        engines: Callable[[], Sequence[EngineProcess]],
        unfit: Callable[[Finding], None],
        *,
        lease_s: float,
        hang_after_s: float,
    ) -> None:
        self._prefix = redis.prefix
        self._connection = BlockingConnection(redis)
        self._engines = engines
        self._unfit = unfit
        self._lease_s = lease_s
        self._hang_after_s = hang_after_s
        self._every_s = lease_s / RENEWED_PER_LEASE
        self._deaths: list[Death] = []
        self._examined = False
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
            try:
                self.examine()
                self._hand_over()
                self._renew()
                self._reap()
                pause_s = self._every_s
            except RpcError as error:
                log.warning("leases not renewed: %s", error)
                pause_s = min(self._every_s, TRY_AGAIN_S)
            except Exception:
                # all leases hang on this thread: it must outlive whatever goes wrong
                log.exception("leases not renewed")
                pause_s = min(self._every_s, TRY_AGAIN_S)
            self._wake.wait(pause_s)
        with contextlib.suppress(RpcError):
            self._hand_over()

    def examine(self) -> None:
        """Look once whether the server is fit to keep jobs; raise `RpcError` while that cannot be told."""
        if self._examined:
            return
        findings = judged(self._connection.run(examine(self._prefix)))
        self._examined = True
        for finding in findings:
            if finding.level != "ok":
                log.warning("server: %s: %s; %s", finding.what, finding.says, finding.advice)
        unfit = refusal(findings)
        if unfit is not None:
            self._unfit(unfit)

    def _renew(self) -> None:
        for engine in self._engines():
            if engine.ready and progressing(engine.stuck_since(), time.monotonic(), self._hang_after_s):
                lease_ms = int(self._lease_s * 1000)
                self._connection.run(leases.renew(self._prefix, engine.models, engine.name, lease_ms=lease_ms))
        self._renewed_at = time.monotonic()

    def _hand_over(self) -> None:
        while self._deaths:
            death = self._deaths[0]
            released, suspects = self._connection.run(
                leases.bereave(
                    self._prefix, death.model, death.consumer, died_of=death.died_of, working_on=death.working_on
                )
            )
            log.info(
                "%s of %s ended (%s): %d jobs free at once, %d suspects",
                *(death.model, death.consumer, death.died_of, released, suspects),
            )
            self._deaths.pop(0)

    def _reap(self) -> None:
        if time.monotonic() >= self._reap_at:
            for model in {model for engine in self._engines() for model in engine.models}:
                self._connection.run(leases.reap(self._prefix, model))
                self._reap_at = time.monotonic() + REAP_EVERY_S

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
