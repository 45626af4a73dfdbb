"""What an engine is doing, in memory it shares with its supervisor: read there even if the engine is stuck or dead.

Times are of the monotonic clock, which is one for all processes of a machine.
"""

import mmap
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from rpc.deliveries import Place
from rpc.keys import LANES

TICKED_AT = struct.Struct("d")
SERVED = struct.Struct("Q")
HEAD_BYTES = TICKED_AT.size + SERVED.size
"""When the engine last got round to it, and how many jobs it has served: each written alone, in one store."""

SINCE = struct.Struct("d")
"""Since when a stage works on something; 0: it is idle; `FETCHING`: it waits for a store. Written last, at once."""

FETCHING = -1.0

SLOT = struct.Struct("QdiIi128s4x")
"""Generation of the list of entries, `SINCE`, length and checksum of the list, 1 if the stage works alone, model."""

GENERATION = struct.Struct("Q")
SINCE_AT = GENERATION.size

LIST_BYTES = 16_384
STRIDE = SLOT.size + LIST_BYTES

UNKNOWN = -1
"""Length of a list that was too long."""

READ_ATTEMPTS = 100
"""How often a slot is read that its engine writes meanwhile, before its list counts as unknown."""

INITIALS = {lane[0]: lane for lane in LANES}


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one stage of an engine.

    Attributes:
        model: the model of the stage.
        since: when it began; 0 while it waits for a store.
        entries: the entries it works on; None if there are too many to list.
        fetching: whether it only waits for an input from a store.
        alone: whether no other stage of the engine works beside it.
    """

    model: str
    since: float
    entries: frozenset[Place] | None
    fetching: bool = False
    alone: bool = False


class Stamps:
    """The shared memory: made by the supervisor, attached to by the engine through an inherited descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._count = (len(self._memory) - HEAD_BYTES) // STRIDE
        self._taken = 0
        self._served = 0
        self._serving = threading.Lock()

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make room for so many stages."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("penstock-stamps", os.MFD_CLOEXEC)
        else:
            descriptor, name = tempfile.mkstemp(prefix="penstock-stamps-")
            os.unlink(name)  # noqa: PTH108 (a name, not a Path, is what mkstemp gives)
        os.ftruncate(descriptor, HEAD_BYTES + slots * STRIDE)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def tick(self, now: float) -> None:
        """Say that the engine gets round to saying so."""
        TICKED_AT.pack_into(self._memory, 0, now)

    def serve(self, jobs: int) -> None:
        """Say that so many more jobs were served. Several threads may say so."""
        with self._serving:
            self._served += jobs
            SERVED.pack_into(self._memory, TICKED_AT.size, self._served)

    @property
    def ticked_at(self) -> float:
        """When the engine last said it runs; 0 if it never did."""
        return float(TICKED_AT.unpack_from(self._memory, 0)[0])

    @property
    def served(self) -> int:
        """How many jobs the engine has served."""
        return int(SERVED.unpack_from(self._memory, TICKED_AT.size)[0])

    def stage(self, model: str) -> "Stage":
        """Return the place where one stage of a model says what it is at."""
        if self._taken == self._count:
            raise AssertionError("more stages than the supervisor made room for")
        self._taken += 1
        return Stage(self._memory, HEAD_BYTES + (self._taken - 1) * STRIDE, model)

    def works(self) -> list[Work]:
        """Return the work of all stages, of now or of the moment the engine died. Safe while the engine writes."""
        works = map(self._work, self._slots())
        return [work for work in works if work is not None]

    def _slots(self) -> range:
        return range(HEAD_BYTES, HEAD_BYTES + self._count * STRIDE, STRIDE)

    def _work(self, start: int) -> Work | None:
        """Return the work in a slot, or None if its stage is idle.

        A stage bumps the generation, writes the list, and then publishes it with `since`. So a list is whole if the
        generation is the same before and after it was read; the checksum also finds stores seen out of order.
        """
        for _ in range(READ_ATTEMPTS):
            generation, since, length, checksum, alone, model = SLOT.unpack_from(self._memory, start)
            first = start + SLOT.size
            listed = self._memory[first : first + max(0, length)]
            whole = checksum == zlib.crc32(listed, generation & 0xFFFFFFFF)
            if whole and GENERATION.unpack_from(self._memory, start)[0] == generation:
                break
            if not self._since(start):
                return None
        else:
            length = UNKNOWN
        if not since:
            return None
        entries = None if length == UNKNOWN else frozenset(map(_place, listed.decode("ascii").split()))
        name = model.rstrip(b"\0").decode(errors="replace")
        return Work(name, max(0.0, since), entries, since == FETCHING, bool(alone))

    def _since(self, start: int) -> float:
        return float(SINCE.unpack_from(self._memory, start + SINCE_AT)[0])

    def stuck_since(self) -> float | None:
        """Return since when the engine has made no progress as far as it tells; None before it first ticked.

        A stage that is at something, and an engine that does not get round to ticking, are as stuck as they are old.
        A stage that waits for a store is not stuck.
        """
        ticked_at = self.ticked_at
        begun = [since for since in map(self._since, self._slots()) if since > 0]
        return min([ticked_at, *begun]) if ticked_at else None


class Stage:
    """One thread's notes of what it is at."""

    def __init__(self, memory: mmap.mmap, start: int, model: str) -> None:
        self._memory = memory
        self._start = start
        self._model = model.encode()
        self._generation = 0

    def begin(self, places: Iterable[Place], now: float, *, alone: bool = False) -> None:
        """Say that work on these entries begins, alone in the engine or not."""
        self._publish(places, now, alone=alone)

    def fetch(self, place: Place) -> None:
        """Say that an input of this entry is waited for: that is no work, and cannot be stuck."""
        self._publish([place], FETCHING)

    def _publish(self, places: Iterable[Place], since: float, *, alone: bool = False) -> None:
        listed = " ".join([lane[0] + entry for lane, entry in places]).encode()
        length = len(listed) if len(listed) <= LIST_BYTES else UNKNOWN
        listed = listed[: max(0, length)]
        self._generation += 1
        checksum = zlib.crc32(listed, self._generation & 0xFFFFFFFF)
        first = self._start + SLOT.size
        SLOT.pack_into(self._memory, self._start, self._generation, 0.0, length, checksum, alone, self._model)
        self._memory[first : first + len(listed)] = listed
        SINCE.pack_into(self._memory, self._start + SINCE_AT, since)

    def go_on(self, now: float) -> None:
        """Say that a part of the work is done and the next one begins."""
        SINCE.pack_into(self._memory, self._start + SINCE_AT, now)

    def end(self) -> None:
        """Say that the work is done."""
        SINCE.pack_into(self._memory, self._start + SINCE_AT, 0.0)


def _place(listed: str) -> Place:
    return INITIALS[listed[0]], listed[1:]
