"""Files of pictures that browsers show: what surrounds the pixels costs nobody a picture, and colours are sRGB."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from rpc import pictures
from rpc.errors import InvalidInput
from tests import hazards
from tests.unit.rpc.png_files import chunk, png

GREY, RGB = 0, 2

WHITE = [255, 255, 255]


def pixels(data: bytes) -> list[list[int]]:
    """Return the pixels of a picture of one row."""
    row: list[list[int]] = np.asarray(pictures.read(data, most_pixels=1_000_000))[0].tolist()
    return row


TEXT = b"comment\0" + random.Random(1).randbytes(3_000_000).replace(b"\0", b"\1")

PACKED_TEXT = b"comment\0\0" + zlib.compress(b"a" * 10_000_000, 9)

SOUND = {
    "three megabytes of text": chunk(b"tEXt", TEXT),
    "packed text": chunk(b"zTXt", PACKED_TEXT),
    "international text": chunk(b"iTXt", b"comment\0\1\0\0\0" + zlib.compress(b"a" * 10_000_000)),
    "text that is not packed": chunk(b"zTXt", b"comment\0\0no deflate at all"),
    "a text with a wrong checksum": chunk(b"tEXt", b"comment\0hello", damaged=True),
    "a time with a wrong checksum": chunk(b"tIME", bytes(7), damaged=True),
    "a size with a wrong checksum": chunk(b"pHYs", bytes(9), damaged=True),
    "orientation with a wrong checksum": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", damaged=True),
    "a profile with a wrong checksum": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(200)), damaged=True),
    "a profile that is damaged": chunk(b"iCCP", b"p\0\0rubbish"),
    "a profile that unpacks to ten megabytes": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10_000_000))),
    "a profile of nothing": chunk(b"iCCP", b""),
    "a chunk nobody knows": chunk(b"prVt", bytes(100)),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_surrounds_the_pixels_of_a_png_is_passed_over(name: str) -> None:
    """A chunk that a decoder can do without may be long, damaged or unknown."""
    data = png((2, 1), 8, GREY, b"\x10\x20", SOUND[name])

    assert pixels(data) == [[16] * 3, [32] * 3]
    assert pictures.size_of(data) == (2, 1)


def test_damage_of_the_pixels_themselves_is_an_error() -> None:
    """A wrong checksum of the header, which no decoder can do without, is not passed over."""
    data = bytearray(png((2, 1), 8, GREY, b"\x10\x20"))
    data[20] ^= 1

    with pytest.raises(InvalidInput, match=r"^the PNG picture is damaged"):
        pixels(bytes(data))


@pytest.mark.parametrize("form", ["WEBP", "PNG", "JPEG", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("kept", [16, 40, -2])
def test_a_file_cut_off_is_called_damaged(form: str, kept: int) -> None:
    """A file of a known format is never said to be of an unknown one."""
    data = hazards.encoded(Image.fromarray(hazards.photo(40, 30)), form)[:kept]

    try:
        pictures.read(data, most_pixels=10_000)
    except InvalidInput as error:
        assert str(error).startswith(f"the {form} picture is damaged")  # noqa: PT017 (two bytes may cost no pixels)
    else:
        assert (form, kept) in {("JPEG", -2), ("PNG", -2), ("GIF", -2)}


def test_an_inverted_tiff_is_refused_with_its_expectation() -> None:
    """The message has the values that are read and those of the file."""
    data = hazards.encoded(Image.fromarray(np.zeros((2, 2), np.uint16)), "TIFF", tiffinfo={262: 0})

    with pytest.raises(InvalidInput, match=r"must have grey of 16 bits .*, got bits \(16,\) and .* 0"):
        pixels(data)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize(("orientation", "size"), [(None, (6, 3)), (1, (6, 3)), (8, (3, 6))])
def test_xmp_turns_no_picture(form: str, orientation: int | None, size: tuple[int, int]) -> None:
    """EXIF alone says how a picture is held, as in browsers."""
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    data = hazards.encoded(Image.new("RGB", (6, 3)), form, xmp=XMP, exif=exif)

    assert Image.open(io.BytesIO(data)).info["xmp"] == XMP
    assert pictures.read(data, most_pixels=100).size == size
    assert pictures.rgb(Image.open(io.BytesIO(data))).size == size


def samples(*values: int) -> bytes:
    """Return samples of 16 bits."""
    return struct.pack(f">{len(values)}H", *values)


def two_byte_grey(value: int) -> bytes:
    """Return a chunk that makes one value of grey transparent."""
    return chunk(b"tRNS", samples(value))


TRANSPARENT = {
    "1 bit": (png((2, 1), 1, GREY, b"\x40", two_byte_grey(1)), [[0] * 3, WHITE]),
    "1 bit, black": (png((2, 1), 1, GREY, b"\x40", two_byte_grey(0)), [WHITE, WHITE]),
    "2 bits": (png((4, 1), 2, GREY, b"\x1b", two_byte_grey(1)), [[0] * 3, WHITE, [170] * 3, WHITE]),
    "4 bits": (png((2, 1), 4, GREY, b"\x3c", two_byte_grey(3)), [WHITE, [204] * 3]),
    "8 bits": (png((2, 1), 8, GREY, b"\x03\x04", two_byte_grey(3)), [WHITE, [4] * 3]),
    "16 bits": (
        png((3, 1), 16, GREY, samples(0x1234, 0x8000, 0x8001), two_byte_grey(0x8000)),
        [[0x12] * 3, WHITE, [0x80] * 3],
    ),
    "8 bits of colour": (
        png((2, 1), 8, RGB, b"\1\2\3\1\2\4", chunk(b"tRNS", samples(1, 2, 3))),
        [WHITE, [1, 2, 4]],
    ),
    "16 bits of colour": (
        png(
            (3, 1),
            16,
            RGB,
            samples(0x0102, 0x0304, 0x0506, 0x0102, 0x0304, 0x0507, 0x0202, 0x0304, 0x0506),
            chunk(b"tRNS", samples(0x0102, 0x0304, 0x0506)),
        ),
        [WHITE, [1, 3, 5], [2, 3, 5]],
    ),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_a_png_is_white_where_its_pixels_are_transparent(name: str) -> None:
    """The one value that is transparent is compared with the samples as they are stored, of any number of bits."""
    data, expected = TRANSPARENT[name]

    assert pixels(data) == expected


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"quality": 20}])
def test_a_jpeg_without_its_end_marker_is_whole(options: dict[str, int]) -> None:
    """A JPEG that lacks only the mark at its end has all its pixels; one that lacks more is cut off."""
    whole = hazards.encoded(Image.fromarray(hazards.photo(160, 100)), "JPEG", **options)

    assert np.array_equal(
        np.asarray(pictures.read(whole[:-2], most_pixels=100_000)),
        np.asarray(pictures.read(whole, most_pixels=100_000)),
    )
    for missing in (12, 50, len(whole) // 2):
        with pytest.raises(InvalidInput, match="damaged"):
            pictures.read(whole[:-missing], most_pixels=100_000)


REFUSED = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "HEIF": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
    "Canon CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "MP4 or QuickTime": b"\0\0\0\x18ftypisom\0\0\0\1isommp42",
    "JPEG XL": b"\xff\x0a" + bytes(20),
    "JPEG 2000": b"\xff\x4f\xff\x51" + bytes(20),
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": b"<!DOCTYPE html><html></html>",
    "Photoshop": b"8BPS\0\1" + bytes(30),
    "ICO": b"\0\0\1\0\1\0" + bytes(30),
    "ZIP": b"PK\3\4" + bytes(30),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_of_another_kind_is_refused_by_its_name(kind: str) -> None:
    """An error says what the file is, and what it has to become."""
    with pytest.raises(InvalidInput, match=f"the kind {kind} are not opened as pictures; JPEG, .*: convert it"):
        pictures.read(REFUSED[kind], most_pixels=1000)


def test_an_avif_is_upright_with_transparency_on_white() -> None:
    """AVIF is read as the other formats are."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.zeros((40, 80, 4), np.uint8)
    lying[20:, :40] = (200, 100, 50, 255)
    data = hazards.encoded(Image.fromarray(lying), "AVIF", quality=100, exif=exif)

    picture = np.asarray(pictures.read(data, most_pixels=10_000)).astype(int)

    assert picture.shape == (80, 40, 3)
    assert np.abs(picture[5, 5] - (200, 100, 50)).max() <= 4
    assert picture[75, 35].tolist() == WHITE


def srgb() -> bytearray:
    """Return a profile of sRGB."""
    return bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def swapped() -> bytes:
    """Return a profile whose first channel is green and whose second is red."""
    profile = srgb()
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def linear_grey() -> bytes:
    """Return a profile of grey whose values are light itself, without the curve of screens."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), b"kTRC": b"curv" + bytes(8)}
    offset, table, content = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(content), len(data))
        content += data
    header = bytearray(srgb()[:128])
    header[16:20] = b"GRAY"
    header[0:4] = struct.pack(">I", offset + len(content))
    return bytes(header) + table + content


def one(mode: str, colour: object, form: str, profile: bytes, **options: Any) -> NDArray[np.int_]:
    """Return the pixel that is read of a picture with a profile."""
    data = hazards.of_colour(mode, colour, form, icc_profile=profile, **options)
    pixel: NDArray[np.int_] = np.asarray(pictures.read(data, most_pixels=1000))[5, 5].astype(int)
    return pixel


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_the_colours_of_a_profile_become_srgb(form: str, options: dict[str, object]) -> None:
    """A picture is read in the colours that its profile means, in each format that carries one."""
    assert np.abs(one("RGB", (200, 30, 60), form, swapped(), **options) - (30, 200, 60)).max() <= 3


def test_colours_of_a_profile_are_those_of_transparent_pictures_too() -> None:
    """Colours are turned into sRGB before they are put on white."""
    assert np.abs(one("RGBA", (200, 30, 60, 255), "PNG", swapped()) - (30, 200, 60)).max() <= 2
    assert one("RGBA", (200, 30, 60, 0), "PNG", swapped()).tolist() == WHITE


@pytest.mark.parametrize(("mode", "value"), [("L", 128), ("I;16", 128 << 8)])
def test_grey_follows_its_profile(mode: str, value: int) -> None:
    """Half of the light is 188 of 255 in sRGB (IEC 61966-2-1)."""
    assert np.abs(one(mode, value, "PNG", linear_grey()) - 188).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [bytes(srgb()), linear_grey(), swapped()[:200], b"rubbish", bytes(300)],
    ids=["sRGB", "of other pixels", "cut off", "rubbish", "zeros"],
)
def test_a_profile_that_says_nothing_new_changes_nothing(profile: bytes) -> None:
    """Profiles of sRGB, of another kind of pixels, and damaged ones leave the pixels as they are."""
    assert one("RGB", (200, 30, 60), "PNG", profile).tolist() == [200, 30, 60]


def test_a_callers_own_picture_is_not_changed() -> None:
    """A picture opened by the caller is read in the same colours, and stays as it was."""
    data = hazards.of_colour("RGB", (200, 30, 60), "PNG", icc_profile=swapped())
    opened = Image.open(io.BytesIO(data))

    made = np.asarray(pictures.rgb(opened))

    assert np.abs(made[5, 5].astype(int) - (30, 200, 60)).max() <= 2
    assert np.asarray(opened)[5, 5].tolist() == [200, 30, 60]
