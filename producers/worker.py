"""`penstock worker` and `penstock models`: this process becomes the worker's. Knows its command, not its code."""

import argparse
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
    missing = extras.complaint("worker") or (extras.complaint("standins") if _standins(arguments) else None)
    if missing:
        sys.stderr.write(f"penstock: {missing}\n")
        sys.exit(extras.NOT_INSTALLED)
    # a worker that takes over the process gets the signals meant for it
    os.execv(COMMAND[0], [*COMMAND, *arguments])  # noqa: S606 (no shell is the point)


def _standins(arguments: Sequence[str]) -> bool:
    """Return whether stand-ins are asked for, by the arguments or else by the variable, as the worker reads them."""
    line = argparse.ArgumentParser(add_help=False)
    line.add_argument(STANDINS, dest="asked", nargs="?", const="all", default=os.environ.get(VARIABLE, ""))
    asked: str = line.parse_known_args(arguments)[0].asked
    return asked.lower() not in NO
