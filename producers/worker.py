"""`penstock worker` and `penstock models`: this process becomes the worker's. Knows its command, not its code."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from producers import extras

STANDINS, VARIABLE = "--standins", "PENSTOCK_STANDINS"
"""What asks for stand-ins, which have an extra of their own."""

NO = {"", "no", "0", "false", "off"}

COMMAND = (sys.executable, "-m", "inference_worker")


def become(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the worker's with these arguments; end with 2 if the worker is not installed."""
    standins = (
        any(argument.startswith(STANDINS) for argument in arguments) or os.environ.get(VARIABLE, "").lower() not in NO
    )
    missing = extras.complaint("worker") or (extras.complaint("standins") if standins else None)
    if missing:
        sys.stderr.write(f"penstock: {missing}\n")
        sys.exit(extras.NOT_INSTALLED)
    # a worker that takes over the process gets the signals meant for it
    os.execv(COMMAND[0], [*COMMAND, *arguments])  # noqa: S606 (no shell is the point)
