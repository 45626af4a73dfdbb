"""Where decoded sound belongs on a player's clock. Pure: timestamps in, seconds of silence out."""

from collections.abc import Callable

GAP_S = 0.1
"""A shorter hole between two frames is the rounding of timestamps: containers count in milliseconds, codecs pad."""


class Timeline:
    """The position of the next sample, in seconds from the start of the container.

    A frame that is late by its timestamp has silence put in front of it. A timestamp that steps back, or that would
    need more silence than is allowed, belongs to another clock (joined recordings, a restarted broadcast): the sound
    goes on where it is, and later timestamps are read relative to this one.

    Attributes:
        position_s: seconds of sound and silence so far.
        silence_s: seconds of silence among them.
    """

    def __init__(self, start_s: float) -> None:
        self.position_s = 0.0
        self.silence_s = 0.0
        self._offset_s = start_s
        self._end_s: float | None = None

    def place(self, at_s: float | None, duration_s: float, *, max_silence_s: Callable[[], float]) -> float:
        """Place a frame by its timestamp, if it has one; return the seconds of silence that belong in front of it."""
        silence_s = 0.0 if at_s is None else self._silence(at_s, max_silence_s)
        self.position_s += silence_s + duration_s
        self.silence_s += silence_s
        if at_s is not None:
            self._end_s = at_s + duration_s
        return silence_s

    def _silence(self, at_s: float, max_silence_s: Callable[[], float]) -> float:
        late_s = at_s - self._offset_s - self.position_s
        # an overlap that grows slowly is a drift of the sound card's clock, and is made up for by later gaps
        steps_back = late_s < 0 if self._end_s is None else at_s < self._end_s - GAP_S
        if steps_back or (late_s > GAP_S and late_s > max_silence_s()):
            self._offset_s = at_s - self.position_s
            return 0.0
        return late_s if late_s > GAP_S else 0.0
