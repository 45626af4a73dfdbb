"""Pictures, as both ends read and shrink them."""

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from rpc import jpeg_markers, pictures
from rpc.errors import InvalidInput
from tests import crafted, hazards

MOST_PIXELS = 1_000_000


def read(data: bytes) -> Image.Image:
    """Return a picture as it is read."""
    return pictures.read(data, most_pixels=MOST_PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_of_holding_a_camera_is_turned_upright(orientation: int) -> None:
    """Stored in any of the eight ways EXIF knows, the white corner is upper left and the picture lies."""
    upright = Image.new("L", (64, 32))
    upright.paste(255, (0, 0, 16, 16))
    # what undoes each turn, by EXIF 2.32, 4.6.4 A
    stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    turned = upright
    for turn in stored.get(orientation, []):
        turned = turned.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation

    picture = read(hazards.encoded(turned, "PNG", exif=exif))

    assert np.array_equal(np.asarray(picture), np.asarray(upright.convert("RGB")))


# as in a worker: pytest makes errors of what Pillow warns of
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_metadata_cost_nobody_a_picture() -> None:
    """Whatever becomes of the EXIF of a sound JPEG, its pixels are read, upright or lying."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "maker"
    exif[ExifTags.Base.XResolution] = 72.0
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    data = hazards.encoded(Image.fromarray(hazards.photo(60, 40)), "JPEG", exif=exif)
    start = data.index(b"Exif\0\0")
    length = int.from_bytes(data[start - 2 : start])
    chance = np.random.default_rng(4)
    sizes = set()
    for _ in range(1000):
        broken = bytearray(data)
        for _ in range(3):
            broken[start + 6 + int(chance.integers(length - 8))] = int(chance.integers(256))
        sizes.add(read(bytes(broken)).size)

    assert sizes == {(60, 40), (40, 60)}


def test_only_the_first_pictures_scans_count() -> None:
    """What follows a JPEG, as the film of a living photograph does, may look like any number of scans."""
    data = hazards.jpeg() + b"\xff\xda\x00\x02" * 1000

    assert read(data).size == (320, 200)
    with pytest.raises(InvalidInput, match="scans"):
        read(crafted.progressive(64, jpeg_markers.MAX_SCANS))


def test_what_is_wrong_is_said_once() -> None:
    """A picture refused for its kind is not called damaged; one over a side's limit is told that limit."""
    with pytest.raises(InvalidInput, match=r"^the picture has pixels of the kind F, which have no known range$"):
        read(hazards.PICTURES_REFUSED["tiff of floats"]())
    with pytest.raises(InvalidInput, match="over the limit of 65500 a side"):
        read(hazards.PICTURES_REFUSED["longer than any"]())


def test_a_picture_given_is_left_as_it_is() -> None:
    """What a caller's own picture becomes is another picture."""
    given = Image.new("RGB", (4, 4), "red")

    pictures.rgb(given).paste((0, 0, 255), (0, 0, 4, 4))

    assert given.getpixel((0, 0)) == (255, 0, 0)


def test_every_colour_of_every_transparency_lies_on_white() -> None:
    """As Pillow's own composition has it."""
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    picture = Image.fromarray(np.stack([value, 255 - value, value.T, alpha], axis=-1))
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))

    expected = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))

    assert np.array_equal(expected, np.asarray(read(hazards.encoded(picture, "PNG"))))


def test_sixteen_bits_are_the_upper_eight_of_every_value() -> None:
    """From black to white, whichever way the bytes are stored, nothing is clipped."""
    values = np.arange(0, 65_536, 257, dtype=np.uint16).reshape(8, 32)

    for form in ("PNG", "TIFF"):
        picture = read(hazards.encoded(Image.fromarray(values), form))

        assert np.array_equal(np.asarray(picture)[:, :, 0], values >> 8)


def test_png_loses_nothing_and_shrinking_keeps_the_mean() -> None:
    """A picture sent as PNG is the same; one capped is as bright as it was, with the same sides' ratio."""
    picture = Image.fromarray(hazards.photo(400, 200))

    small = pictures.cap(picture, 100)

    assert np.array_equal(np.asarray(read(pictures.png(picture))), np.asarray(picture))
    assert small.size == pictures.capped((400, 200), 100) == (100, 50)
    assert np.asarray(small).mean() == pytest.approx(np.asarray(picture).mean(), abs=1.0)
    assert pictures.cap(picture, 400) is picture
    assert pictures.fit(picture, (30, 70)).size == (30, 70)


def test_a_comment_is_no_orientation() -> None:
    """A picture whose metadata say nothing of how it is held is upright."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Raw profile type exif", "no profile at all")

    assert read(hazards.encoded(Image.new("L", (6, 3), 9), "PNG", pnginfo=note)).size == (6, 3)
