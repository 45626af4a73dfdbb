"""The life of a worker: engines started, watched, replaced and stopped. One owner of the order of the end."""

import contextlib
import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from inference_worker import exits
from inference_worker.engine_plan import SHARED
from inference_worker.settings import WorkerSettings
from inference_worker.supervisor.admission import Admission
from inference_worker.supervisor.engine_process import EngineProcess
from inference_worker.supervisor.engine_state import EngineState, count_engines
from inference_worker.supervisor.entrance import Entrance
from inference_worker.supervisor.health import HealthPort
from inference_worker.supervisor.leases import Death, Leases, progressing
from inference_worker.supervisor.metrics import EnginesCollector, LaneCollector, SupervisorCollector, registry
from inference_worker.supervisor.restarts import Restarts
from rpc.connection import BlockingConnection
from rpc.errors import RpcError
from rpc.fitness import Finding
from rpc.inspection import ModelState, model_state
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often engines are looked at if none has ended or become ready; also the longest until a signal is heard."""

ENGINE_CHANGED = 0
"""What wakes this thread that is no signal's number."""

PAUSED_S = 3.0
"""A pause between two looks that says this process was not running."""

LEAVING_S = 10.0
"""How much longer than its grace an engine may take to end, before it is ended."""

STAGES_PER_MODEL = 2
"""Threads of a model that say what they are at, besides those that prepare: infer and finish."""


class Supervisor:
    """Keeps one engine running for each device until told to stop, or until one cannot be kept running."""

    def __init__(self, settings: WorkerSettings, redis: RedisSettings) -> None:
        self._settings = settings
        self._redis = redis
        self._started = time.time()
        self._plan = settings.engine_plan
        self._engines: dict[int, EngineProcess] = {}
        self._restarts = [Restarts(settings.most_failures) for _ in self._plan]
        self._given_up: set[int] = set()
        self._ready_once: set[int] = set()
        self._admission = Admission()
        self._greeted: set[str] = set()
        self._looked_at = self._awake_since = time.monotonic()
        self._status = exits.STOPPED
        self._end_at: float | None = None
        # safe to put in a signal handler
        self._woken_by: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._refused = False
        self._entrance = Entrance(redis, self._unfit)
        self._leases = Leases(redis, self._running, lease_s=settings.lease_s, hang_after_s=settings.hang_after_s)
        self._scrape = BlockingConnection(redis)
        self._health = HealthPort(
            self,
            registry(
                EnginesCollector(self._texts),
                SupervisorCollector(lambda: count_engines(self._states()), self.ready),
                LaneCollector(self._lane_states),
            ),
            host=settings.health_host,
            port=settings.health_port,
        )

    def stop(self, number: int) -> None:
        """Ask all engines to drain and stop; `run` returns when they have. To be called in a signal handler."""
        self._woken_by.put(number)

    def run(self) -> int:
        """Serve until stopped; return the exit status: see `exits`."""
        # a server that is not there yet is examined when it is
        with contextlib.suppress(RpcError):
            self._entrance.examine()
        if self._refused:
            return exits.WRONG_SETTING
        self._health.start()
        threading.Thread(target=self._entrance.run, name="entrance", daemon=True).start()
        renewing = threading.Thread(target=self._leases.run, name="leases", daemon=True)
        renewing.start()
        for place in range(len(self._plan)):
            self._start(place)
        while self._engines or not self._stopping:
            self._wait()
            self._look()
        self._entrance.stop()
        self._leases.stop()
        renewing.join(2.0)
        self._health.stop()
        return self._status

    def _unfit(self, finding: Finding) -> None:
        """Refuse to serve on a server that loses jobs, unless the settings say otherwise."""
        self._refused = self._settings.server_check == "strict"
        if self._refused:
            log.error(
                "the server's %s is %s: %s; PENSTOCK_SERVER_CHECK=warn serves all the same",
                *(finding.what, finding.says, finding.advice),
            )

    def _start(self, place: int) -> None:
        spec = self._plan[place]
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        order = {
            "name": name,
            "supervisor": os.getpid(),
            "health": self._health.address,
            "settings": {**self._settings.model_dump(mode="json"), "models": spec.models},
            "redis": {**self._redis.model_dump(mode="json"), "url": self._redis.url.get_secret_value()},
        }
        stages = len(spec.models) * (STAGES_PER_MODEL + 2 * self._settings.prepare_threads)
        changed = partial(self._woken_by.put, ENGINE_CHANGED)
        self._admission.start(name)
        self._engines[place] = EngineProcess(spec, order, stages=stages, changed=changed)

    def _running(self) -> list[EngineProcess]:
        return list(self._engines.values())

    def _wait(self) -> None:
        """Wait until there is something to look at, or it is time to; hear a signal."""
        # a signal that the system hands to another thread is heard only when this one runs again
        with contextlib.suppress(queue.Empty):
            number = self._woken_by.get(timeout=LOOK_S)
            if number == ENGINE_CHANGED:
                return
            if self._stopping:
                # asked twice: leases lapse, other workers take over
                os._exit(128 + number)
            self._end(exits.STOPPED)

    @property
    def _stopping(self) -> bool:
        return self._end_at is not None

    def _end(self, status: int) -> None:
        """Have all engines drain and stop, to end with this status."""
        if not self._stopping:
            self._status = self._status or status
            self._end_at = time.monotonic() + self._settings.drain_grace_s + LEAVING_S
            for engine in self._running():
                engine.terminate()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > PAUSED_S:
            # this process was itself stopped, and its engines with it: they get their time anew
            self._awake_since = now
        self._looked_at = now
        if self._refused:
            self._end(exits.WRONG_SETTING)
        for place, engine in list(self._engines.items()):
            self._look_at(place, engine, now)
            if engine.ended() is not None:
                self._ended(place, engine, now)
        self._admit()
        for place, restarts in enumerate(self._restarts):
            if not self._stopping and restarts.due(now):
                self._start(place)

    def _admit(self) -> None:
        """Let engines load their models, where these fit into memory together."""
        for engine in self._running():
            demand = engine.take_demand()
            if demand is not None:
                self._admission.ask(engine.name, demand)
        answers = self._admission.answers()
        for engine in self._running():
            if engine.name in answers:
                engine.answer(answers[engine.name])

    def _look_at(self, place: int, engine: EngineProcess, now: float) -> None:
        """Make an engine that has become ready known as alive; kill one that hangs, or does not end."""
        if engine.ready and engine.name not in self._greeted:
            self._ready_once.add(place)
            self._greeted.add(engine.name)
            self._admission.finish(engine.name)
            self._leases.renew_now()
            self._check_names(place, engine)
        if not progressing(engine.stuck_since(self._awake_since), now, self._settings.hang_after_s):
            hang_after_s = self._settings.hang_after_s
            engine.kill(f"no progress for {hang_after_s:g} s", stuck_before=now - hang_after_s)
        elif self._end_at is not None and now > self._end_at:
            engine.kill("not ended in time")

    def _check_names(self, place: int, engine: EngineProcess) -> None:
        """End the worker if two of its engines serve a model of one name from different entries of `--models`."""
        for other, each in self._engines.items():
            twice = sorted(set(each.models) & set(engine.models))
            if twice and self._plan[other].models != self._plan[place].models:
                log.error("--models: %s is named twice, by %s and %s", twice[0], *map(self._label, (other, place)))
                self._end(exits.WRONG_SETTING)

    def _label(self, place: int) -> str:
        return self._plan[place].label

    def _ended(self, place: int, engine: EngineProcess, now: float) -> None:
        """Take leave of an engine that has ended, and decide what that means."""
        status = engine.ended()
        if status is None:
            raise AssertionError("unreachable")
        del self._engines[place]
        self._greeted.discard(engine.name)
        self._admission.finish(engine.name)
        how = engine.how_it_ended()
        if status != exits.STOPPED:
            blame = engine.blame()
            self._leases.bereaved(
                [Death(model, engine.name, how, blame.entries(model), blame.alone) for model in engine.models]
            )
        served = engine.stamps.served > 0
        engine.close()
        if self._stopping:
            return
        if status == exits.WRONG_SETTING:
            self._end(exits.WRONG_SETTING)
        elif status == exits.NOT_LOADED and place not in self._ready_once:
            self._end(exits.FAILED)
        elif not self._restarts[place].ended(now, served=served):
            self._give_up(place)
        else:
            log.warning("engine %s of %s ended (%s) and is replaced", engine.name, self._label(place), how)

    def _give_up(self, place: int) -> None:
        """Start no more engines in one place; the worker ends unless other models are served on."""
        self._given_up.add(place)
        self._status = exits.FAILED
        failures, label = self._settings.most_failures, self._label(place)
        if self._settings.engines == SHARED or len(self._given_up) == len(self._plan):
            log.error("%d engines in a row ended without serving a job; the worker gives up", failures)
            self._end(exits.FAILED)
        else:
            log.error("%d engines of %s in a row ended without serving a job; it is served no more", failures, label)

    def alive(self) -> bool:
        """Return whether this process does its work; an engine that is being replaced is part of it."""
        return not self._leases.late(time.monotonic())

    def ready(self) -> bool:
        """Return whether jobs are being taken on every device and Redis has heard of it lately."""
        engines = self._running()
        whole = len(engines) == len(self._plan) and all(engine.ready for engine in engines)
        return whole and not self._stopping and self._leases.fresh(time.monotonic())

    def state(self) -> dict[str, Any]:
        """Return what a person would want to know."""
        engines = self._running()
        return {
            "worker": ",".join(engine.name for engine in engines),
            "state": self._state(),
            "models": sorted({model for engine in engines for model in engine.models}),
            "engines": [state.as_json() for state in self._states()],
            "restarts": sum(restarts.count for restarts in self._restarts),
            "uptime_s": round(time.time() - self._started, 1),
        }

    def _states(self) -> list[EngineState]:
        running = dict(self._engines)
        return [
            EngineState(spec, running.get(place), self._restarts[place].count, place in self._given_up)
            for place, spec in enumerate(self._plan)
        ]

    def _state(self) -> str:
        if self._stopping:
            return "draining"
        return "ready" if self.ready() else "loading" if not self._ready_once else "not ready"

    def _texts(self) -> Mapping[str, str]:
        return {engine.name: engine.metrics() for engine in self._running() if engine.models}

    def _lane_states(self) -> Iterator[ModelState]:
        for model in sorted({model for engine in self._running() for model in engine.models}):
            try:
                yield self._scrape.run(model_state(self._redis.prefix, model))
            except RpcError:
                return
