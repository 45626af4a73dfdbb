"""The chaos run and the soak through their commands: no promise is broken on the seed that everybody runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import LONG_S
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, pytest.mark.process]

SECONDS = 60
END_S = 150.0
"""How long a run may take besides: to start, for callers to get their last replies, and to end."""


def carried_out(module: str, report: Path, *arguments: str, within_s: float) -> tuple[int, Any, str]:
    """Run a command of this package; return its status, the report it wrote, and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--report", str(report), *arguments],
        cwd=ROOT,
        env=_unmeasured(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=within_s)
    finally:
        # asked to end, it ends what it has started; killed, it could not
        process.terminate()
        process.wait(LONG_S)
    assert report.exists(), errors
    return process.returncode, json.loads(report.read_text("utf-8")), output


def _unmeasured() -> dict[str, str]:
    """Return an environment without coverage: a process killed while it writes that down spoils all of it."""
    return {name: value for name, value in environment().items() if not name.startswith("COV")}


@pytest.mark.bound
def test_a_minute_of_chaos_breaks_no_promise(tmp_path: Path) -> None:
    """Issue 4: workers and server killed and frozen, lines cut: every job is answered once, rightly, and none is left.

    Poison is buried and nobody else.
    """
    arguments = ("--seed", "4", "--seconds", str(SECONDS), "--server", "valkey")

    status, (told,), text = carried_out("tests.chaos", tmp_path / "chaos.json", *arguments, within_s=SECONDS + END_S)

    assert told["findings"] == []
    assert (status, told["passed"]) == (0, True), text
    assert text.splitlines()[-1].split() == ["verdict", "passed"]
    assert min(told["faults"][kind] for kind in ("poison", "kill_worker", "kill_server", "freeze_worker")) > 0
    assert told["replies"]["dead_lettered"] == told["faults"]["poison"]
    assert told["replies"]["ok"] > 1000
    again = carried_out(
        "tests.chaos", tmp_path / "chaos.json", "--check", str(tmp_path / "chaos.valkey.jsonl"), within_s=60.0
    )
    assert (again[0], again[2]) == (0, text)


@pytest.mark.bound
def test_a_short_soak_finds_nothing_that_grows(tmp_path: Path) -> None:
    """The soak samples client, worker and server, checks every answer, and says that all stayed as it was."""
    status, told, text = carried_out("tests.chaos.soak", tmp_path / "soak.json", "--minutes", "0.2", within_s=90.0)

    assert [trend for trend in told["trends"] if not trend["flat"]] == []
    assert told["answers"]["findings"] == []
    assert (status, set(told["samples"])) == (0, {"client", "worker", "server"}), text
    assert told["answers"]["replies"]["ok"] > 200
