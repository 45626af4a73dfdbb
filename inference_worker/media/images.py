"""Pictures from outside, as pixels."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rpc import pictures
from rpc.errors import InvalidInput

CHANNELS = 3

# this worker's own limit is checked before anything is decoded; and metadata nobody reads are nothing to warn of
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\..*")


def decode(given: Any, *, most_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels of an encoded picture, or those given, as uint8 (h, w, 3), RGB, upright.

    Raises:
        InvalidInput: neither bytes of a picture nor such an array, or larger than `most_pixels`.
    """
    if isinstance(given, np.ndarray):
        return _checked(given, most_pixels=most_pixels)
    if not isinstance(given, bytes):
        raise InvalidInput(f"the input is of type {type(given).__name__}, neither bytes of a picture nor pixels")
    return np.asarray(pictures.read(given, most_pixels=most_pixels))


def _checked(pixels: NDArray[Any], *, most_pixels: int) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != CHANNELS or pixels.shape[2] != CHANNELS:
        raise InvalidInput(f"pixels of {pixels.dtype} {pixels.shape} are not uint8 (height, width, {CHANNELS})")
    height, width, _ = pixels.shape
    pictures.check_size((width, height), most_pixels=most_pixels)
    return pixels
