"""Models that go wrong as devices and libraries do: `--models tests.faulty:Wedges`.

What they note lies in a directory that the environment names.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference_worker.models.base import Model, Outcome, Unit

DIRECTORY = "FAULTY_DIRECTORY"

HELD_S = 3
"""How long the GIL is held: whole seconds, as sleep(3) takes them, and more than the 2.5 an issue names."""


PASS_S = 0.1
"""How long a slow pass takes."""


def noted(name: str) -> int:
    """Note that something happens, in any process; return how often it has happened before."""
    path = Path(os.environ[DIRECTORY]) / name
    with path.open("a", encoding="ascii") as notes:
        notes.write(".")
    return path.stat().st_size - 1


class HoldsGil(Model):
    """op `hold`: gives its inputs back; over "hold" it sits in C code that lets no other thread run."""

    name = "holds-gil"
    ops = ("hold",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, after a while without the GIL if one says so."""
        if any(unit.data == "hold" for unit in units):
            noted("held")
            # PyDLL, unlike CDLL, keeps the GIL while the function runs
            ctypes.PyDLL(None).sleep(HELD_S)
        return [unit.data for unit in units]


class Wedges(Model):
    """op `wedge`: gives its inputs back; over "wedge" it never comes back, over "once" only the first time."""

    name = "wedges"
    ops = ("wedge",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or nothing for ever."""
        wanted = {unit.data for unit in units}
        if "wedge" in wanted or ("once" in wanted and noted("once") == 0):
            threading.Event().wait()
        return [unit.data for unit in units]


class Slow(Model):
    """op `take`: gives its inputs back, one in each pass, which takes a moment; as a long job does, it starts anew."""

    name = "slow"
    ops = ("take",)
    budget = 1
    overhead = 0

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        threading.Event().wait(PASS_S)
        return [unit.data for unit in units]


class Slower(Slow):
    """The same, of another model."""

    name = "slower"


class Poisoned(Model):
    """op `swallow`: gives its inputs back; "engine" ends its process, "worker" its supervisor with it."""

    name = "poisoned"
    ops = ("swallow",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or end as the kernel ends a process, or a container, that has no memory left."""
        for unit in units:
            if unit.data in {"engine", "worker"}:
                noted(unit.data)
                os.kill(os.getppid() if unit.data == "worker" else os.getpid(), signal.SIGKILL)
                # the supervisor's end is ours, a moment later
                threading.Event().wait()
        return [unit.data for unit in units]


class PoisonedInPrepare(Poisoned):
    """The same while an input is decoded."""

    name = "poisoned-in-prepare"

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the input, or end."""
        return [Unit(super(PoisonedInPrepare, self).infer([unit])[0]) for unit in super().prepare(op, given, options)]


class Creeps(Slow):
    """op `take`: a long job of one input, whose process ends at every second unit; units that are done are kept."""

    name = "creeps"
    resumable = True

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the words of a text."""
        del op, options
        return [Unit(word) for word in str(given).split()]

    def load(self) -> None:
        """Have run nothing yet."""
        self._passes = 0

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the words, or end the process."""
        self._passes += 1
        if self._passes == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return [unit.data for unit in units]


class DiesInFinish(Model):
    """op `finish`: the process dies between the pass and the reply, the first time it is asked to."""

    name = "dies-in-finish"
    ops = ("finish",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        noted("passes")
        return [unit.data for unit in units]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return the outputs, if the process lives."""
        if noted("finishes") == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().finish(op, outcomes)


class RunsOut(Model):
    """op `fill`: a pass of more than two units has no memory; nor has one that holds "large", or "later" at first."""

    name = "runs-out"
    ops = ("fill",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or fail as PyTorch does."""
        wanted = {unit.data for unit in units}
        if len(units) > 2 or "large" in wanted or ("later" in wanted and noted("later") == 0):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return [unit.data for unit in units]


class LosesDevice(Model):
    """op `use`: after "break" the device fails whatever is asked of this process, as after an assertion on a GPU."""

    name = "loses-device"
    ops = ("use",)

    def load(self) -> None:
        """Have a device."""
        self._broken = False

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or fail as CUDA does."""
        if any(unit.data == "break" for unit in units) and noted("breaks") == 0:
            self._broken = True
        if self._broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [unit.data for unit in units]


class AlwaysFails(Model):
    """op `fail`: fails every job, but for those that say "work"."""

    name = "always-fails"
    ops = ("fail",)

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs, or raise."""
        if any(unit.data != "work" for unit in units):
            raise RuntimeError("no luck")
        return [unit.data for unit in units]
