"""A Whisper whose passes a test can hold up and read about: `--models tests.heard:Whisper`."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_worker.models.base import Unit
from inference_worker.models.whisper import Whisper as RealWhisper

JOURNAL, GATE, DONE = "journal", "go", "done"

GATE_S = 60.0


class Whisper(RealWhisper):
    """The real one, on the source and in the directory that the environment names.

    Each pass begins with a line in `journal`: the lengths in seconds of the recordings its windows are of. It goes on
    once `go` is there, and ends with a line in `done`: how many windows it was of.
    """

    def _directory(self) -> Path:
        return Path(os.environ["HEARD_SOURCE"])

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Note the pass, wait for the gate, and run it."""
        directory = Path(os.environ["HEARD_DIRECTORY"])
        with (directory / JOURNAL).open("a", encoding="ascii") as journal:
            journal.write(" ".join(f"{unit.data.heard.duration_s:.0f}" for unit in units) + "\n")
        end, pause = time.monotonic() + GATE_S, threading.Event()
        while not (directory / GATE).exists() and time.monotonic() < end:
            pause.wait(0.01)
        outputs = super().infer(units)
        with (directory / DONE).open("a", encoding="ascii") as done:
            done.write(f"{len(units)}\n")
        return outputs

    def warm_up(self) -> None:
        """Leave nothing in the journal."""
