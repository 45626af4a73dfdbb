"""An engine as its supervisor sees it: a process, a line to it, and what it says in shared memory."""

import contextlib
import logging
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inference_worker import exits
from inference_worker.engine_plan import EngineSpec
from inference_worker.link import Gone, Link
from inference_worker.memory_demand import Demand
from inference_worker.stamps import Stamps
from inference_worker.supervisor.blame import NOBODY, Blame, blame

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "inference_worker", "engine")

METRICS_S = 1.0
"""How long an engine may take to tell its metrics; a busy library may let it take longer."""


class EngineProcess:
    """One engine, from its start to its end. To be started by the thread that lives longest: it dies with that.

    `changed` is called, in another thread, when it has become ready and when it has ended.
    """

    def __init__(
        self, spec: EngineSpec, order: Mapping[str, Any], *, stages: int, changed: Callable[[], object]
    ) -> None:
        self.name = str(order["name"])
        self.device = spec.device
        self.demand: Demand | None = None
        self.models: Sequence[str] = ()
        self.ready = False
        self.killed_for = ""
        self._stuck_before: float | None = None
        self.stamps = Stamps.create(stages)
        self._changed = changed
        self._link, far = Link.pair()
        self._metrics: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last_metrics = ""
        self._asking = threading.Lock()
        descriptors = (far.descriptor, self.stamps.descriptor)
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [*COMMAND, *map(str, descriptors)], pass_fds=descriptors, stdin=subprocess.DEVNULL
        )
        far.close()
        self._listener = threading.Thread(target=self._listen, name=f"engine-{spec.device}", daemon=True)
        self._link.say("order", {**order, "device": spec.device, "elsewhere": spec.elsewhere})
        self._listener.start()

    def __repr__(self) -> str:
        """Return its name and pid."""
        return f"<EngineProcess {self.name} pid {self.pid}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _listen(self) -> None:
        try:
            while True:
                what, content = self._link.hear()
                if what == "ready":
                    self.models, self.ready = content, True
                    self._changed()
                    log.info("ready: %s serves %s", self.name, ", ".join(content))
                elif what == "demand":
                    self.demand = Demand.from_json(content)
                    self._changed()
                else:
                    self._metrics.put(content)
        except Gone:
            self.ready = False
            # a process lets go of its line a moment before it has ended
            self._process.wait()
            self._changed()

    def take_demand(self) -> Demand | None:
        """Return what its models take, each time it has said so once; it waits for `answer` then."""
        demand, self.demand = self.demand, None
        return demand

    def answer(self, admission: str) -> None:
        """Tell it whether its models may be loaded: see `memory_demand`."""
        with contextlib.suppress(Gone):
            self._link.say("load", admission)

    def metrics(self) -> str:
        """Return its metrics as text: the last it told, if it does not get round to telling them now."""
        with self._asking:
            while not self._metrics.empty():
                self._last_metrics = self._metrics.get()
            try:
                self._link.say("metrics")
                self._last_metrics = self._metrics.get(timeout=METRICS_S)
            except (Gone, queue.Empty):
                pass
            return self._last_metrics

    def stuck_since(self, at_least: float = 0.0) -> float | None:
        """Return since when it has made no progress, from some time on; None while it loads; 0 once it has ended."""
        try:
            since = self.stamps.stuck_since()
        except ValueError:
            # another thread has let go of the memory
            return 0.0
        return None if since is None else max(since, at_least)

    def blame(self) -> Blame:
        """Return which jobs may have ended it, once it has ended."""
        if self.ended() == exits.BEYOND_USE:
            return NOBODY
        return blame(self.stamps.works(), stuck_before=self._stuck_before)

    def ended(self) -> int | None:
        """Return its exit status if it has ended, negative if a signal ended it; else None."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self._process.terminate()

    def kill(self, why: str, *, stuck_before: float | None = None) -> None:
        """End it at once; with `stuck_before` because work that had begun by then makes no progress."""
        if not self.killed_for:
            log.error("%s is killed: %s", self.name, why)
            self.killed_for = why
            self._stuck_before = stuck_before
            self._process.kill()

    def how_it_ended(self) -> str:
        """Return in words how it ended: why it was killed, a signal's name, or its exit status."""
        return self.killed_for or _told(self._process.returncode)

    def close(self) -> None:
        """Let go of what it left behind, once it has ended."""
        self._listener.join(METRICS_S)
        self._link.close()
        self.stamps.close()


def _told(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
