"""Where a recording is cut into the windows Whisper hears at once. Pure: samples in, places out."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference_worker.media.recording import RATE

WINDOW = 30 * RATE
"""Samples Whisper hears at once."""

SEARCHED = 10 * RATE
"""How far back from the end of a full window a pause is looked for."""

FRAME = RATE // 50
"""What loudness is measured over: 20 ms."""

PAUSE = 15
"""Quiet frames in a row that make a pause: 0.3 s."""

QUIET = 0.05
"""A frame is quiet below this part of the loudness of the window's louder frames."""


NEAR_S = 0.3
"""How far a timestamp of the model may be from where a word ends."""

GAP_FRAMES = 3
"""Frames of the gap between two words that is looked for: 60 ms."""


class Window(NamedTuple):
    """From which sample of the recording to which."""

    start: int
    stop: int


def cut(samples: NDArray[np.int16]) -> list[Window]:
    """Return windows that cover the recording without gap or overlap, none longer than 30 s.

    A full window ends in the middle of the last pause of its last 10 s, so that no word is cut in two; without a
    pause there, after 30 s.
    """
    windows = []
    start = 0
    while len(samples) - start > WINDOW:
        stop = start + _end(samples[start : start + WINDOW])
        windows.append(Window(start, stop))
        start = stop
    return [*windows, Window(start, len(samples))]


def _end(samples: NDArray[np.int16]) -> int:
    """Return where a full window is to end, in samples from its start."""
    loudness = loudness_of(samples)
    quiet = loudness < QUIET * np.percentile(loudness, 90)
    first = (WINDOW - SEARCHED) // FRAME
    pauses = [run for run in _runs(quiet) if run.start >= first and run.stop - run.start >= PAUSE]
    if not pauses:
        return WINDOW
    last = pauses[-1]
    return (last.start + last.stop) // 2 * FRAME


def nearest_gap(samples: NDArray[np.int16], at: int) -> int:
    """Return the middle of the quietest 60 ms within 0.3 s of a sample; the sample itself if speech goes on there."""
    loudness = loudness_of(samples)
    first, last = (max(0, round(at + reach * RATE) // FRAME) for reach in (-NEAR_S, NEAR_S))
    if len(loudness[first:last]) < GAP_FRAMES:
        return at
    near = np.convolve(loudness[first:last], np.full(GAP_FRAMES, 1 / GAP_FRAMES), "valid")
    if near.min() > QUIET * np.percentile(loudness, 90):
        return at
    return int((first + np.argmin(near)) * FRAME + GAP_FRAMES * FRAME // 2)


def loudness_of(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the root mean square of each whole frame of 20 ms."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float32)
    return np.asarray(np.sqrt(np.mean(frames * frames, axis=1)))


def _runs(flags: NDArray[np.bool_]) -> list[Window]:
    """Return where flags are set, as runs."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return [Window(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def pack(speech: Iterable[Window]) -> list[Window]:
    """Return windows of at most 30 s that hold all stretches of speech, in order; long silence falls between them.

    Stretches are at most 30 s long. Those that fit into one window share it, with the silence between them.
    """
    windows: list[Window] = []
    for stretch in speech:
        if windows and stretch.stop - windows[-1].start <= WINDOW:
            windows[-1] = Window(windows[-1].start, stretch.stop)
        else:
            windows.append(stretch)
    return windows
