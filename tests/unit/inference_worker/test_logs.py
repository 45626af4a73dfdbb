"""How log lines look."""

import json
import logging
from collections.abc import Iterator

import pytest

from inference_worker import logs
from inference_worker.settings import WorkerSettings

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_loggers() -> Iterator[None]:
    """Leave the project's loggers as they were found."""
    loggers = [logging.getLogger(name) for name in ("inference_worker", "rpc")]
    before = [(list(log.handlers), log.level, log.propagate) for log in loggers]
    yield
    for log, (handlers, level, propagate) in zip(loggers, before, strict=True):
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def configured(**given: str) -> logging.Logger:
    """Return a logger of the project under some settings."""
    logs.configure(WorkerSettings.from_env({}, models="echo", **given))
    return logging.getLogger("inference_worker.sample")


def test_json_lines_are_one_object_each(capsys: Captured) -> None:
    """A machine reads each line on its own, whatever was logged, and finds level, logger, message and time."""
    configured(log_format="json").warning("two\nlines of %s", "ü")

    (text,) = capsys.readouterr().err.splitlines()
    line = json.loads(text)

    assert (line["level"], line["logger"], line["message"]) == ("warning", "inference_worker.sample", "two\nlines of ü")
    assert line["time"].endswith("Z")


def test_a_traceback_is_part_of_its_json_line(capsys: Captured) -> None:
    """An exception does not break the lines."""
    log = configured(log_format="json")
    try:
        int("on fire")
    except ValueError:
        log.exception("it failed")

    (text,) = capsys.readouterr().err.splitlines()

    assert "ValueError: invalid literal" in json.loads(text)["exception"]


def test_text_lines_are_for_people(capsys: Captured) -> None:
    """Without a choice, lines are text with level, logger and message."""
    configured().info("hello")

    assert capsys.readouterr().err.endswith("INFO    inference_worker.sample: hello\n")


def test_what_is_below_the_level_is_not_written(capsys: Captured) -> None:
    """The level set is the level obeyed."""
    log = configured(log_level="error")
    log.warning("hidden")
    log.error("shown")

    written = capsys.readouterr().err

    assert ("hidden" in written, "shown" in written) == (False, True)


def test_lines_of_rpc_are_seen_and_those_of_others_are_left_alone(capsys: Captured) -> None:
    """The worker sets up its own loggers and those of the wire, never the root."""
    root = list(logging.getLogger().handlers)
    configured()
    logging.getLogger("rpc.sample").warning("from rpc")

    assert "from rpc" in capsys.readouterr().err
    assert root == logging.getLogger().handlers
