"""What a job of a chaos run carries and the one answer that is right. Pure: model, callers and checker share it."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

Mood = Literal["plain", "trips", "kills", "wide"]

MOODS: dict[str, Mood] = {mood: mood for mood in get_args(Mood)}

DIGEST_LETTERS = 24

WIDE_TIMES = 8_000
"""How often the digest is repeated in the answer to a wide input: 192 KB, which no wake-up brings along."""


@dataclass(frozen=True, slots=True)
class Cargo:
    """One input of a job.

    Attributes:
        job: whose input it is.
        index: which of its inputs.
        mood: "trips" makes the model fail over it, "kills" ends the process that runs it, "wide" has a long answer.
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
    digest = hashlib.sha256(data).hexdigest()[:DIGEST_LETTERS]
    return digest * WIDE_TIMES if Cargo.of(value).mood == "wide" else digest


def shorten(outputs: Any) -> Any:
    """Return outputs as the history keeps them: a long answer as its length and its digest."""
    if not isinstance(outputs, list):
        return outputs
    return [[shorten_answer(item[0]), *item[1:]] if isinstance(item, list) and item else item for item in outputs]


def shorten_answer(text: Any) -> Any:
    """Return an answer, or the length and the digest of a long one."""
    if not isinstance(text, str) or len(text) <= DIGEST_LETTERS:
        return text
    return f"{len(text)} letters, {hashlib.sha256(text.encode()).hexdigest()}"
