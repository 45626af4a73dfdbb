"""What ends a program from outside, and when it may: so that whoever starts processes also ends them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
"""What ends a program without a chance to clear away, unless it asks for one."""


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the block as ctrl-C does, through every `finally`, and end with the usual status."""
    came: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        # not an exception of its own: an event loop knows how to end on this one
        signal.raise_signal(signal.SIGINT)

    # nohup has SIGHUP ignored, and that is to stay so
    heard = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(heard, leave)}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + (came[0] if came else signal.SIGINT)) from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off whatever would end this program until the block is done: nothing is left half started or half ended."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, *ENDINGS)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let processes started in the block never hear SIGINT; here it is heard afterwards.

    Ctrl-C reaches every process of a terminal at once; a server has to outlive the workers that say good-bye to it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
