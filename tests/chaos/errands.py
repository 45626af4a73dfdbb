"""What callers ask for, drawn by chance from a seed: the same seed, the same jobs. Speaks to nobody."""

import random
from dataclasses import dataclass
from typing import Any, Literal

from rpc.keys import Lane
from tests.chaos.cargo import Cargo, Mood

Kind = Literal["plain", "several", "large", "trips", "cancelled", "twice", "hasty", "poison"]

SHARES: dict[Kind, int] = {"plain": 40, "several": 14, "large": 14, "trips": 5, "cancelled": 8, "twice": 12, "hasty": 7}
"""Of a hundred jobs, how many are of a kind; poison comes by the clock."""

ODD: dict[Kind, Mood] = {"trips": "trips", "poison": "kills"}
"""What is the matter with one of the inputs of a job."""

INLINE_BYTES = 2_048
"""A larger input travels as a blob."""

TTL_S, HASTE_S = 60.0, 1.5
BULK = 0.35
REST_S = 0.08

SUNK = 0.3
"""The share of jobs whose replies go to a sink too."""

APART_EVERY = 3
"""Of so many jobs of a caller, one is queued in one call and fetched in another: only then is a loss told to it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One job of one caller.

    Attributes:
        ttl_s: how long after its submission the job may still be started.
        apart: whether it is queued first and its result asked for then, and not both in one call.
        sunk: whether its reply is to go to the sink too.
        cancel_after_s: when the caller thinks better of it; None if it does not.
        rest_s: how long the caller waits before its next job.
    """

    job: str
    kind: Kind
    lane: Lane
    cargo: tuple[Cargo, ...]
    ttl_s: float = TTL_S
    apart: bool = False
    sunk: bool = False
    cancel_after_s: float | None = None
    rest_s: float = 0.0

    def told(self) -> dict[str, Any]:
        """Return what the history keeps of it."""
        cargo = [[item.mood, item.size, item.binary] for item in self.cargo]
        told = {"job": self.job, "kind": self.kind, "lane": self.lane, "ttl_s": self.ttl_s, "cargo": cargo}
        return {**told, "sunk": self.sunk}


class Errands:
    """The endless errands of one caller."""

    def __init__(self, seed: int, caller: int) -> None:
        self._chance = random.Random(f"{seed}:{caller}")
        self._caller = caller
        self._count = 0

    def draw(self) -> Errand:
        """Return the next errand."""
        (kind,) = self._chance.choices(list(SHARES), list(SHARES.values()))
        return self._make(kind)

    def poison(self) -> Errand:
        """Return one that kills whoever runs it."""
        return self._make("poison")

    def _make(self, kind: Kind) -> Errand:
        chance = self._chance
        self._count += 1
        job = f"c{self._caller:02}-{self._count:06}-{kind}"
        return Errand(
            job,
            kind,
            "bulk" if chance.random() < BULK else "interactive",
            self._cargo(job, kind),
            HASTE_S if kind == "hasty" else TTL_S,
            apart=self._count % APART_EVERY == 0,
            sunk=chance.random() < SUNK,
            cancel_after_s=chance.uniform(0.0, 0.08) if kind == "cancelled" else None,
            rest_s=chance.uniform(0.0, REST_S),
        )

    def _cargo(self, job: str, kind: Kind) -> tuple[Cargo, ...]:
        chance = self._chance
        several = kind == "several" or (kind in {"twice", "trips", "cancelled"} and chance.random() < 1 / 3)
        large = kind == "large" or (kind in {"several", "twice", "cancelled", "poison"} and chance.random() < 1 / 4)
        count = chance.randint(2, 6) if several else 1
        odd = chance.randrange(count)
        mood = ODD.get(kind, "plain")
        return tuple(
            Cargo(
                job,
                index,
                mood if index == odd else "plain",
                chance.randint(INLINE_BYTES * 2, INLINE_BYTES * 24) if large else chance.randint(60, 600),
                binary=chance.random() < 1 / 2,
            )
            for index in range(count)
        )
