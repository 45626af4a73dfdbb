"""What a job of a chaos run carries and the one answer that is right. Pure: model, callers and checker share it."""

import hashlib
from dataclasses import dataclass
from typing import Literal

Mood = Literal["plain", "trips", "kills"]

MOODS: dict[str, Mood] = {"plain": "plain", "trips": "trips", "kills": "kills"}

DIGEST_LETTERS = 24


@dataclass(frozen=True, slots=True)
class Cargo:
    """One input of a job.

    Attributes:
        job: whose input it is.
        index: which of its inputs.
        mood: "trips" makes the model fail over it, "kills" ends the process that runs it.
        size: how many bytes it has, at least those of its heading.
        binary: whether it travels as bytes and not as text.
    """

    job: str
    index: int
    mood: Mood = "plain"
    size: int = 0
    binary: bool = False

    def value(self) -> str | bytes:
        """Return the input itself."""
        heading = f"{self.job}/{self.index}/{self.mood}/"
        pattern = hashlib.sha256(heading.encode()).hexdigest()
        missing = max(0, self.size - len(heading))
        text = heading + (pattern * (missing // len(pattern) + 1))[:missing]
        return text.encode() if self.binary else text

    @classmethod
    def of(cls, value: str | bytes) -> "Cargo":
        """Return what an input says of itself."""
        text = value.decode() if isinstance(value, bytes) else value
        job, index, mood, _ = text.split("/", 3)
        return cls(job, int(index), MOODS[mood], len(text), isinstance(value, bytes))


def answer(value: str | bytes) -> str:
    """Return what the model has to make of an input: every byte of it counts."""
    data = value.encode() if isinstance(value, str) else value
    return hashlib.sha256(data).hexdigest()[:DIGEST_LETTERS]
