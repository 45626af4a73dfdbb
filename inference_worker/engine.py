"""The life of an engine: loading, ready, draining, stopped. One owner of the state, and of the order of the end."""

import contextlib
import enum
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from inference_worker import __version__, exits
from inference_worker.clock import ServerClock
from inference_worker.finishing import BeyondUse
from inference_worker.isolation import Gate
from inference_worker.link import Gone, Link
from inference_worker.lookout import Lookout
from inference_worker.media.references import References
from inference_worker.memory_demand import LOAD, MEASURE_AGAIN
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import Model
from inference_worker.pipeline import Pipeline, Surroundings
from inference_worker.registry import RegistryError, demand, load
from inference_worker.settings import WorkerSettings
from inference_worker.stamps import Stamps
from rpc.errors import RpcError
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)


SIGNALS_HEARD_S = 0.2
"""The longest until a signal is heard."""

GIVEN_BACK_S = 0.5
"""How long a draining engine waits for one model's jobs before it tries again to give back what is not started."""

TICK_S = 0.5
"""How often an engine says that it gets round to saying so."""


class State(enum.Enum):
    """Where an engine is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Tether:
    """What ties an engine to its supervisor: its name, the health port told to others, stamps and line."""

    name: str
    health: str
    stamps: Stamps
    link: Link


class Engine:
    """Serves models until told to stop, or until one of its stages dies.

    Making one raises `SettingError` if references cannot be opened as the settings say.
    """

    def __init__(self, models: Sequence[Model], settings: WorkerSettings, redis: RedisSettings, tether: Tether) -> None:
        self.metrics = WorkerMetrics()
        self._models = models
        self._settings = settings
        self._redis = redis
        self._references = References.of(settings, most_bytes=redis.max_input_bytes)
        self._tether = tether
        self._state = State.LOADING
        self._started = time.time()
        # what ends the engine, as its exit status; safe to put in a signal handler
        self._ends: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._clock = ServerClock()
        self._gate = Gate()
        self._threads: list[threading.Thread] = []
        self._lookout: Lookout | None = None

    def __repr__(self) -> str:
        """Return name and state."""
        return f"<Engine {self._tether.name} {self._state.value}>"

    def stop(self) -> None:
        """Ask the engine to drain and stop; `run` returns when it has. To be called in a signal handler.

        An engine that is still loading holds no jobs and ends at once.
        """
        if self._state is State.LOADING:
            raise SystemExit(0)
        self._ends.put(exits.STOPPED)

    def run(self) -> int:
        """Load, serve and drain; return the exit status: see `exits`."""
        if self._settings.memory_check:
            self._await_admission()
        for model in self._models:
            load(model)
        pipelines = [Pipeline(model, self._surroundings()) for model in self._models]
        self._start(pipelines)
        status = self._end()
        if status == exits.STOPPED:
            self._drain(pipelines)
        self._state = State.STOPPED
        return status

    def _await_admission(self) -> None:
        """Wait until the supervisor lets the models be loaded; raise `RegistryError` if they do not fit."""
        answer = MEASURE_AGAIN
        try:
            while answer == MEASURE_AGAIN:
                self._tether.link.say("demand", demand(self._models).as_json())
                _, answer = self._tether.link.hear()
        except Gone:
            raise SystemExit(exits.FAILED) from None
        if answer != LOAD:
            raise RegistryError(answer)

    def _end(self) -> int:
        """Wait for what ends the engine, and return the status it ends with."""
        while True:
            # a signal that the system hands to another thread is heard only when this one runs again
            with contextlib.suppress(queue.Empty):
                return self._ends.get(timeout=SIGNALS_HEARD_S)

    def _surroundings(self) -> Surroundings:
        tether = self._tether
        return Surroundings(
            tether.name,
            self._redis,
            self._settings,
            self.metrics,
            self._clock,
            tether.stamps,
            self._gate,
            self._references,
            self._about,
            self._guarded,
        )

    def _about(self) -> dict[str, str]:
        return {
            "state": self._state.value,
            "version": __version__,
            "started": f"{self._started:.0f}",
            "health": self._tether.health,
            "pid": str(os.getpid()),
        }

    def _start(self, pipelines: Sequence[Pipeline]) -> None:
        self._lookout = Lookout(
            [pipeline.watched for pipeline in pipelines], self._clock, lease_s=self._settings.lease_s
        )
        self._state = State.READY
        self._spawn("line", self._tell_supervisor)
        self._spawn("lookout", self._lookout.run)
        for pipeline in pipelines:
            for stage, run in pipeline.working.items():
                self._spawn(f"{stage}-{pipeline.model.name}", run)
            self._spawn(f"read-{pipeline.model.name}", pipeline.reading)

    def _tell_supervisor(self) -> None:
        """Tick, and answer what the supervisor asks; end with it."""
        link, stamps = self._tether.link, self._tether.stamps
        try:
            stamps.tick(time.monotonic())
            link.say("ready", [model.name for model in self._models])
            while True:
                if link.hear(TICK_S):
                    link.say("metrics", self.metrics.text())
                stamps.tick(time.monotonic())
        except Gone:
            # leases lapse and other workers take over; nobody renews them here any more
            os._exit(1)

    def _spawn(self, name: str, stage: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded, args=(name, stage), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, name: str, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BeyondUse as error:
            log.error("the engine ends, another one may do better: %s", error)  # noqa: TRY400 (it is no fault of ours)
            self._ends.put(exits.BEYOND_USE)
        except BaseException:
            # an engine that misses a stage would hold jobs for ever; dead, it gives them to the others
            log.exception("stage %s died; the engine ends", name)
            self._ends.put(exits.FAILED)

    def _drain(self, pipelines: Sequence[Pipeline]) -> None:
        self._state = State.DRAINING
        end = time.monotonic() + self._settings.drain_grace_s
        for pipeline in pipelines:
            pipeline.stop_reading()
        # readers end first, so that nothing is taken in behind the release
        self._join("read-", 2.0)
        given_back = self._give_back(pipelines, running=False)
        while any(not pipeline.wait_until_empty(GIVEN_BACK_S) for pipeline in pipelines) and time.monotonic() < end:
            # while Redis is away nothing can be given back
            given_back += self._give_back(pipelines, running=False)
        given_back += self._give_back(pipelines, running=True)
        for pipeline in pipelines:
            pipeline.close()
        # jobs are looked after to the last reply
        self._join("finish-", 2.0)
        if self._lookout is not None:
            self._lookout.stop()
        self._join("lookout", 2.0)
        for pipeline in pipelines:
            self._quietly(pipeline.leave)
        log.info("drained: %d jobs given back", given_back)

    def _give_back(self, pipelines: Sequence[Pipeline], *, running: bool) -> int:
        return sum(self._quietly(partial(pipeline.give_back, running=running)) or 0 for pipeline in pipelines)

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
        """Return whether a thread lives although the engine ended; the one that hears the supervisor always does."""
        return any(thread.is_alive() for thread in self._threads)
