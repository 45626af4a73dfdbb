"""The life of a worker: loading, ready, draining, stopped. One owner of the state, and of the order of the end."""

import contextlib
import enum
import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from inference_worker import __version__
from inference_worker.clock import ServerClock
from inference_worker.lease import LeaseRenewal
from inference_worker.metrics import LaneCollector, WorkerMetrics
from inference_worker.models.base import Model
from inference_worker.pipeline import Pipeline, Surroundings
from inference_worker.registry import check_fit, load
from inference_worker.settings import WorkerSettings
from rpc.connection import BlockingConnection
from rpc.errors import RpcError
from rpc.inspection import ModelState, model_state
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)


SIGNALS_HEARD_S = 0.2
"""The longest until a signal is heard."""


class State(enum.Enum):
    """Where a worker is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


def consumer_name() -> str:
    """Return a name no other start of a worker has: host, pid and a part made up at this start."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Worker:
    """Serves models until told to stop, or until one of its stages dies."""

    def __init__(self, models: Sequence[Model], settings: WorkerSettings, redis: RedisSettings) -> None:
        self.name = consumer_name()
        self.metrics = WorkerMetrics()
        self.health_address = ""
        self._models = models
        self._settings = settings
        self._redis = redis
        self._state = State.LOADING
        self._started = time.time()
        # what ends the worker: the name of a stage that died, or None; safe to put in a signal handler
        self._ends: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._failure: str | None = None
        self._clock = ServerClock()
        self._threads: list[threading.Thread] = []
        self._renewal: LeaseRenewal | None = None
        self._scrape = BlockingConnection(redis)
        self.metrics.registry.register(LaneCollector(self._lane_states))

    def __repr__(self) -> str:
        """Return name and state."""
        return f"<Worker {self.name} {self._state.value}>"

    def stop(self) -> None:
        """Ask the worker to drain and stop; `run` returns when it has. To be called in a signal handler.

        A worker that is still loading holds no jobs and ends at once.
        """
        if self._state is State.LOADING:
            raise SystemExit(0)
        self._ends.put(None)

    def run(self) -> int:
        """Load, serve and drain; return the exit status: 0 after a stop, 1 after a stage died."""
        if self._settings.memory_check:
            check_fit(self._models)
        for model in self._models:
            load(model)
        pipelines = [Pipeline(model, self._surroundings()) for model in self._models]
        self._start(pipelines)
        self._failure = self._end()
        if self._failure is None:
            self._drain(pipelines)
        self._state = State.STOPPED
        return 0 if self._failure is None else 1

    def _end(self) -> str | None:
        """Wait for what ends the worker, and return it."""
        while True:
            # a signal that the system hands to another thread is heard only when this one runs again
            with contextlib.suppress(queue.Empty):
                return self._ends.get(timeout=SIGNALS_HEARD_S)

    def _surroundings(self) -> Surroundings:
        return Surroundings(self.name, self._redis, self._settings, self.metrics, self._clock, self._about)

    def _about(self) -> dict[str, str]:
        return {
            "state": self._state.value,
            "version": __version__,
            "started": f"{self._started:.0f}",
            "health": self.health_address,
        }

    def _start(self, pipelines: Sequence[Pipeline]) -> None:
        self._renewal = LeaseRenewal(
            [pipeline.leased for pipeline in pipelines], self._clock, lease_s=self._settings.lease_s
        )
        self._state = State.READY
        self.metrics.ready.set(1)
        self._spawn("leases", self._renewal.run)
        for pipeline in pipelines:
            for stage, run in pipeline.working.items():
                self._spawn(f"{stage}-{pipeline.model.name}", run)
            self._spawn(f"read-{pipeline.model.name}", pipeline.reading)
        log.info("ready: %s serves %s", self.name, ", ".join(model.name for model in self._models))

    def _spawn(self, name: str, stage: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(name, stage), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException:
            # a worker that misses a stage would hold jobs for ever; dead, it gives them to the others
            log.exception("stage %s died; the worker ends", name)
            self._ends.put(name)

    def _drain(self, pipelines: Sequence[Pipeline]) -> None:
        self._state = State.DRAINING
        self.metrics.ready.set(0)
        end = time.monotonic() + self._settings.drain_grace_s
        for pipeline in pipelines:
            pipeline.stop_reading()
        # readers end first, so that nothing is taken in behind the release
        self._join("read-", 2.0)
        given_back = sum(self._give_back(pipeline, running=False) for pipeline in pipelines)
        for pipeline in pipelines:
            pipeline.wait_until_empty(max(0.0, end - time.monotonic()))
        given_back += sum(self._give_back(pipeline, running=True) for pipeline in pipelines)
        for pipeline in pipelines:
            pipeline.close()
        # leases are renewed to the last reply, so that no job is taken over while it is being answered
        self._join("finish-", 2.0)
        if self._renewal is not None:
            self._renewal.stop()
        self._join("leases", 2.0)
        for pipeline in pipelines:
            self._quietly(pipeline.leave)
        log.info("drained: %d jobs given back", given_back)

    def _give_back(self, pipeline: Pipeline, *, running: bool) -> int:
        return self._quietly(lambda: pipeline.give_back(running=running)) or 0

    def _quietly(self, say: Callable[[], int | None]) -> int | None:
        try:
            return say()
        except RpcError as error:
            log.warning("not told to Redis, leases will lapse instead: %s", error)
            return None

    def _join(self, prefix: str, timeout_s: float) -> None:
        for thread in self._threads:
            if thread.name.startswith(prefix):
                thread.join(timeout_s)

    def stuck(self) -> bool:
        """Return whether a stage has not ended although the worker has."""
        return any(thread.is_alive() for thread in self._threads)

    def alive(self) -> bool:
        """Return whether every stage runs and the lease renewal is not stuck."""
        if self._state is State.LOADING:
            return True
        late = self._renewal is not None and self._renewal.late(time.monotonic())
        return self._failure is None and not late

    def ready(self) -> bool:
        """Return whether jobs are being taken and Redis has heard of it lately."""
        fresh = self._renewal is not None and self._renewal.fresh(time.monotonic())
        return self._state is State.READY and self._failure is None and fresh

    def state(self) -> dict[str, Any]:
        """Return what a person would want to know."""
        return {
            "worker": self.name,
            "state": self._state.value,
            "models": [model.name for model in self._models],
            "failed_stage": self._failure,
            "uptime_s": round(time.time() - self._started, 1),
        }

    def _lane_states(self) -> Iterator[ModelState]:
        for model in self._models:
            try:
                yield self._scrape.run(model_state(self._redis.prefix, model.name))
            except RpcError:
                return
