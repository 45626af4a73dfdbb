"""SIGTERM as an interruption: what a run has started ends with it."""

from types import FrameType


def interrupt(number: int, frame: FrameType | None) -> None:
    """End as ctrl-C does, so that no server or worker outlives the run."""
    del number, frame
    raise KeyboardInterrupt
