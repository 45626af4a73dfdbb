"""What a client's calls came to, as one line of JSON for the test that started them."""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

TEXTS = ["one", "two"]

RECORDING = ("talk.wav", b"good day")

LATE_S = 0.5
"""How long a client waits for the model that never answers."""


def error_of(call: Callable[[], object]) -> str:
    """Return the name of the error that a call raises, "" if it raises none."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 (the error is the result)
        return type(error).__name__
    return ""


async def awaited_error_of(call: Awaitable[object]) -> str:
    """Return the same of an awaited call."""
    try:
        await call
    except Exception as error:  # noqa: BLE001 (the error is the result)
        return type(error).__name__
    return ""


def address() -> str:
    """Return the base URL of OpenAI's routes, from the first argument."""
    return f"{sys.argv[1]}/v1"


def write(results: dict[str, Any]) -> None:
    """Print the results."""
    sys.stdout.write(json.dumps(results) + "\n")
