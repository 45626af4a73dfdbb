"""The server's clock, as this process last heard it: ages and expiries are told by no other."""

import time


class ServerClock:
    """Redis's time in ms, carried on by the monotonic clock between two readings."""

    def __init__(self) -> None:
        self._ahead_ms = time.time() * 1000 - time.monotonic() * 1000

    def heard(self, server_ms: int) -> None:
        """Note what the server's clock says now."""
        self._ahead_ms = server_ms - time.monotonic() * 1000

    def now_ms(self) -> float:
        """Return the server's time."""
        return time.monotonic() * 1000 + self._ahead_ms
