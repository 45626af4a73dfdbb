"""How a picture is read and shrunk: the same at both ends, so that what a caller shrinks is what the worker would see.

Needs Pillow. Bytes from outside never raise anything but `InvalidInput` here; nothing but these bytes is read.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 (a plugin makes its format known by being imported)
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from rpc import jpeg_markers, png_chunks
from rpc.colour_profiles import to_srgb
from rpc.errors import InvalidInput
from rpc.picture_kinds import kind_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()))
"""What is opened: formats Pillow decodes itself, without another program or another file. JPEG includes MPO."""

MOST_SIDE = 65_500
"""The longest side, in pixels: what JPEG can hold."""

WHITE = (255, 255, 255)

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
    """Return a picture as a person sees it: upright, in sRGB, transparency on white, of an animation the first frame.

    Raises:
        InvalidInput: no picture of a known format, damaged, or larger than `most_pixels`.
    """
    data = png_chunks.cleaned(data)
    picture: Image.Image = _header(data)
    check_size(picture.size, most_pixels=most_pixels)
    _check_kind(picture, data)
    form = picture.format
    try:
        picture = _loaded(picture, data)
        # what is turned replaces what was read, so that no more than two pictures are held at a time
        picture = _upright(_with_transparency(picture, data))
        return _coloured(picture)
    except InvalidInput:
        raise
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads them to
        raise InvalidInput(f"the {form} picture is damaged: {_reason(error)}") from error


def size_of(data: bytes) -> tuple[int, int]:
    """Return width and height from the header alone, before it is turned upright; raise `InvalidInput` without one."""
    # no look at the metadata: of a PNG, Pillow would decode all pixels to find them
    return _header(png_chunks.cleaned(data)).size


def _header(data: bytes) -> Image.Image:
    if not data:
        raise InvalidInput("the picture is empty")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        known = ", ".join(FORMATS)
        kind = kind_of(data)
        if isinstance(error, Image.DecompressionBombError):
            text = f"the picture is too large: {_reason(error)}"
        elif kind in FORMATS:
            text = f"the {kind} picture is damaged or cut off: it cannot be opened"
        elif kind:
            text = f"files of the kind {kind} are not opened as pictures; {known} are: convert it to one of them"
        else:
            text = f"not a picture of a known format ({known})"
        raise InvalidInput(text) from error


def _check_kind(picture: Image.Image, data: bytes) -> None:
    """Raise `InvalidInput` on what Pillow would decode wrongly, or far too long."""
    if picture.format in _JPEG and jpeg_markers.survey(data).scans > jpeg_markers.MAX_SCANS:
        raise InvalidInput(f"the JPEG picture has more than {jpeg_markers.MAX_SCANS} scans")
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.mode.startswith("I;16"):
        bits, black = picture.tag_v2.get(258), picture.tag_v2.get(262)
        if bits != (16,) or black != 1:
            expected = "must have grey of 16 bits with PhotometricInterpretation 1 (0 is black)"
            raise InvalidInput(f"the TIFF picture {expected}, got bits {bits} and PhotometricInterpretation {black}")


_JPEG = frozenset({"JPEG", "MPO"})


def _loaded(picture: Image.Image, data: bytes) -> Image.Image:
    """Return the picture decoded; a JPEG may lack the mark at its end, but no pixels."""
    if picture.format not in _JPEG or jpeg_markers.survey(data).ended:
        picture.load()
        return picture
    first, second = (_header(data + filler + jpeg_markers.END) for filler in (b"", jpeg_markers.FILLER))
    first.load()
    second.load()
    # where pixels are missing the decoder makes them of what follows
    if ImageChops.difference(first, second).getbbox() is not None:
        raise InvalidInput("the JPEG picture is damaged: it is cut off")
    return first


def _with_transparency(picture: Image.Image, data: bytes) -> Image.Image:
    """Return the picture with the value of pixels that a PNG declares transparent, in the range of its pixels.

    Pillow leaves that value as it is stored, which fits samples of 8 bits and of 1.
    """
    value = png_chunks.transparent_value(data) if "transparency" in picture.info else None
    if value is None or value.depth in (1, 8):
        return picture
    if value.depth < 8:  # noqa: PLR2004 (bits)
        picture.info["transparency"] = value.samples[0] * 255 // (2**value.depth - 1)
        return picture
    return _masked(picture, data, value.samples)


def _masked(picture: Image.Image, data: bytes, samples: tuple[int, ...]) -> Image.Image:
    """Return a picture of 16 bits as one of 8 with an alpha channel that is 0 where all samples are these."""
    if picture.mode in _WIDE:
        stored = np.asarray(picture)
        opaque, upper = stored != samples[0], Image.fromarray(_upper_byte(stored))
    else:
        lower: Any = _header(data)
        # the same samples again, of which Pillow now takes the lower bytes
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        upper = picture
        high, low = (np.asarray(part) for part in (upper, lower))
        opaque = ((high != [one >> 8 for one in samples]) | (low != [one & 255 for one in samples])).any(axis=2)
    alpha = Image.fromarray(opaque.astype(np.uint8) * 255)
    made = upper.convert("RGB")
    made.putalpha(alpha)
    made.info = {name: value for name, value in picture.info.items() if name != "transparency"}
    return made


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
        return _UPRIGHT.get(_exif(picture).get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 (metadata are damaged more often than pixels are, and in as many ways)
        return None


def _exif(picture: Image.Image) -> Image.Exif:
    """Return the EXIF data alone: Pillow takes an orientation from XMP too, which browsers do not."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile) or not any(name in picture.info for name in _XMP):
        return picture.getexif()
    exif = Image.Exif()
    exif.load(picture.info.get("exif", b""))
    return exif


_XMP = ("xmp", "XML:com.adobe.xmp")


def _coloured(picture: Image.Image) -> Image.Image:
    """Return the picture as sRGB, mode RGB, without transparency."""
    profile = picture.info.get("icc_profile")
    if picture.mode in _WIDE:
        grey = Image.fromarray(_upper_byte(np.asarray(picture)))
        return to_srgb(grey, profile).convert("RGB")
    if picture.has_transparency_data:
        return _on_white(picture if picture.mode in _ALPHA else picture.convert("RGBA"), profile)
    if picture.mode in _PLAIN:
        made = to_srgb(picture.convert("RGB") if picture.mode in _INDEXED else picture, profile)
        return made if made.mode == "RGB" else made.convert("RGB")
    raise InvalidInput(f"the picture has pixels of the kind {picture.mode}, which have no known range")


def _on_white(picture: Image.Image, profile: bytes | None) -> Image.Image:
    ground = Image.new("RGB", picture.size, WHITE)
    if profile is None:
        # no plane is copied where none has to be converted
        full = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        ground.paste(full, mask=full)
        return ground
    alpha = picture.getchannel("A")
    colours = to_srgb(picture.convert(_ALPHA[picture.mode]), profile)
    ground.paste(colours if colours.mode == "RGB" else colours.convert("RGB"), mask=alpha)
    return ground


_ALPHA = {"RGBA": "RGB", "LA": "L"}
"""Mode with an alpha channel -> the mode without it."""

_INDEXED = frozenset({"P", "RGBX"})

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
