"""How what callers give, a file, bytes, a picture, becomes an input of a job. Reads files; speaks to nobody."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpc.errors import InvalidInput
from rpc.results import Size

MOST_PIXELS = 50_000_000
"""A larger picture is not decoded by the caller; what becomes of it is for the worker to say."""

CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture as it travels.

    Attributes:
        given: the bytes of a file, or pixels, uint8 (h, w, 3), RGB.
        size: width and height of the upright picture it was shrunk from; None if it was not.
    """

    given: bytes | NDArray[np.uint8]
    size: Size | None = None


def recording(audio: Any) -> bytes:
    """Return the bytes of a recording, given as such or by its path; raise `OSError` if the file cannot be read."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio)
    if isinstance(audio, str | os.PathLike):
        return Path(audio).read_bytes()
    raise InvalidInput(f"a recording is bytes or a path, not {type(audio).__name__}")


def picture(image: Any, sees: str) -> Sent:
    """Return a picture as it is to be sent to a model that sees so much of it.

    `image` is bytes of a file, a path, a PIL image, or pixels: uint8 (h, w, 3), RGB. `sees` is "384x384" (every
    picture becomes that), "<=1280" (no side is longer), or "" (unknown: nothing is shrunk). It is shrunk only if
    Pillow is there, and if that loses nothing: the worker would have made the same pixels of it.

    Raises:
        InvalidInput: nothing of that.
        OSError: the file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return _encoded(Path(image).read_bytes(), sees)
    if isinstance(image, bytes | bytearray | memoryview):
        return _encoded(bytes(image), sees)
    if type(image).__module__.partition(".")[0] == "PIL":
        return _pixels(np.asarray(_pictures().rgb(image)), sees)
    if isinstance(image, np.ndarray):
        return _pixels(image, sees)
    raise InvalidInput(f"an image is bytes, a path, a PIL image or an array, not {type(image).__name__}")


@cache
def has_pillow() -> bool:
    """Return whether pictures can be shrunk here."""
    return importlib.util.find_spec("PIL") is not None


def _pictures() -> Any:
    from rpc import pictures  # noqa: PLC0415 (Pillow comes with an extra, and takes its time to import)

    return pictures


def _encoded(data: bytes, sees: str) -> Sent:
    if not sees or not has_pillow():
        return Sent(data)
    pictures = _pictures()
    try:
        size = pictures.size_of(data)
        if size[0] * size[1] > MOST_PIXELS or _seen(size, sees) == size:
            return Sent(data)
        smaller = pictures.png(_shrink(pictures.read(data, most_pixels=MOST_PIXELS), sees))
    except InvalidInput:
        # the worker says what is wrong with it, in one place and in the same words for everybody
        return Sent(data)
    return Sent(smaller, size) if len(smaller) < len(data) else Sent(data)


def _pixels(pixels: NDArray[Any], sees: str) -> Sent:
    if pixels.dtype != np.uint8 or pixels.ndim != CHANNELS or pixels.shape[2] != CHANNELS or not pixels.size:
        raise InvalidInput(f"an array of {pixels.dtype} {pixels.shape} is not uint8 (height, width, {CHANNELS})")
    height, width, _ = pixels.shape
    size = (width, height)
    seen = _seen(size, sees)
    if not sees or not has_pillow() or seen[0] * seen[1] >= width * height > 0 or width * height > MOST_PIXELS:
        return Sent(pixels)
    return Sent(np.asarray(_shrink(_pictures().of_pixels(pixels), sees)), size)


def _seen(size: Size, sees: str) -> Size:
    """Return width and height of what a model sees of a picture."""
    if sees.startswith("<="):
        most: Callable[[Size, int], Size] = _pictures().capped
        return most(size, int(sees[2:]))
    if not sees:
        return size
    width, _, height = sees.partition("x")
    return int(width), int(height)


def _shrink(image: Any, sees: str) -> Any:
    if sees.startswith("<="):
        return _pictures().cap(image, int(sees[2:]))
    return _pictures().fit(image, _seen(image.size, sees))
