"""What an engine is doing, in memory it shares with its supervisor: read there even if the engine is stuck or dead.

Times are of the monotonic clock, which is one for all processes of a machine.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from rpc.deliveries import Place
from rpc.keys import LANES

HEAD = struct.Struct("dQ")
"""When the engine last got round to it, and how many jobs it has served."""

SLOT = struct.Struct("di128s")
"""Since when a stage is at something (0: it is not), the length of the list of entries, the model."""

LIST_BYTES = 16_384
STRIDE = SLOT.size + LIST_BYTES

UNKNOWN = -1
"""Length of a list that is being written, or that was too long."""

INITIALS = {lane[0]: lane for lane in LANES}


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage of an engine is at.

    Attributes:
        model: whose stage it is.
        since: when it began.
        entries: the entries it works on; None if it did not get to say.
    """

    model: str
    since: float
    entries: frozenset[Place] | None


class Stamps:
    """The shared memory: made by the supervisor, attached to by the engine through an inherited descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._count = (len(self._memory) - HEAD.size) // STRIDE
        self._taken = 0
        self._served = 0

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make room for so many stages."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("penstock-stamps", os.MFD_CLOEXEC)
        else:
            descriptor, name = tempfile.mkstemp(prefix="penstock-stamps-")
            os.unlink(name)  # noqa: PTH108 (a name, not a Path, is what mkstemp gives)
        os.ftruncate(descriptor, HEAD.size + slots * STRIDE)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def tick(self, now: float) -> None:
        """Say that the engine gets round to saying so."""
        HEAD.pack_into(self._memory, 0, now, self._served)

    def serve(self, jobs: int) -> None:
        """Say that so many more jobs were served."""
        self._served += jobs
        HEAD.pack_into(self._memory, 0, self.ticked_at, self._served)

    @property
    def ticked_at(self) -> float:
        """When the engine last said it runs; 0 if it never did."""
        return float(HEAD.unpack_from(self._memory, 0)[0])

    @property
    def served(self) -> int:
        """How many jobs the engine has served."""
        return int(HEAD.unpack_from(self._memory, 0)[1])

    def stage(self, model: str) -> "Stage":
        """Return the place where one stage of a model says what it is at."""
        if self._taken == self._count:
            raise AssertionError("more stages than the supervisor made room for")
        self._taken += 1
        return Stage(self._memory, HEAD.size + (self._taken - 1) * STRIDE, model)

    def works(self) -> list[Work]:
        """Return what the stages are at, or were when the engine died."""
        found = (self._work(HEAD.size + number * STRIDE) for number in range(self._count))
        return [work for work in found if work.since]

    def _work(self, start: int) -> Work:
        since, length, model = SLOT.unpack_from(self._memory, start)
        first = start + SLOT.size
        listed = None if length == UNKNOWN else self._memory[first : first + length].decode("ascii").split()
        entries = None if listed is None else frozenset((INITIALS[each[0]], each[1:]) for each in listed)
        return Work(model.rstrip(b"\0").decode(), since, entries)

    def stuck_since(self) -> float | None:
        """Return since when the engine has made no progress as far as it tells; None before it first ticked.

        A stage that is at something, and an engine that does not get round to ticking, are as stuck as they are old.
        """
        ticked_at = self.ticked_at
        return min([ticked_at, *(work.since for work in self.works())]) if ticked_at else None


class Stage:
    """One thread's notes of what it is at."""

    def __init__(self, memory: mmap.mmap, start: int, model: str) -> None:
        self._memory = memory
        self._start = start
        self._model = model.encode()

    def begin(self, places: Iterable[Place], now: float) -> None:
        """Say that work on these entries begins."""
        listed = " ".join([lane[0] + entry for lane, entry in places]).encode()
        # an engine that dies half-way through leaves "unknown", never half a list
        SLOT.pack_into(self._memory, self._start, now, UNKNOWN, self._model)
        if len(listed) <= LIST_BYTES:
            first = self._start + SLOT.size
            self._memory[first : first + len(listed)] = listed
            SLOT.pack_into(self._memory, self._start, now, len(listed), self._model)

    def go_on(self, now: float) -> None:
        """Say that a part of the work is done and the next one begins."""
        struct.pack_into("d", self._memory, self._start, now)

    def end(self) -> None:
        """Say that the work is done."""
        struct.pack_into("d", self._memory, self._start, 0.0)
