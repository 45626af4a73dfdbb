"""Faces drawn into the picture they were found in. Needs Pillow."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from rpc import Face, pictures
from rpc.inputs import MOST_PIXELS

COLOUR = (255, 64, 64)

LINES_OF_A_SIDE, LETTERS_OF_A_SIDE = 400, 60
"""How fine lines and letters are, against the longer side of the picture."""

LEAST_LINE_PX, LEAST_LETTER_PX = 2, 10
"""A finer line would drown in the halved colours of a JPEG."""


def draw(file: Path, found: Sequence[Face], *, into: Path) -> None:
    """Write the upright picture with boxes, landmarks and scores; the suffix of `into` names the format.

    Raises:
        InvalidInput: the file is no picture.
        OSError: it cannot be read, or `into` not be written.
    """
    picture = pictures.read(file.read_bytes(), most_pixels=MOST_PIXELS)
    mark(picture, found)
    picture.save(into)


def mark(picture: Image.Image, found: Sequence[Face]) -> None:
    """Draw boxes, landmarks and scores into a picture, of lines as wide as it takes to see them in it."""
    pen = ImageDraw.Draw(picture)
    longer = max(picture.size)
    thick = max(LEAST_LINE_PX, round(longer / LINES_OF_A_SIDE))
    letters = max(LEAST_LETTER_PX, round(longer / LETTERS_OF_A_SIDE))
    for face in found:
        x, y, width, height = face.bbox
        pen.rectangle((x, y, x + width, y + height), outline=COLOUR, width=thick)
        for right, down in face.landmarks:
            pen.ellipse((right - thick, down - thick, right + thick, down + thick), fill=COLOUR)
        pen.text((x + 2 * thick, y + 2 * thick), f"{face.confidence:.2f}", fill=COLOUR, font_size=letters)
