"""Whether and when an engine is started again that has ended. Pure: time is passed in."""

from dataclasses import dataclass, field

FIRST_S = 0.2
LONGEST_S = 30.0


@dataclass(slots=True)
class Restarts:
    """The history of one device's engines.

    Attributes:
        most_failures: of so many engines in a row that ended without having served a job, the last is not replaced.
        failures: how many ended so since the last that had served one.
        count: how many were started in place of another.
    """

    most_failures: int
    failures: int = 0
    count: int = 0
    due_at: float | None = field(default=None)

    def ended(self, now: float, *, served: bool) -> bool:
        """Note that an engine has ended; return whether another one is to be started, at `due_at`."""
        self.failures = 0 if served else self.failures + 1
        if self.failures >= self.most_failures:
            return False
        # one that served is replaced at once, and so is the first that did not: a crash costs no more than the loading
        pause_s = 0.0 if self.failures <= 1 else min(LONGEST_S, FIRST_S * 2.0 ** (self.failures - 2))
        self.due_at = now + pause_s
        return True

    def due(self, now: float) -> bool:
        """Return whether an engine is to be started now, and take it as started."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        self.count += 1
        return True
