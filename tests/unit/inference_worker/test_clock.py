"""The server's clock as a worker knows it."""

import time

import pytest

from inference_worker.clock import ServerClock


def test_before_it_has_heard_the_clock_is_the_machines() -> None:
    """A worker that has not asked yet is not an age off."""
    assert ServerClock().now_ms() == pytest.approx(time.time() * 1000, abs=1000)


def test_the_server_decides_what_time_it_is() -> None:
    """A machine whose clock is an hour off tells the server's time all the same."""
    clock = ServerClock()

    clock.heard(3_600_000)

    assert clock.now_ms() == pytest.approx(3_600_000, abs=1000)
