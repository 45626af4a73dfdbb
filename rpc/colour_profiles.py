"""Colours of a picture with an ICC profile, as sRGB: what a browser shows, and what models were trained on.

Needs Pillow with LittleCMS, which its wheels have.
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

from rpc.errors import InvalidInput

MAX_PROFILE_BYTES = 4_000_000
"""A larger profile is passed over; those of presses have some 2 MB."""

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Mode of a picture -> the colour space its profile has to be of."""

GRID = 6
"""Samples a channel in which a profile is compared with sRGB."""

ROUNDING = 1
"""Steps of 255 that a profile of sRGB may be away from it."""


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture in sRGB, mode RGB; as it is without a profile, or with one that is damaged or not its own.

    Raises:
        InvalidInput: this Pillow cannot apply profiles.
    """
    space = SPACES.get(picture.mode)
    if not profile or not space or len(profile) > MAX_PROFILE_BYTES:
        return picture
    if not features.check("littlecms2"):
        raise InvalidInput("the picture has a colour profile, which this Pillow cannot apply: LittleCMS is missing")
    try:
        transform = _transform(profile, picture.mode, space)
        made = None if transform is None else ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        # a damaged profile says nothing of the pixels; browsers pass over it
        return picture
    return made or picture


def _transform(profile: bytes, mode: str, space: str) -> Any | None:
    """Return what turns pixels into sRGB; None if the profile is for other pixels, or is sRGB itself."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != space:
        return None
    intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
    if intent == ImageCms.Intent.ABSOLUTE_COLORIMETRIC:
        # white stays white, as on any screen
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=intent)
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: Any) -> bool:
    steps = np.linspace(0, 255, GRID).round().astype(np.uint8)
    samples = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(GRID, GRID * GRID, 3)
    made = ImageCms.applyTransform(Image.fromarray(samples), transform)
    return made is not None and np.abs(np.asarray(made).astype(int) - samples).max() <= ROUNDING
