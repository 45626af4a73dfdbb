"""Pictures from outside, as pixels."""

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rpc import pictures
from rpc.errors import InvalidInput

CHANNELS = 3

Size = tuple[int, int]
"""Width and height."""

Shrink = Callable[[Image.Image], Image.Image]

# this worker's own limit is checked before anything is decoded; and metadata nobody reads are nothing to warn of
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\..*")


AT_ONCE = 50_000_000
"""Pixels that are decoded at a time, of all models of an engine: with what decoders need beside them, up to 16 bytes
each. A larger picture, if the settings allow one, is decoded alone."""

SMALL = 1_000_000
"""A picture of no more pixels does not count, and waits for none."""


class Room:
    """So many pixels may be decoded at a time. Whoever finds no room waits, in the order of coming."""

    def __init__(self, pixels: int) -> None:
        self._most = self._free = pixels
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Have room for a picture as long as this lasts."""
        wanted = min(pixels, self._most) if pixels > SMALL else 0
        if wanted:
            # a large picture, once it is its turn, is not overtaken by smaller ones for ever
            with self._turn, self._changed:
                self._changed.wait_for(lambda: self._free >= wanted)
                self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


_room = Room(AT_ONCE)


def decode(given: Any, *, most_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels of an encoded picture, or those given, as uint8 (h, w, 3), RGB, upright.

    Raises:
        InvalidInput: neither bytes of a picture nor such an array, or larger than `most_pixels`.
    """
    size = _size(given, most_pixels=most_pixels)
    if isinstance(given, np.ndarray):
        return given
    with _room.taken(math.prod(size)):
        return np.asarray(pictures.read(given, most_pixels=most_pixels))


def shrunk(given: Any, shrink: Shrink, *, most_pixels: int) -> tuple[NDArray[np.uint8], Size]:
    """Return the pixels of what `shrink` makes of a picture, a copy of their own, and its width and height before.

    As `decode`, but what is large is held as one picture, and only while there is room for it.
    """
    size = _size(given, most_pixels=most_pixels)
    with _room.taken(math.prod(size)):
        if isinstance(given, np.ndarray):
            picture = pictures.of_pixels(given)
        else:
            picture = pictures.read(given, most_pixels=most_pixels)
        # turned upright, its sides may have changed places
        return np.array(shrink(picture)), picture.size


def _size(given: Any, *, most_pixels: int) -> Size:
    """Return width and height as they are told; raise `InvalidInput` on what is not to be decoded."""
    if isinstance(given, np.ndarray):
        return _checked(given, most_pixels=most_pixels)
    if not isinstance(given, bytes):
        raise InvalidInput(f"the input is of type {type(given).__name__}, neither bytes of a picture nor pixels")
    size = pictures.size_of(given)
    pictures.check_size(size, most_pixels=most_pixels)
    return size


def _checked(pixels: NDArray[Any], *, most_pixels: int) -> Size:
    if pixels.dtype != np.uint8 or pixels.ndim != CHANNELS or pixels.shape[2] != CHANNELS:
        raise InvalidInput(f"pixels of {pixels.dtype} {pixels.shape} are not uint8 (height, width, {CHANNELS})")
    height, width, _ = pixels.shape
    pictures.check_size((width, height), most_pixels=most_pixels)
    return width, height
