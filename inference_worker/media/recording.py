"""A recording that was decoded, and where its samples lie: in memory, or in a file without a name."""

import mmap
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples a second of a decoded one: what Whisper hears."""

SAMPLE = 2
"""Bytes of a sample."""

IN_MEMORY = 600 * RATE * SAMPLE
"""What a recording has more of lies in a file without a name: a dozen long ones, held for their turn, would be
gigabytes."""

PIECE = 1 << 20
"""Bytes that are written to such a file at a time."""


TRUNCATED_S = 0.5
"""A recording that ends so much earlier than its file says was cut off."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording.

    Attributes:
        samples: int16, mono, `RATE` a second.
        declared_s: at which second the audio track ends by its own account, if it has one.
        file: where the samples lie, if they do not in memory.
        ended_early: whether the file was cut off, or could be decoded no further.
    """

    samples: NDArray[np.int16]
    declared_s: float | None = None
    file: mmap.mmap | None = None
    ended_early: bool = False

    @property
    def truncated(self) -> bool:
        """Whether it ends earlier than its file says, or could be decoded no further."""
        return self.ended_early or (self.declared_s or 0.0) - self.duration_s > TRUNCATED_S

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return len(self.samples) / RATE

    def part(self, start: int, stop: int) -> NDArray[np.int16]:
        """Return some of the samples; of those in a file, a copy that holds no others."""
        found = self.samples[start:stop]
        if self.file is None:
            return found
        found = found.copy()
        self.rest()
        return found

    def rest(self) -> None:
        """Give the memory of samples that lie in a file back: they are read again when they are needed."""
        if self.file is not None:
            self.file.madvise(mmap.MADV_DONTNEED)


class NoSpace(MemoryError):
    """Neither memory nor a file has room for the samples of a recording; a while later there may be."""


class Hearing:
    """Samples as they come: in memory while they are few, then in a file.

    Attributes:
        size: how many bytes there are.
    """

    def __init__(self) -> None:
        self.size = 0
        # grows in place, where joining parts would take twice the memory
        self._memory = bytearray()
        self._most = IN_MEMORY
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            # what it holds stays as long as somebody looks at it
            self._file.close()

    def add(self, samples: bytes) -> None:
        """Put samples behind those that are there."""
        self.size += len(samples)
        self._memory += samples
        if self._file:
            # a frame at a time would be tens of thousands of writes
            if len(self._memory) >= PIECE:
                self._empty(self._file)
        elif self.size > self._most:
            self._move()

    def _move(self) -> None:
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed when this is left)
        except OSError:
            # where no file can be had, there is still the memory
            self._most = sys.maxsize
        else:
            self._empty(self._file)

    def _empty(self, file: IO[bytes]) -> None:
        """Put into the file what has come since."""
        self._write(file, self._memory)
        self._memory = bytearray()

    def _write(self, file: IO[bytes], samples: bytes | bytearray) -> None:
        try:
            file.write(samples)
            # as many as there are, and no error later on
            file.flush()
        except OSError as error:
            # closing would try to write them once more
            with suppress(OSError):
                file.close()
            raise NoSpace(f"out of memory for a recording in {tempfile.gettempdir()}: {error.strerror}") from error

    def recording(self, declared_s: float | None, *, ended_early: bool = False) -> Recording:
        """Return the recording made of the samples so far."""
        if not self._file:
            return Recording(np.frombuffer(self._memory, np.int16), declared_s, None, ended_early)
        self._empty(self._file)
        file = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return Recording(np.frombuffer(file, np.int16), declared_s, file, ended_early)
