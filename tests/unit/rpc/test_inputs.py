"""How what callers give becomes what is sent."""

import hashlib
import io
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from inference_worker.media import images
from rpc import inputs, pictures
from rpc.errors import InvalidInput
from rpc.inputs import Sent
from rpc.messages import Reference

MOST_BYTES = 256 * 1024 * 1024

SIGLIP, YUNET = "384x384", "<=1280"

SIZE = (1400, 600)


@cache
def noise(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture that no format packs well, so that shrinking it pays."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    pixels = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    return Image.frombytes(mode, size, pixels.tobytes())


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def turned(orientation: int) -> Image.Exif:
    """Return metadata that say how a picture is to be held."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def of_16_bits() -> Image.Image:
    """Return a grey picture of 16 bits."""
    pixels = np.random.default_rng(7).integers(0, 2**16, SIZE[::-1], np.uint16)
    return Image.fromarray(pixels)


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(noise(), "PNG"),
    "jpeg": lambda: encoded(noise(), "JPEG", quality=95),
    "turned": lambda: encoded(noise(), "JPEG", quality=95, exif=turned(6)),
    "mirrored": lambda: encoded(noise(), "PNG", exif=turned(2)),
    "alpha": lambda: encoded(noise("RGBA"), "PNG"),
    "palette": lambda: encoded(noise().quantize(200), "PNG"),
    "grey": lambda: encoded(noise("L"), "PNG"),
    "16 bits": lambda: encoded(of_16_bits(), "PNG"),
    "cmyk": lambda: encoded(noise("CMYK"), "JPEG", quality=95),
    "webp": lambda: encoded(noise(), "WEBP", lossless=True, method=0),
    "animated": lambda: encoded(noise(), "GIF", save_all=True, append_images=[noise("L").convert("RGB")]),
    "damaged": lambda: encoded(noise(), "PNG")[:-5000],
    "small": lambda: encoded(noise(size=(100, 80)), "BMP"),
    "equal": lambda: encoded(noise(size=(384, 384)), "BMP"),
    "packed well": lambda: encoded(noise(), "JPEG", quality=5),
    "no picture": lambda: b"no picture",
    "empty": lambda: b"",
}

LOSSLESS = list(KINDS)[:11]


@cache
def file(kind: str) -> bytes:
    """Return a file of a kind."""
    return KINDS[kind]()


def seen_of(given: Any, sees: str) -> tuple[tuple[int, int], str]:
    """Return the size and a digest of the pixels that a worker makes of what it was sent."""
    picture = Image.fromarray(images.decode(given, most_pixels=inputs.MOST_PIXELS))
    small = pictures.fit(picture, (384, 384)) if sees == SIGLIP else pictures.cap(picture, 1280)
    return small.size, hashlib.sha256(small.tobytes()).hexdigest()


@pytest.mark.parametrize("sees", [SIGLIP, YUNET])
@pytest.mark.parametrize("name", LOSSLESS)
def test_shrinking_a_file_loses_nothing(name: str, sees: str) -> None:
    """From what is sent the worker makes pixel for pixel what it would have made from the original."""
    data = file(name)

    sent = inputs.picture(data, sees, most_bytes=MOST_BYTES)

    assert seen_of(sent.given, sees) == seen_of(data, sees)
    assert len(sent.given) <= len(data)


@pytest.mark.parametrize("name", ["png", "jpeg", "turned", "alpha"])
def test_a_file_larger_than_the_model_sees_is_shrunk(name: str) -> None:
    """What pays is done, and the size told is that of the upright picture."""
    sent = inputs.picture(file(name), SIGLIP, most_bytes=MOST_BYTES)

    assert len(sent.given) < len(file(name)) / 2
    assert sent.size == (SIZE[::-1] if name == "turned" else SIZE)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_a_pil_image_is_what_its_file_is(mode: str) -> None:
    """Whichever kind of pixels an image in memory has, the worker sees what it sees of the same picture as a file."""
    picture = noise().convert(mode)
    same = encoded(picture, "TIFF")

    for sees in (SIGLIP, ""):
        sent = inputs.picture(picture, sees, most_bytes=MOST_BYTES)

        assert seen_of(sent.given, SIGLIP) == seen_of(same, SIGLIP)


def test_a_pil_image_is_sent_upright() -> None:
    """An image just opened is turned as its metadata say."""
    with Image.open(io.BytesIO(file("turned"))) as picture:
        sent = inputs.picture(picture, SIGLIP, most_bytes=MOST_BYTES)

    assert (seen_of(sent.given, SIGLIP), sent.size) == (seen_of(file("turned"), SIGLIP), SIZE[::-1])


def test_pixels_are_shrunk_as_a_picture_is() -> None:
    """An array larger than the model sees travels as the smaller array."""
    pixels = np.asarray(noise())

    sent = inputs.picture(pixels, YUNET, most_bytes=MOST_BYTES)

    assert (np.shape(sent.given), sent.size) == ((549, 1280, 3), SIZE)
    assert seen_of(sent.given, YUNET) == seen_of(pixels, YUNET)


@pytest.mark.parametrize("sees", [SIGLIP, YUNET])
@pytest.mark.parametrize("kind", ["small", "equal", "packed well", "damaged", "no picture", "empty"])
def test_what_gains_nothing_is_sent_as_it_is(kind: str, sees: str) -> None:
    """A file that would not become smaller, or that is for the worker to refuse, keeps its bytes."""
    sent = inputs.picture(file(kind), sees, most_bytes=MOST_BYTES)

    assert (sent.given, sent.size) == (file(kind), None)


def test_nothing_is_shrunk_for_a_model_that_does_not_say_what_it_sees() -> None:
    """Files and pixels travel whole to a model nobody serves yet, or to one of the users' own."""
    pixels = np.asarray(noise())

    assert inputs.picture(file("png"), "", most_bytes=MOST_BYTES) == Sent(file("png"))
    assert inputs.picture(pixels, "", most_bytes=MOST_BYTES).given is pixels


def test_a_picture_above_the_cap_is_not_decoded_here() -> None:
    """Sixty million pixels travel as they are, although shrunk they would be a hundredth of it; twenty are shrunk."""
    bomb, large = (encoded(Image.new("1", size), "BMP") for size in ((10_000, 6_000), (5_000, 4_000)))

    assert inputs.picture(bomb, SIGLIP, most_bytes=MOST_BYTES).given == bomb
    assert len(inputs.picture(large, SIGLIP, most_bytes=MOST_BYTES).given) < len(large) / 50


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        None,
        [b"bytes"],
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=str,
)
def test_what_is_no_picture_is_refused_at_once(wrong: Any) -> None:
    """A wrong type or shape is told where the caller's code is."""
    with pytest.raises(InvalidInput):
        inputs.picture(wrong, SIGLIP, most_bytes=MOST_BYTES)


def test_a_pil_image_that_cannot_be_sent_is_refused() -> None:
    """One that turns out damaged, has pixels without a range, or is larger than any worker takes."""
    with Image.open(io.BytesIO(file("damaged"))) as damaged, pytest.raises(InvalidInput, match="decoded"):
        inputs.picture(damaged, SIGLIP, most_bytes=MOST_BYTES)
    with pytest.raises(InvalidInput, match="kind F"):
        inputs.picture(Image.new("F", (4, 4)), SIGLIP, most_bytes=MOST_BYTES)
    with pytest.raises(InvalidInput, match="over the limit"):
        inputs.picture(Image.new("1", (10_000, 6_000)), SIGLIP, most_bytes=MOST_BYTES)


def test_files_are_found_by_either_kind_of_path(tmp_path: Path) -> None:
    """A str and a `Path` name a file; its bytes are what is sent."""
    path = tmp_path / "sound.wav"
    path.write_bytes(b"RIFF")

    given = [inputs.recording(path, most_bytes=4), inputs.recording(str(path), most_bytes=4)]

    assert given == [inputs.recording(b"RIFF", most_bytes=4), inputs.picture(path, "", most_bytes=4).given]


def test_a_file_too_large_to_be_sent_is_not_read(tmp_path: Path) -> None:
    """The limit is told before the memory is taken: the file here is larger than any memory."""
    path = tmp_path / "film.mkv"
    path.touch()
    os.truncate(path, 2**43)

    for read in (lambda: inputs.recording(path, most_bytes=MOST_BYTES), lambda: inputs.picture(path, "", most_bytes=1)):
        with pytest.raises(InvalidInput, match=r"film\.mkv has 8796093022208 bytes, over the limit"):
            read()


def test_a_file_that_is_not_there_is_told_by_the_system(tmp_path: Path) -> None:
    """The error is the one that opening it gives."""
    with pytest.raises(FileNotFoundError):
        inputs.recording(tmp_path / "never.wav", most_bytes=MOST_BYTES)
    with pytest.raises(IsADirectoryError):
        inputs.picture(tmp_path, SIGLIP, most_bytes=MOST_BYTES)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("https://example.com/talk.mp3", "give the bytes of the file, or a Reference"),
        ("HTTP://example.com/talk.mp3", "give the bytes of the file, or a Reference"),
        ("s3://bucket/talk.mp3", "give the bytes of the file, or a Reference"),
        ("file:///talk.mp3", "give the bytes of the file, or a Reference"),
        ("data:audio/wav;base64,UklGRg==", "decode it and give its bytes"),
        # a command line made a path of it
        (Path("https://example.com/talk.mp3"), "give the bytes of the file, or a Reference"),
    ],
    ids=str,
)
def test_an_address_is_not_a_path(address: str | Path, remedy: str) -> None:
    """The client opens no address, and says how the file is sent."""
    for read in (
        lambda: inputs.recording(address, most_bytes=MOST_BYTES),
        lambda: inputs.picture(address, SIGLIP, most_bytes=MOST_BYTES),
    ):
        with pytest.raises(InvalidInput, match="is an address, not a path") as refused:
            read()
        assert remedy in str(refused.value)


def test_a_path_may_look_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is there is read; one that is not is told with the directory it was looked for in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take:").mkdir()
    (tmp_path / "take:" / "a.wav").write_bytes(b"sound")

    assert inputs.recording("take:/a.wav", most_bytes=MOST_BYTES) == b"sound"
    with pytest.raises(FileNotFoundError, match=f"b.wav .looked for in {tmp_path}"):
        inputs.recording("b.wav", most_bytes=MOST_BYTES)


@pytest.mark.parametrize("wrong", [3, None, np.zeros(16_000, np.float32)], ids=str)
def test_what_is_no_recording_is_refused_at_once(wrong: Any) -> None:
    """Samples without a rate are no recording."""
    with pytest.raises(InvalidInput, match="bytes, a path or a reference"):
        inputs.recording(wrong, most_bytes=MOST_BYTES)


def test_a_reference_is_left_to_the_worker() -> None:
    """Neither read nor shrunk, though a file of that name may be here."""
    reference = Reference("file:a.png")

    assert reference is inputs.recording(reference, most_bytes=1)
    assert inputs.picture(reference, SIGLIP, most_bytes=1) == inputs.Sent(reference, None)


def test_pictures_of_pillow_are_inputs_of_any_op() -> None:
    """A PIL image travels as its pixels, upright and in sRGB, wherever it stands in a list; the rest is as it was."""
    image = Image.new("RGBA", (5, 4), (10, 200, 30, 255))

    text, pixels, data = inputs.sendable(["a", image, b"b"])

    assert (text, data) == ("a", b"b")
    assert (pixels.dtype, pixels.shape, pixels[0, 0].tolist()) == (np.uint8, (4, 5, 3), [10, 200, 30])
    assert inputs.sendable("abc") == "abc"
