"""A point in time by which a caller wants its answer. Knows no clock: `now` is always passed in, in seconds."""

from dataclasses import dataclass

LEAST_S = 1.0
"""What a server is given for its answer even by callers whose time is up: a submit is always tried once."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, timeout_s: float, *, now: float) -> "Deadline":
        """Return the deadline `timeout_s` seconds from `now`."""
        return cls(now + timeout_s)

    def remaining_s(self, now: float) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self.at - now)

    def patience_s(self, now: float) -> float:
        """Return the seconds an answer of the server is waited for."""
        return max(LEAST_S, self.remaining_s(now))

    def passed(self, now: float) -> bool:
        """Return whether the moment has come."""
        return now >= self.at
