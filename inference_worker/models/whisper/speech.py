"""Where somebody speaks in a recording, by the Silero detector that comes with faster-whisper."""

from collections.abc import Sequence

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper.windows import WINDOW, Window, loudness_of

BLOCK = 600 * RATE
"""How much is looked at together: the detector takes samples as float32, and copies them."""

SILENCE_MS, PAD_MS = 500, 200

OPTIONS = VadOptions(
    max_speech_duration_s=WINDOW / RATE - 2 * PAD_MS / 1000, min_silence_duration_ms=SILENCE_MS, speech_pad_ms=PAD_MS
)

FULL_SCALE = 32768.0

LOUD = FULL_SCALE * 10 ** (-30 / 20)
"""What is louder than -30 dB of full scale is decoded without asking the detector, as it may be music or noise."""

SHORTEST_WORD = 10
"""Frames of 20 ms that the shortest word is loud in."""

SEARCHED = 20
"""Windows in which the first speech of a recording is looked for: 10 minutes."""


def stretches(samples: NDArray[np.int16]) -> list[Window]:
    """Return the stretches in which somebody speaks, in order, none longer than a window."""
    found = []
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK].astype(np.float32) / FULL_SCALE
        for stretch in get_speech_timestamps(block, OPTIONS):
            first, last = start + stretch["start"], start + min(stretch["end"], len(block))
            found += [Window(at, min(at + WINDOW, last)) for at in range(first, last, WINDOW)]
    return found


def may_be_in(samples: NDArray[np.int16]) -> bool:
    """Return whether speech may be in a window: it is loud for as long as a word is, or the detector finds speech.

    A quiet window is shown to the detector at full loudness, because Whisper hears quiet speech too.
    """
    loudest = np.sort(loudness_of(samples))[-SHORTEST_WORD:]
    if len(loudest) < SHORTEST_WORD or loudest[0] >= LOUD:
        return len(loudest) == SHORTEST_WORD
    peak = float(np.abs(samples.astype(np.float32)).max())
    return peak > 1 and is_in(samples.astype(np.float32) / (2 * peak))


def is_in(sound: NDArray[np.float32]) -> bool:
    """Return whether the detector finds speech in samples of -1 to 1."""
    return bool(get_speech_timestamps(sound, OPTIONS))


def first(samples: NDArray[np.int16], windows: Sequence[Window]) -> Window | None:
    """Return the first window in which the detector finds speech; without any, the first of all."""
    if len(windows) > 1:
        for window in windows[:SEARCHED]:
            if is_in(samples[window.start : window.stop].astype(np.float32) / FULL_SCALE):
                return window
    return windows[0] if windows else None
