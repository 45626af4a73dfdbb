"""Models for tests, served as users serve their own: `--models tests.models:Upper`."""

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference_worker.models.base import InvalidInput, Model, Outcome, Unit, failed_inputs

GATE_S = 60.0
"""How long a gate stays closed at most, so that no test can hang on one."""


class Upper(Model):
    """op `upper`: texts in capitals; has a cost per letter and groups by option, as real models do."""

    name = "upper"
    ops = ("upper",)
    partial = True

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the text as one unit; refuse what is no text."""
        del op
        if not isinstance(given, str):
            raise InvalidInput(f"the input is of type {type(given).__name__}, not a text")
        return [Unit(given, cost=max(1, len(given)), group=options.get("group"))]

    def infer(self, units: Sequence[Unit]) -> Sequence[str]:
        """Return the texts in capitals."""
        return [unit.data.upper() for unit in units]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return the texts, None where one failed, and the codes of the failures."""
        del op
        texts = [None if isinstance(outcome, Exception) else outcome[0] for outcome in outcomes]
        return {"texts": texts, "failed": [o.code for o in outcomes if isinstance(o, Exception)]}


class Raises(Model):
    """op `check`: gives its inputs back; a pass that holds a text with "bad" in it fails as a whole."""

    name = "raises"
    ops = ("check",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or raise."""
        if any("bad" in unit.data for unit in units):
            raise ValueError("bad unit")
        return [unit.data for unit in units]


class Gate(Model):
    """op `pass`: each input is a path; its pass begins with a line in `journal` beside it and ends once it exists.

    So a test holds a job in the middle of its pass for as long as it likes, and reads what ran, and in what order.
    """

    name = "gate"
    ops = ("pass",)
    budget = 1
    overhead = 0

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the paths once they all exist."""
        for unit in units:
            path = Path(unit.data)
            with (path.parent / "journal").open("a", encoding="utf-8") as journal:
                journal.write(f"{path.name}\n")
        end = time.monotonic() + GATE_S
        pause = threading.Event()
        while not all(Path(unit.data).exists() for unit in units):
            if time.monotonic() > end:
                raise TimeoutError("the gate was never opened")
            pause.wait(0.01)
        return [unit.data for unit in units]


class WideGate(Gate):
    """The same, with many units in one pass."""

    name = "wide-gate"
    budget = 64


class Journal(Model):
    """op `note`: each input is a path; running it takes a moment, and leaves a line in `journal` beside it."""

    name = "journal"
    ops = ("note",)
    budget = 4
    overhead = 0

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the names of the paths."""
        for unit in units:
            path = Path(unit.data)
            # in one write, so that lines of several processes do not mix
            with (path.parent / "journal").open("ab", buffering=0) as journal:
                journal.write(f"{path.name}\n".encode())
            threading.Event().wait(0.004)
        return [Path(unit.data).name for unit in units]


class Dies(Model):
    """op `live`: gives its inputs back; a pass that holds "die" ends the process."""

    name = "dies"
    ops = ("live",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or end the process as the kernel ends one that has no memory left."""
        if any(unit.data == "die" for unit in units):
            os.kill(os.getpid(), signal.SIGKILL)
        return [unit.data for unit in units]


class WrongLength(Model):
    """op `count`: gives one output too few whenever a pass holds "short"."""

    name = "wrong-length"
    ops = ("count",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or one less."""
        short = any(unit.data == "short" for unit in units)
        return [unit.data for unit in units][: len(units) - short]


class BadPrepare(Model):
    """op `prepare`: refuses "refuse" as a model should, and trips over "trip" as one should not."""

    name = "bad-prepare"
    ops = ("prepare",)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return one unit, or raise one of two ways."""
        del op, options
        if given == "refuse":
            raise InvalidInput("refused")
        if given == "trip":
            raise RuntimeError("tripped")
        return [Unit(given)]

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]


class BadFinish(Model):
    """op `finish`: trips in `finish` over "trip", and over "unsendable" gives what has no form on the wire."""

    name = "bad-finish"
    ops = ("finish",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return the outputs, or fail one of two ways."""
        result = super().finish(op, outcomes)
        if "trip" in result["outputs"]:
            raise RuntimeError("tripped")
        if "unsendable" in result["outputs"]:
            return {"outputs": [object()]}
        return result


class Panics(Model):
    """op `panic`: the pass raises what no stage outlives."""

    name = "panics"
    ops = ("panic",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Raise."""
        raise SystemExit(f"{len(units)} units of panic")


class Gives(Model):
    """op `give`: gives its inputs back, as `echo` does, but is not run where jobs are read."""

    name = "gives"
    ops = ("give",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]


class PanicsPreparing(Gives):
    """op `give`: preparing raises what no thread outlives."""

    name = "panics-preparing"

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Raise."""
        del op, options
        raise SystemExit(f"panic over {given}")


class CannotLoad(Model):
    """A model whose weights are not there."""

    name = "cannot-load"
    ops = ("never",)

    def load(self) -> None:
        """Raise as a missing file does."""
        raise FileNotFoundError("no weights here")

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Never run."""
        raise AssertionError(f"not loaded, and asked for {len(units)} units")


class Huge(Model):
    """A model that says it needs more memory than any machine has, and must never be loaded."""

    name = "huge"
    ops = ("never",)

    def needs(self) -> int:
        """Return a million gigabytes."""
        return 10**15

    def load(self) -> None:
        """Fail the test."""
        raise AssertionError("loaded although it does not fit")

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Never run."""
        raise AssertionError(f"never loaded, and asked for {len(units)} units")


class CannotWarmUp(Model):
    """A model that loads and then gives no answer."""

    name = "cannot-warm-up"
    ops = ("never",)

    def warm_up(self) -> None:
        """Raise as a model does whose test input comes out wrong."""
        raise ValueError("a test input gave no answer")

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Never run."""
        raise AssertionError(f"not warm, and asked for {len(units)} units")


class Text(Upper):
    """op `text`: the same of texts that come as bytes too."""

    name = "text"
    ops = ("text",)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the text as one unit."""
        return super().prepare(op, given.decode() if isinstance(given, bytes) else given, options)

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return the texts, None where one failed, and the failures."""
        return {**super().finish(op, outcomes), "failed": failed_inputs(outcomes)}
