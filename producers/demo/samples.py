"""A picture, a recording and sentences for the demo: made here, so that nothing has to be fetched.

The pitches are those the stand-in of Whisper takes for words, and the squares those the stand-in of YuNet takes for
faces; a test holds them to it.
"""

import io
import shutil
import subprocess
import wave

import numpy as np
from numpy.typing import NDArray

PITCHES = {"zero": 482, "one": 782, "two": 1088, "three": 1477, "four": 2008, "five": 2729, "six": 3713, "seven": 5048}
"""Word -> the tone that stands for it, in Hz, a second of it."""

SPOKEN = ("three", "one", "four", "one", "five")

SPEECH = "Welcome to the library. The doors will close at six o'clock this evening."

SPEECH_S = 20.0
"""How long the program that speaks may take."""

RATE, LOUDNESS, FULL_SCALE = 16_000, 0.3, 32767

WIDTH, HEIGHT = 640, 480

GROUND, BRIGHT = (110, 0, 0), (255, 255, 255)

SQUARES = ((80, 80, 40), (320, 160, 80))
"""x, y and side of the bright squares, in pixels."""

COLOURS = ("a red picture", "a green picture", "a blue picture")
"""What the picture might be called; the first is right."""

QUERY = "the cat sleeps on the roof"

SENTENCES = (
    "die Katze schläft auf dem Dach",
    "le train pour Paris",
    "la niña lee un libro",
    "кошка спит на крыше",
    "il cane mangia il pane",
)

MEANT_THE_SAME = {0, 3}
"""Which of the sentences say in their language what the query says."""


def recording() -> bytes:
    """Return the words of `SPOKEN` as tones, in a WAV file of 16 bits."""
    seconds = np.arange(RATE) / RATE
    sound = np.concatenate([LOUDNESS * np.sin(2 * np.pi * PITCHES[word] * seconds) for word in SPOKEN])
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound * FULL_SCALE).astype("<i2").tobytes())
    return out.getvalue()


def speech() -> bytes | None:
    """Return `SPEECH` as espeak-ng says it, a WAV file; None where that program is not installed or fails."""
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    command = [program, "--stdout", "-v", "en", "-s", "140", SPEECH]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=SPEECH_S).stdout  # noqa: S603 (a fixed text)
    except (OSError, subprocess.SubprocessError):
        return None


def picture() -> NDArray[np.uint8]:
    """Return bright squares on a dark red ground, uint8 (480, 640, 3), RGB."""
    pixels = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    for x, y, side in SQUARES:
        pixels[y : y + side, x : x + side] = BRIGHT
    return pixels
