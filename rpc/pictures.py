"""How a picture is read and shrunk: the same at both ends, so that what a caller shrinks is what the worker would see.

Needs Pillow. Bytes from outside never raise anything but `InvalidInput` here; nothing but these bytes is read.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (a plugin makes its format known by being imported)
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from rpc.errors import InvalidInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened: formats Pillow decodes itself, without another program or another file. JPEG includes MPO."""

MOST_SIDE = 65_500
"""The longest side, in pixels: what JPEG can hold."""

WHITE = (255, 255, 255, 255)


def read(data: bytes, *, most_pixels: int) -> Image.Image:
    """Return a picture as a person sees it: upright, RGB, transparency on white, of an animation the first frame.

    Raises:
        InvalidInput: no picture of a known format, damaged, or larger than `most_pixels`.
    """
    picture = _header(data)
    check_size(picture.size, most_pixels=most_pixels)
    try:
        picture.load()
        return rgb(picture)
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads them to
        raise InvalidInput(f"the {picture.format} picture is damaged: {_reason(error)}") from error


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height from the header alone, before it is turned upright; raise `InvalidInput` without one."""
    # no look at the metadata: of a PNG, Pillow would decode all pixels to find them
    return _header(data).size


def _header(data: bytes) -> Image.Image:
    if not data:
        raise InvalidInput("the picture is empty")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        raise InvalidInput(f"not a picture of a known format ({', '.join(FORMATS)})") from error


def check_size(size: tuple[int, int], *, most_pixels: int) -> None:
    """Raise `InvalidInput` if a picture of this width and height is not to be decoded."""
    width, height = size
    if min(size) < 1:
        raise InvalidInput(f"the picture has {width} x {height} pixels")
    if max(size) > MOST_SIDE or width * height > most_pixels:
        raise InvalidInput(f"the picture has {width} x {height} pixels, over the limit of {most_pixels}")


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


def rgb(picture: Image.Image) -> Image.Image:
    """Return an opened picture upright and as RGB; raise `InvalidInput` on a kind of pixel that has no colours."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "RGB":
        return upright if upright is not picture else picture.copy()
    if upright.mode in _SCALED:
        return Image.fromarray(_SCALED[upright.mode](np.asarray(upright))).convert("RGB")
    if upright.has_transparency_data:
        full = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", full.size, WHITE), full).convert("RGB")
    if upright.mode in {"1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"}:
        return upright.convert("RGB")
    raise InvalidInput(f"pixels of the kind {upright.mode} have no known range")


def _upper_byte(pixels: np.ndarray) -> np.ndarray:
    """Return the upper 8 of 16 bits: converting would clip them."""
    return (pixels.astype(np.int64).clip(0, 0xFFFF) >> 8).astype(np.uint8)


_SCALED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "I;16": _upper_byte,
    "I;16B": _upper_byte,
    "I;16L": _upper_byte,
    "I;16N": _upper_byte,
    "I": _upper_byte,
}


def of_pixels(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the picture of uint8 (h, w, 3), RGB."""
    return Image.fromarray(pixels)


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the picture in exactly this width and height, bicubic, as SigLIP's image processor resizes."""
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


def cap(picture: Image.Image, long_side: int) -> Image.Image:
    """Return the picture shrunk until its longer side has at most so many pixels, each the mean of those it covers."""
    size = capped(picture.size, long_side)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BOX)


def capped(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return width and height after `cap`."""
    scale = min(1.0, long_side / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def png(picture: Image.Image) -> bytes:
    """Return the picture as PNG, which loses nothing, packed quickly rather than tightly."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()
