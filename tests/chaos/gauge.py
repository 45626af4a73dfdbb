"""What processes take, sampled, and whether it stayed as it was. Linux only: it counts file descriptors."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

MEGABYTE = 1e6
MOST_GROWTH, MOST_MORE_MB = 0.10, 20.0
MOST_MORE = 4
"""How many more threads and descriptors may be there besides a tenth: a pool grows when it is first needed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process and its children took at one moment."""

    resident_mb: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int, *, alone: bool = False) -> "Sample":
        """Return what the process takes now; `alone` leaves its children out."""
        resident, threads, descriptors = 0.0, 0, 0
        process = psutil.Process(pid)
        for each in [process, *([] if alone else process.children(recursive=True))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                resident += each.memory_info().rss / MEGABYTE
                threads += each.num_threads()
                descriptors += each.num_fds()
        return cls(round(resident, 1), threads, descriptors)


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure of one process: in the second quarter, in the last, and whether the latter is as the former.

    The first quarter is for caches, pools and arenas to fill.
    """

    process: str
    figure: str
    before: float
    after: float
    flat: bool

    def as_text(self) -> str:
        """Return it for people."""
        return f"  {self.process:<8} {self.figure:<13} {self.before:>8.0f} -> {self.after:>8.0f}  {self.verdict}"

    @property
    def verdict(self) -> str:
        """Whether it stayed as it was, in a word."""
        return "held" if self.flat else "GREW"


def trends(samples: Mapping[str, Sequence[Sample]]) -> list[Trend]:
    """Return the trend of memory, threads and descriptors of every process sampled."""
    return [trend for name, taken in samples.items() for trend in _of(name, taken)]


def _of(process: str, taken: Sequence[Sample]) -> list[Trend]:
    second, last = taken[len(taken) // 4 : len(taken) // 2], taken[3 * len(taken) // 4 :]
    before, after = (statistics.median(sample.resident_mb for sample in part) for part in (second, last))
    found = [Trend(process, "resident, MB", before, after, after <= before * (1 + MOST_GROWTH) + MOST_MORE_MB)]
    for figure in ("threads", "descriptors"):
        had, has = (max(getattr(sample, figure) for sample in part) for part in (second, last))
        found.append(Trend(process, figure, had, has, has <= had * (1 + MOST_GROWTH) + MOST_MORE))
    return found
