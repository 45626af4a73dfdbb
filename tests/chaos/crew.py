"""The workers of a run: started by the command, started again whenever they end, killed and frozen as it is told."""

import contextlib
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Self

import psutil

from rpc import RedisSettings
from tests.chaos.history import History
from tests.chaos.ledger import SPECS
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

LOOK_S = 0.1
PIPE_S = 1.0
LINES_KEPT = 200
"""How many of the last lines that a worker said are kept in the history."""

GONE_S = 10.0


class Berth:
    """The place of one worker, which is filled again whenever the worker has ended."""

    def __init__(self, number: int, settings: RedisSettings, environment: Mapping[str, str], history: History) -> None:
        self.number = number
        self.ends: list[int] = []
        self._settings = settings
        self._environment = environment
        self._history = history
        self._ever: dict[int, psutil.Process] = {}
        self._worker = self._start()

    def _start(self) -> WorkerProcess:
        worker = WorkerProcess(SPECS, self._settings, self._environment)
        self._history.tell("worker_started", berth=self.number, pid=worker.pid)
        return worker

    @property
    def pid(self) -> int:
        """The process that was started: the worker itself, or what supervises its engine."""
        return self._worker.pid

    @property
    def log(self) -> str:
        """What the present worker has said."""
        return self._worker.log

    def fill(self) -> None:
        """Start another worker if the last one has ended."""
        if self._worker.running:
            return
        # what outlives it may hold its pipe open
        status = self._worker.wait(within_s=PIPE_S)
        self.ends.append(status)
        self._history.tell("worker_ended", berth=self.number, pid=self.pid, status=status, log=self._said())
        self._worker = self._start()

    def _said(self) -> list[str]:
        return self.log.splitlines()[-LINES_KEPT:]

    def wait_until_ready(self) -> None:
        """Return once its worker takes jobs."""
        self._worker.wait_until_ready()

    def processes(self) -> list[psutil.Process]:
        """Return the processes of its worker, the one that was started first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.pid)
            found = [main, *main.children(recursive=True)]
            for process in found:
                if process.pid not in self._ever:
                    self._history.tell("process", berth=self.number, of=self.pid, pid=process.pid)
            self._ever |= {process.pid: process for process in found}
            return found
        return []

    def engines(self) -> list[psutil.Process]:
        """Return the children of what was started, or that itself if it has none."""
        found = self.processes()
        return found[1:] or found

    def terminate(self) -> None:
        """Ask the worker to drain and stop."""
        self._worker.terminate()

    def kill(self) -> None:
        """End the process that was started, and nothing else: what it started has to notice."""
        self.processes()
        self._worker.signal(signal.SIGKILL)

    def strays(self) -> list[int]:
        """Return processes that outlived the worker that started them."""
        present = {process.pid for process in self.processes()}
        return [pid for pid, process in list(self._ever.items()) if pid not in present and _lives(process)]

    def close(self) -> None:
        """End whatever runs."""
        self.processes()
        for process in self._ever.values():
            if _lives(process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._worker.close()
        self._history.tell("worker_closed", berth=self.number, pid=self.pid, log=self._said())


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


class Crew:
    """All berths, and the thread that keeps them filled."""

    def __init__(self, ways: Sequence[RedisSettings], environment: Mapping[str, str], history: History) -> None:
        self.berths = [Berth(number, way, environment, history) for number, way in enumerate(ways)]
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        """Wait until every worker takes jobs, and keep them running from then on."""
        try:
            for berth in self.berths:
                berth.wait_until_ready()
        except BaseException:
            self._close()
            raise
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers."""
        self._stopping.set()
        self._keeper.join(LONG_S)
        self._close()

    def _close(self) -> None:
        for berth in self.berths:
            berth.close()

    def _keep(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for berth in self.berths:
                berth.processes()
                berth.fill()

    def whole(self) -> bool:
        """Return whether every worker takes jobs."""
        return all("ready:" in berth.log for berth in self.berths)

    def strays(self) -> list[int]:
        """Return processes that outlived the worker that started them, after they had time to notice."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._strays(), within_s=GONE_S)
        return self._strays()

    def _strays(self) -> list[int]:
        return [pid for berth in self.berths for pid in berth.strays()]
