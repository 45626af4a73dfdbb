"""The wall clock of a run's servers, which can be set: a small library in front of libc adds an offset to the time.

The offset lies in a file that every server maps. The monotonic clock stays as it is.
"""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")

OFFSET_BYTES = 8


class ServerClock:
    """The offset of the servers' clock, and the environment that makes a server obey it."""

    def __init__(self, directory: Path) -> None:
        self._offset_file = directory / "clock-offset"
        self._library = directory / "clock.so"
        self._offset_ms = 0
        self._write()
        compiler = shutil.which("cc")
        self.available = compiler is not None
        if compiler is not None:
            subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE)], check=True)

    @property
    def environment(self) -> dict[str, str]:
        """Return what a server's environment needs; nothing where there is no C compiler."""
        if not self.available:
            return {}
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._offset_file)}

    @property
    def offset_s(self) -> float:
        """How far the servers' clock is ahead of this machine's."""
        return self._offset_ms / 1000.0

    def set(self, offset_s: float) -> None:
        """Let the servers' clock step to so many seconds ahead of this machine's."""
        self._offset_ms = round(1000 * offset_s)
        self._write()

    def _write(self) -> None:
        # in place, since the servers have this very file mapped
        with self._offset_file.open("r+b" if self._offset_file.exists() else "wb") as file:
            file.write(self._offset_ms.to_bytes(OFFSET_BYTES, "little", signed=True))
