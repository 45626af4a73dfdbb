"""The command line, run as users run it: a process with arguments, to its end."""

import subprocess
import sys
from collections.abc import Mapping

from rpc import RedisSettings
from tests.workers import ROOT, environment

RUN_S = 60.0


def penstock(
    *arguments: str,
    settings: RedisSettings | None = None,
    given: str = "",
    more: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "producers", *arguments],
        cwd=ROOT,
        env=environment(settings, more),
        input=given,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def without(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command where a module is not installed."""
    program = f"""
import sys
sys.modules[{module!r}] = None
from producers.__main__ import main
sys.argv = ['penstock', *{list(arguments)!r}]
sys.exit(main())
"""
    line = [sys.executable, "-c", program]
    return subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=RUN_S, check=False)
