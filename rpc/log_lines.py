"""Lines for people: text of callers on one line, without anything a terminal obeys, and no line over and over."""

import logging
import re
from types import TracebackType
from typing import TextIO

REPEAT_S = 30.0
"""A warning or an error is logged once in this time, however often it is repeated."""

MAX_REMEMBERED = 1000

# C0 and C1 controls, line and paragraph separators, marks and overrides of direction, halves of characters
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")  # noqa: PLR2004 (two digits)


def printable(text: str) -> str:
    """Return a text on one line: control characters and changes of direction are escaped as in Python."""
    return _UNSAFE.sub(_escaped, text)


def printable_json(text: str) -> str:
    """Return JSON text whose strings hold no raw control characters; it means the same."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def repeated(record: logging.LogRecord) -> int:
    """Return how often the line of a record was held back since it was last logged."""
    count: int = getattr(record, "repeated", 0)
    return count


class TextLines(logging.Formatter):
    """One line a record, and indented lines of its traceback below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name logging calls)
        """Return the line of a record, escaped."""
        again = f" (and {repeated(record)} times more)" if repeated(record) else ""
        record.message = printable(record.message) + again
        return super().formatMessage(record)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802 (the name logging calls)
        """Return a traceback, indented: no line of it can be taken for another record."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).splitlines())


class RepeatFilter(logging.Filter):
    """Holds back a warning or an error that was logged word for word within the last 30 s, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged now; if so, note in it how many were held back."""
        if record.levelno < logging.WARNING:
            return True
        line = (record.name, record.levelno, record.getMessage())
        since, count = self._logged.get(line, (float("-inf"), 0))
        # the clock of this machine may have stepped back
        if since <= record.created < since + REPEAT_S:
            self._logged[line] = (since, count + 1)
            return False
        self._logged.pop(line, None)
        self._logged[line] = (record.created, 0)
        if len(self._logged) > MAX_REMEMBERED:
            del self._logged[next(iter(self._logged))]
        record.repeated = count
        return True


def text_handler(stream: TextIO, line_format: str) -> logging.Handler:
    """Return what writes records to a stream as lines for people."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines(line_format))
    handler.addFilter(RepeatFilter())
    return handler
