"""How many bytes all answers may take together while they are made and read. Pure."""

from producers.gateway import problems
from producers.gateway.problems import BROKEN, Problem

SMALL = 16 * 1024
"""Answers of no more bytes are not counted: the system's buffer of a connection takes them."""


class AnswerRoom:
    """A number of bytes that answers share. One that is larger than all of it has it alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @property
    def held(self) -> int:
        """How many bytes are taken now."""
        return self._held

    def fits(self, size: int) -> bool:
        """Return whether so many bytes more may be taken."""
        return size <= SMALL or not self._held or self._held + size <= self._most

    def take(self, size: int) -> None:
        """Take bytes, whether they fit or not."""
        self._held += size

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        self._held -= size

    @property
    def refusal(self) -> Problem:
        """The error for an answer that does not fit."""
        text = f"answers of more than {self._most} bytes together wait to be read; try again"
        return Problem(503, "too_busy", text, BROKEN, retry_after_s=problems.RETRY_AFTER_S)
