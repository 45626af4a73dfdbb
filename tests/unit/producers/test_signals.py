"""What ends a program from outside."""

import signal

import pytest

from producers.signals import ended_in_order


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_ending_leaves_with_the_usual_status(number: signal.Signals) -> None:
    """128 and its number, as a shell tells it; afterwards each is heard as it was before."""
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, ended_in_order():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == before


def test_nohup_stays_in_force() -> None:
    """A SIGHUP that is ignored, as under nohup, does not end the program."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_in_order():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
