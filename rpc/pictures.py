"""How a picture is read and shrunk: the same at both ends, so that what a caller shrinks is what the worker would see.

Needs Pillow. Bytes from outside never raise anything but `InvalidInput` here; nothing but these bytes is read.
"""

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (a plugin makes its format known by being imported)
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
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

MOST_SCANS = 100
"""Scans of a JPEG: a progressive one has about ten, each is a pass over all pixels, and an empty one has few bytes."""

WHITE = (255, 255, 255)

_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)

_SCAN, _END = 0xDA, 0xD9

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

# Pillow would do so with the first picture; a worker that decodes opens no file
Image.preinit()


def read(data: bytes, *, most_pixels: int) -> Image.Image:
    """Return a picture as a person sees it: upright, RGB, transparency on white, of an animation the first frame.

    Raises:
        InvalidInput: no picture of a known format, damaged, or larger than `most_pixels`.
    """
    picture: Image.Image = _header(data)
    check_size(picture.size, most_pixels=most_pixels)
    _check_kind(picture, data)
    form = picture.format
    try:
        picture.load()
        # what is turned replaces what was read, so that no more than two pictures are held at a time
        picture = _upright(picture)
        return _coloured(picture)
    except InvalidInput:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads them to
        raise InvalidInput(f"the {form} picture is damaged: {_reason(error)}") from error


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


def _check_kind(picture: Image.Image, data: bytes) -> None:
    """Raise `InvalidInput` on what Pillow would decode wrongly, or far too long."""
    if picture.format in {"JPEG", "MPO"} and _scans(data) > MOST_SCANS:
        raise InvalidInput(f"the JPEG picture has more than {MOST_SCANS} scans")
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.mode.startswith("I;16"):
        bits, black = picture.tag_v2.get(258), picture.tag_v2.get(262)
        if bits != (16,) or black != 1:
            raise InvalidInput(f"the TIFF picture has grey of {bits} bits, PhotometricInterpretation {black}")


def _scans(jpeg: bytes) -> int:
    """Return how many scans the first picture has; no more than one over the limit are counted (ITU T.81, B.1)."""
    count, place = 0, 2
    while count <= MOST_SCANS and (marker := _MARKER.search(jpeg, place)):
        kind = jpeg[marker.end() - 1]
        if kind == _END:
            break
        count += kind == _SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return count


def check_size(size: tuple[int, int], *, most_pixels: int) -> None:
    """Raise `InvalidInput` if a picture of this width and height is not to be decoded."""
    width, height = size
    if min(size) < 1:
        raise InvalidInput(f"the picture has {width} x {height} pixels")
    if max(size) > MOST_SIDE:
        raise InvalidInput(f"the picture has {width} x {height} pixels, over the limit of {MOST_SIDE} a side")
    if width * height > most_pixels:
        raise InvalidInput(f"the picture has {width} x {height} pixels, over the limit of {most_pixels}")


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


def rgb(picture: Image.Image) -> Image.Image:
    """Return of an opened picture an upright one, RGB; raise `InvalidInput` on a kind of pixel that has no colours."""
    picture.load()
    made = _coloured(_upright(picture))
    return made.copy() if made is picture else made


def _upright(picture: Image.Image) -> Image.Image:
    turn = _turn(picture)
    return picture if turn is None else picture.transpose(turn)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 (metadata are damaged more often than pixels are, and in as many ways)
        return None


def _coloured(picture: Image.Image) -> Image.Image:
    if picture.mode in _WIDE:
        return Image.fromarray(_upper_byte(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        full = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        ground = Image.new("RGB", full.size, WHITE)
        ground.paste(full, mask=full)
        return ground
    if picture.mode in _PLAIN:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    raise InvalidInput(f"the picture has pixels of the kind {picture.mode}, which have no known range")


_WIDE = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})

_PLAIN = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})


def _upper_byte(pixels: np.ndarray) -> np.ndarray:
    """Return the upper 8 of 16 bits: converting would clip them."""
    return (pixels >> 8).astype(np.uint8)


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
