"""Where somebody speaks in a recording, by the Silero detector that comes with faster-whisper."""

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper.windows import WINDOW, Window

BLOCK = 600 * RATE
"""How much is looked at together: the detector takes samples as float32, and copies them."""

SILENCE_MS, PAD_MS = 500, 200

OPTIONS = VadOptions(
    max_speech_duration_s=WINDOW / RATE - 2 * PAD_MS / 1000, min_silence_duration_ms=SILENCE_MS, speech_pad_ms=PAD_MS
)

FULL_SCALE = 32768.0


def stretches(samples: NDArray[np.int16]) -> list[Window]:
    """Return the stretches in which somebody speaks, in order, none longer than a window."""
    found = []
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK].astype(np.float32) / FULL_SCALE
        for stretch in get_speech_timestamps(block, OPTIONS):
            first, last = start + stretch["start"], start + min(stretch["end"], len(block))
            found += [Window(at, min(at + WINDOW, last)) for at in range(first, last, WINDOW)]
    return found
