"""What callers ask for, drawn by chance from a seed: the same seed, the same jobs. Speaks to nobody."""

import random
from dataclasses import dataclass
from typing import Any, Literal

from rpc.keys import Lane
from tests.chaos.cargo import Cargo, Mood
from tests.chaos.ledger import CHRONICLE, LEDGER

Kind = Literal["plain", "several", "large", "wide", "trips", "cancelled", "twice", "shared", "hasty", "long", "poison"]

SHARES: dict[Kind, int] = {
    "plain": 33,
    "several": 12,
    "large": 11,
    "wide": 6,
    "trips": 5,
    "cancelled": 8,
    "twice": 8,
    "shared": 8,
    "hasty": 6,
    "long": 3,
}
"""Of a hundred jobs, how many are of a kind; poison comes by the clock."""

ODD: dict[Kind, Mood] = {"trips": "trips", "poison": "kills", "wide": "wide"}
"""What is the matter with one of the inputs of a job."""

INLINE_BYTES = 2_048
"""A larger input travels as a blob."""

TTL_S, HASTE_S = 60.0, 1.5
BULK = 0.35
REST_S = 0.08

SUNK = 0.3
"""The share of jobs whose replies go to a sink too."""

LONG_INPUTS = (24, 40)

INTERRUPTIONS, PATIENCE_S = (1, 4), (0.0, 0.12)
"""How often a reader of a shared job is interrupted, and how long it waits each time before that."""

APART_EVERY = 3
"""Of so many jobs of a caller, one is queued in one call and fetched in another: only then is a loss told to it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One job of one caller.

    Attributes:
        ttl_s: how long after its submission the job may still be started.
        apart: whether it is queued first and its result asked for then, and not both in one call.
        sunk: whether its reply is to go to the sink too.
        model: which model is asked.
        interrupted_after_s: after which waits one of several readers of the reply is interrupted.
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
    model: str = LEDGER
    interrupted_after_s: tuple[float, ...] = ()
    cancel_after_s: float | None = None
    rest_s: float = 0.0

    def told(self) -> dict[str, Any]:
        """Return what the history keeps of it."""
        cargo = [[item.mood, item.size, item.binary] for item in self.cargo]
        told = {"job": self.job, "kind": self.kind, "lane": self.lane, "ttl_s": self.ttl_s, "cargo": cargo}
        return {**told, "sunk": self.sunk, "model": self.model}


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
            model=CHRONICLE if kind == "long" else LEDGER,
            interrupted_after_s=self._interruptions() if kind == "shared" else (),
            cancel_after_s=chance.uniform(0.0, 0.08) if kind == "cancelled" else None,
            rest_s=chance.uniform(0.0, REST_S),
        )

    def _interruptions(self) -> tuple[float, ...]:
        chance = self._chance
        return tuple(chance.uniform(*PATIENCE_S) for _ in range(chance.randint(*INTERRUPTIONS)))

    def _cargo(self, job: str, kind: Kind) -> tuple[Cargo, ...]:
        chance = self._chance
        several = kind == "several" or (kind in {"twice", "shared", "trips", "cancelled"} and chance.random() < 1 / 3)
        large = kind == "large" or (
            kind in {"several", "twice", "shared", "cancelled", "poison"} and chance.random() < 1 / 4
        )
        count = chance.randint(*LONG_INPUTS) if kind == "long" else chance.randint(2, 6) if several else 1
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
