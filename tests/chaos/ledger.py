"""The models of a chaos run, served by the workers as users serve theirs: `--models tests.chaos.ledger:Ledger`."""

import os
import signal
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_worker.models.base import Model, Runtime, Unit
from tests.chaos.cargo import Cargo, answer
from tests.chaos.history import History, Silence

SPECS = ("tests.chaos.ledger:Ledger", "tests.chaos.ledger:Chronicle")
LEDGER, CHRONICLE = "ledger", "chronicle"
MODELS = (LEDGER, CHRONICLE)
OP = "enter"

PATH = "CHAOS_HISTORY"
"""The environment variable that tells a worker where the history is; without it none is written."""

PASS_S, LONG_PASS_S = 0.012, 0.05
EXIT_STATUS = 70


class Ledger(Model):
    """op `enter`: gives for each input its answer and the name of this one execution, which no other one has.

    So two executions of a job are told apart by their replies, although both are right.
    """

    name = LEDGER
    ops = (OP,)
    budget = 16
    pass_s = PASS_S

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._pause = threading.Event()
        self._history: History = Silence()

    def load(self) -> None:
        """Open the history, if there is one."""
        path = os.environ.get(PATH)
        if path:
            self._history = History(Path(path))

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return answers and names of executions; fail or die over inputs that ask for it."""
        cargoes = [Cargo.of(unit.data) for unit in units]
        if any(cargo.mood == "trips" for cargo in cargoes):
            raise ValueError("an input that trips")
        runs = [uuid.uuid4().hex[:16] for _ in units]
        for cargo, run in zip(cargoes, runs, strict=True):
            self._history.tell("executed", job=cargo.job, index=cargo.index, run=run, pid=os.getpid())
        self._pause.wait(self.pass_s)
        for cargo in cargoes:
            if cargo.mood == "kills":
                _die(cargo)
        return [[answer(unit.data), run] for unit, run in zip(units, runs, strict=True)]


class Chronicle(Ledger):
    """The same with slow passes of few inputs, whose outputs are kept: its jobs run for long beside those that kill."""

    name = CHRONICLE
    budget = 4
    resumable = True
    pass_s = LONG_PASS_S


def _die(cargo: Cargo) -> None:
    """End the process in one of two ways, always the same for the same job."""
    if sum(cargo.job.encode()) % 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(EXIT_STATUS)
