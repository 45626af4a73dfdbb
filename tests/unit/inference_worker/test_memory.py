"""What the system says of memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from inference_worker import memory
from tests.workers import ROOT


def test_what_is_allocated_shows() -> None:
    """Fifty megabytes written to are fifty megabytes more, in a process where nothing else is let go."""
    if not memory.resident_bytes():
        pytest.skip("this system has no /proc")
    program = """
import numpy as np
from inference_worker import memory
before = memory.resident_bytes()
held = np.ones(50_000_000, np.uint8)
print(memory.resident_bytes() - before)
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)

    assert 45_000_000 <= int(told.stdout) <= 60_000_000


def test_a_containers_limit_counts_if_it_is_nearer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container what is left of its limit is free, dropped caches included, not what the machine has."""
    told = {"MEMINFO": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n", "LIMIT": "4000000\n", "USED": "3000000\n"}
    told["RECLAIMABLE"] = "anon 1\ninactive_file 500000\nactive_file 7\n"
    for name, text in told.items():
        (tmp_path / name).write_text(text, "ascii")
        monkeypatch.setattr(memory, name, tmp_path / name)

    assert memory.available_bytes() == 1_500_000
    (tmp_path / "LIMIT").write_text("max\n", "ascii")
    assert memory.available_bytes() == 5_120_000


def test_a_system_that_does_not_tell_is_not_guessed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, nothing is known, and nothing is refused for it."""
    for name in ("MEMINFO", "STATM", "LIMIT"):
        monkeypatch.setattr(memory, name, tmp_path / "nothing")

    assert (memory.available_bytes(), memory.resident_bytes()) == (None, 0)
