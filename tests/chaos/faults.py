"""What goes wrong in a run, one thing after another, drawn by chance from a seed."""

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable

import psutil

from rpc.scripts import SCRIPTS
from tests.chaos.crew import Crew
from tests.chaos.crowd import Crowd
from tests.chaos.history import History
from tests.chaos.stage import Stage

EVERY_S = (0.9, 1.9)
LAST_S = 1.0
FROZEN_S, SERVER_FROZEN_S, SILENT_S = 3.5, 1.5, 0.8
SLOW_S, FULL_S = 1.5, 1.5


CUT_WITHIN_BYTES = {"script": 40, "replies": 150_000}
"""A reply is cut after fewer bytes: that of a script, and those of several results fetched at once."""

STEP_S = (2.5, 6.0)
"""How far the servers' clock steps, forth or back: more than a lease."""

MAX_OFFSET_S = 9.0

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
    "cut_script_reply": 3,
    "cut_fetch": 3,
    "black_hole": 2,
    "slow_subscribers": 1,
    "switch_master": 2,
    "fill_disk": 1,
    "step_clock": 2,
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

    def __init__(self, history: History, seed: int, *, stage: Stage, crew: Crew, crowd: Crowd) -> None:
        self._history = history
        self._chance = random.Random(f"{seed}:faults")
        self._stage = stage
        self._server = stage.server
        self._clock = stage.clock
        self._crew = crew
        self._crowd = crowd
        self._callers_proxy, self._worker_proxy = stage.ways.callers, stage.ways.worker
        self._pause = threading.Event()
        self._thawing: list[threading.Timer] = []

    def run(self, seconds: float) -> None:
        """Break things for so long, and mend all that does not mend itself."""
        began = time.monotonic()
        deck, poisons = Deck(self._chance), poison_moments(self._chance, seconds)
        while (passed := time.monotonic() - began) < seconds:
            if poisons and poisons[0] <= passed:
                # one at a time: a fault that took long lets several fall due
                poisons.pop(0)
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
        self._set_clock(0.0)
        self._history.tell("calm")

    def _strike(self, name: str) -> None:
        berth = self._chance.choice(self._crew.berths)
        script = self._chance.choice(LOSABLE)
        hands: dict[str, Callable[[], object]] = {
            "kill_worker": berth.kill,
            "terminate_worker": berth.terminate,
            "freeze_worker": lambda: self._freeze(berth.processes()),
            "kill_engine": lambda: _signal(berth.engines()[:1], signal.SIGKILL),
            "freeze_engine": lambda: self._freeze(berth.engines()[:1]),
            "kill_server": self._server.master.restart,
            "freeze_server": self._freeze_server,
            "lose_read": lambda: self._worker_proxy.lose_reply_to(b"XREADGROUP"),
            "lose_script": lambda: self._lose(script),
            "silence": self._silence,
            "flush_scripts": lambda: self._server.tell("SCRIPT", "FLUSH"),
            "cut_commands": lambda: self._server.tell("CLIENT", "KILL", "TYPE", "normal"),
            "cut_listeners": lambda: self._server.tell("CLIENT", "KILL", "TYPE", "pubsub"),
            "cut_script_reply": lambda: self._cut(script),
            "cut_fetch": self._cut_fetch,
            "black_hole": self._swallow,
            "slow_subscribers": self._slow_subscribers,
            "switch_master": self._switch,
            "fill_disk": self._fill_disk,
            "step_clock": self._step_clock,
        }
        aimed_at = {"berth": berth.number} if name.endswith(("_worker", "_engine")) else {}
        self._history.tell("fault", kind=name, **aimed_at, **({"script": script} if "script" in name else {}))
        hands[name]()

    def _freeze(self, processes: list[psutil.Process]) -> None:
        _signal(processes, signal.SIGSTOP)
        timer = threading.Timer(FROZEN_S, _signal, (processes, signal.SIGCONT))
        timer.start()
        self._thawing.append(timer)

    def _freeze_server(self) -> None:
        server = psutil.Process(self._server.master.pid)
        server.suspend()
        try:
            self._pause.wait(SERVER_FROZEN_S)
        finally:
            server.resume()

    def _lose(self, script: str) -> None:
        proxy = self._callers_proxy if script in OF_CALLERS else self._worker_proxy
        proxy.lose_reply_to(SCRIPTS[script].sha.encode())

    def _cut(self, script: str) -> None:
        proxy = self._callers_proxy if script in OF_CALLERS else self._worker_proxy
        after_bytes = self._chance.randrange(1, CUT_WITHIN_BYTES["script"])
        proxy.cut_reply_to(SCRIPTS[script].sha.encode(), after_bytes=after_bytes)

    def _cut_fetch(self) -> None:
        after_bytes = self._chance.randrange(1, CUT_WITHIN_BYTES["replies"])
        self._callers_proxy.cut_reply_to(b"MGET", after_bytes=after_bytes)

    def _swallow(self) -> None:
        for proxy in (self._callers_proxy, self._worker_proxy, self._stage.ways.steady):
            proxy.swallow()

    def _slow_subscribers(self) -> None:
        with self._callers_proxy.slow_subscribers():
            self._server.flood(f"{self._stage.prefix}:reply:*")
            self._pause.wait(SLOW_S)

    def _switch(self) -> None:
        self._history.tell("switched", done=self._server.switch())

    def _fill_disk(self) -> None:
        with self._server.full_disk():
            self._pause.wait(FULL_S)

    def _step_clock(self) -> None:
        step_s = self._chance.uniform(*STEP_S)
        ahead = self._clock.offset_s + step_s
        self._set_clock(ahead if ahead <= MAX_OFFSET_S else self._clock.offset_s - 2 * step_s)

    def _set_clock(self, offset_s: float) -> None:
        if self._clock.available:
            by_s = offset_s - self._clock.offset_s
            self._clock.set(offset_s)
            self._history.tell("clock_stepped", by_s=round(by_s, 3))

    def _silence(self) -> None:
        with self._callers_proxy.silent(), self._worker_proxy.silent():
            self._pause.wait(SILENT_S)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
