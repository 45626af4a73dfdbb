"""What goes wrong in a run, one thing after another, drawn by chance from a seed."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable

import psutil
from redis import Redis
from redis.exceptions import RedisError

from rpc.scripts import SCRIPTS
from tests.chaos.crew import Crew
from tests.chaos.crowd import Crowd
from tests.chaos.history import History
from tests.proxy import Proxy
from tests.servers import Server

EVERY_S = (0.9, 1.9)
LAST_S = 1.0
FROZEN_S, SERVER_FROZEN_S, SILENT_S = 3.5, 1.5, 0.8

POISONS_A_MINUTE = (3, 6)

OF_CALLERS, OF_OPERATORS = frozenset({"submit", "cancel"}), frozenset({"redrive"})
LOSABLE = sorted(SCRIPTS.keys() - OF_OPERATORS)
"""Scripts whose replies get lost: those of callers, and all that workers run."""

SHARES = {
    "kill_worker": 3,
    "terminate_worker": 3,
    "freeze_worker": 2,
    "kill_engine": 2,
    "freeze_engine": 1,
    "kill_server": 2,
    "freeze_server": 2,
    "lose_read": 3,
    "lose_script": 4,
    "silence": 2,
    "flush_scripts": 2,
    "cut_commands": 2,
    "cut_listeners": 1,
}
"""How often each fault lies in the deck; no fault comes again before the deck is through."""


class Deck:
    """Faults in an order of chance, each as often as its share says."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._left: list[str] = []

    def draw(self) -> str:
        """Return the next fault."""
        if not self._left:
            self._left = [name for name, share in SHARES.items() for _ in range(share)]
            self._chance.shuffle(self._left)
        return self._left.pop()


def poison_moments(chance: random.Random, seconds: float) -> list[float]:
    """Return when poison is sent, in seconds from the beginning, early enough to be buried while things go wrong."""
    count = max(1, round(chance.randint(*POISONS_A_MINUTE) * seconds / 60.0))
    return sorted(chance.uniform(0.0, 0.9 * seconds) for _ in range(count))


class Faults:
    """The clock that breaks things, and the hands that do it."""

    def __init__(
        self, history: History, seed: int, *, server: Server, crew: Crew, crowd: Crowd, entrances: tuple[Proxy, Proxy]
    ) -> None:
        self._history = history
        self._chance = random.Random(f"{seed}:faults")
        self._server = server
        self._crew = crew
        self._crowd = crowd
        self._callers_proxy, self._worker_proxy = entrances
        self._pause = threading.Event()
        self._thawing: list[threading.Timer] = []

    def run(self, seconds: float) -> None:
        """Break things for so long, and mend all that does not mend itself."""
        began = time.monotonic()
        deck, poisons = Deck(self._chance), poison_moments(self._chance, seconds)
        while (passed := time.monotonic() - began) < seconds:
            for _ in self._due(poisons, passed):
                self._history.tell("fault", kind="poison")
                self._crowd.poison()
            self._strike(deck.draw())
            self._pause.wait(self._chance.uniform(*EVERY_S))
        for timer in self._thawing:
            timer.join()
        # no kill comes after it: only the worker itself can find again what it never saw
        self._strike("lose_read")
        self._pause.wait(LAST_S)
        for proxy in (self._callers_proxy, self._worker_proxy):
            proxy.lose_no_more()
        self._history.tell("calm")

    @staticmethod
    def _due(moments: list[float], passed: float) -> Iterable[float]:
        while moments and moments[0] <= passed:
            yield moments.pop(0)

    def _strike(self, name: str) -> None:
        berth = self._chance.choice(self._crew.berths)
        script = self._chance.choice(LOSABLE)
        hands: dict[str, Callable[[], object]] = {
            "kill_worker": berth.kill,
            "terminate_worker": berth.terminate,
            "freeze_worker": lambda: self._freeze(berth.processes()),
            "kill_engine": lambda: _signal(berth.engines()[:1], signal.SIGKILL),
            "freeze_engine": lambda: self._freeze(berth.engines()[:1]),
            "kill_server": self._server.restart,
            "freeze_server": self._freeze_server,
            "lose_read": lambda: self._worker_proxy.lose_reply_to(b"XREADGROUP"),
            "lose_script": lambda: self._lose(script),
            "silence": self._silence,
            "flush_scripts": lambda: self._tell_server("SCRIPT", "FLUSH"),
            "cut_commands": lambda: self._tell_server("CLIENT", "KILL", "TYPE", "normal"),
            "cut_listeners": lambda: self._tell_server("CLIENT", "KILL", "TYPE", "pubsub"),
        }
        aimed_at = {"berth": berth.number} if name.endswith(("_worker", "_engine")) else {}
        self._history.tell("fault", kind=name, **aimed_at, **({"script": script} if name == "lose_script" else {}))
        hands[name]()

    def _freeze(self, processes: list[psutil.Process]) -> None:
        _signal(processes, signal.SIGSTOP)
        timer = threading.Timer(FROZEN_S, _signal, (processes, signal.SIGCONT))
        timer.start()
        self._thawing.append(timer)

    def _freeze_server(self) -> None:
        server = psutil.Process(self._server.pid)
        server.suspend()
        try:
            self._pause.wait(SERVER_FROZEN_S)
        finally:
            server.resume()

    def _lose(self, script: str) -> None:
        proxy = self._callers_proxy if script in OF_CALLERS else self._worker_proxy
        proxy.lose_reply_to(SCRIPTS[script].sha.encode())

    def _silence(self) -> None:
        with self._callers_proxy.silent(), self._worker_proxy.silent():
            self._pause.wait(SILENT_S)

    def _tell_server(self, *command: str) -> None:
        # the connection that says it may be among those it cuts
        with Redis.from_url(self._server.url, protocol=2, socket_timeout=2.0) as redis, contextlib.suppress(RedisError):
            redis.execute_command(*command)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
