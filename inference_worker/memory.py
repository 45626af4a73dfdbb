"""How much main memory this process has and may still get, as Linux tells it."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
LIMIT = Path("/sys/fs/cgroup/memory.max")
USED = Path("/sys/fs/cgroup/memory.current")
RECLAIMABLE = Path("/sys/fs/cgroup/memory.stat")


def resident_bytes() -> int:
    """Return the memory this process takes now; 0 where the system does not tell."""
    try:
        return int(STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def available_bytes() -> int | None:
    """Return what can be had without swapping, within this container's limit; None where the system does not tell."""
    known = [free for free in (_of_machine(), _of_container()) if free is not None]
    return min(known) if known else None


def _of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text("ascii").splitlines()
    except OSError:
        return None
    found = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return next(found, None)


def _of_container() -> int | None:
    """Return what is left of the limit of a control group of version 2; None if there is none."""
    try:
        limit, used = LIMIT.read_text("ascii").strip(), int(USED.read_text("ascii"))
        cached = sum(int(line.split()[1]) for line in RECLAIMABLE.read_text("ascii").splitlines() if _is_cache(line))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + cached)


def _is_cache(line: str) -> bool:
    """Return whether a line of memory.stat counts pages of files that can be dropped."""
    return line.startswith("inactive_file ")
