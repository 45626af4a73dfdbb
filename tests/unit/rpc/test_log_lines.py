"""Lines of logs and listings: what callers write in them, and how often they come."""

import io
import json
import logging
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc.log_lines import REPEAT_S, RepeatFilter, printable, printable_json, text_handler


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, ünïcode and 👩\u200d🚀", "plain text, ünïcode and 👩\u200d🚀"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\u2028b\u202ec\u2066", r"a\u2028b\u202ec\u2066"),
        ("half \udc80", r"half \udc80"),
    ],
)
def test_text_that_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    """Line breaks, escape sequences and changes of direction are shown; letters of all scripts stay."""
    assert printable(text) == expected


@given(st.text(st.characters()))
def test_printable_text_is_one_line_without_controls(text: str) -> None:
    """No text of a caller can begin a line or move a cursor."""
    shown = printable(text)

    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in shown)


@given(st.text(st.characters()))
def test_printable_json_means_the_same(text: str) -> None:
    """A program reads from a listing what was written; a terminal obeys nothing of it."""
    shown = printable_json(json.dumps({"text": text}, ensure_ascii=False))

    assert json.loads(shown) == {"text": text}
    assert printable(shown) == shown


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """Yield a logger of the test's own and what is written of it."""
    stream = io.StringIO()
    logger = logging.getLogger("sample")
    logger.propagate = False
    logger.addHandler(text_handler(stream, "%(levelname)s: %(message)s"))
    yield logger, stream
    logger.handlers.clear()


def fail(text: str) -> None:
    """Raise an error of a text."""
    raise ValueError(text)


def test_a_caller_cannot_write_a_log_line_of_its_own(log: tuple[logging.Logger, io.StringIO]) -> None:
    """A line break in a message or in an error's text begins no record."""
    logger, stream = log
    try:
        fail("x\nERROR: forged\x1b[2J")
    except ValueError:
        logger.exception("op %s", "a\nERROR: forged")

    first, *others = stream.getvalue().splitlines()
    assert first == r"ERROR: op a\nERROR: forged"
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in stream.getvalue()


def record(text: str, at: float, level: int = logging.WARNING) -> logging.LogRecord:
    """Return a record of a moment."""
    made = logging.LogRecord("sample", level, "file", 1, "%s", (text,), None)
    made.created = at
    return made


def test_a_warning_that_repeats_is_logged_once_in_a_while() -> None:
    """Five a second for a minute are three lines, which say how many there were; other lines are not held back."""
    repeats = RepeatFilter()
    records = [record("away", at / 5) for at in range(5 * 61)]

    logged = [each for each in records if repeats.filter(each)]

    assert [(each.created, each.__dict__["repeated"]) for each in logged] == [(0, 0), (REPEAT_S, 149), (60.0, 149)]
    assert repeats.filter(record("back", 60.1))
    assert all(repeats.filter(record("progress", at, logging.INFO)) for at in (1.0, 1.1))


def test_a_clock_that_steps_back_holds_no_warning_back() -> None:
    """A line that comes an hour before its first one is logged."""
    repeats = RepeatFilter()

    assert [repeats.filter(record("away", at)) for at in (7200.0, 3600.0, 3601.0)] == [True, True, False]
