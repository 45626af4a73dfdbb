"""The history of a run: one JSON line for everything that was asked, executed, answered or broken, in one file.

Callers, workers and the fault clock append to the same file; a line is one write, so no two of them mix. `at` is the
monotonic clock, which all processes of a machine share.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Self

Event = dict[str, Any]


class History:
    """A file of events, to be appended to from any thread of any process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __enter__(self) -> Self:
        """Return the history itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def tell(self, event: str, **fields: Any) -> None:
        """Write down what happened now."""
        line = json.dumps({"at": round(time.monotonic(), 6), "event": event, **fields}, separators=(",", ":"))
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Silence(History):
    """A history nobody reads."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def tell(self, event: str, **fields: Any) -> None:
        """Write nothing."""


def read(path: Path) -> list[Event]:
    """Return the events of a history in the order they happened."""
    events: list[Event] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return sorted(events, key=lambda event: event["at"])
