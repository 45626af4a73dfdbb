"""How what callers give, a file, bytes, a picture, becomes an input of a job. Reads files; speaks to nobody."""

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rpc.errors import InvalidInput
from rpc.messages import Reference
from rpc.results import Size

MOST_PIXELS = 50_000_000
"""A larger picture is not decoded by the caller; what becomes of it is for the worker to say."""

CHANNELS = 3

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/|(data):", re.ASCII | re.IGNORECASE)
"""How an address begins, also where a path was made of it, which has one slash. A drive of Windows has one letter."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture as it travels.

    Attributes:
        given: the bytes of a file, or pixels, uint8 (h, w, 3), RGB, or a reference.
        size: width and height of the upright picture it was shrunk from; None if it was not.
    """

    given: Any
    size: Size | None = None


def recording(audio: Any, *, most_bytes: int) -> bytes | Reference:
    """Return the bytes of a recording, given as such or by its path; a reference is left to the worker.

    Raises:
        InvalidInput: neither, the address of something (`https://…`), or a file of more than `most_bytes`.
        OSError: the file cannot be read.
    """
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio)
    if isinstance(audio, Reference):
        return audio
    if isinstance(audio, str | os.PathLike):
        return _read(_path(audio), most_bytes)
    raise InvalidInput(f"a recording is bytes, a path or a reference, not {type(audio).__name__}")


def picture(image: Any, sees: str, *, most_bytes: int) -> Sent:
    """Return a picture as it is to be sent to a model that sees so much of it.

    `image` is bytes of a file, a path, a PIL image, pixels: uint8 (h, w, 3), RGB, or a reference, which is left to
    the worker. `sees` is "384x384" (every
    picture becomes that), "<=1280" (no side is longer), or "" (unknown: nothing is shrunk). It is shrunk only if
    Pillow is there, and if that loses nothing: the worker would have made the same pixels of it.

    Raises:
        InvalidInput: nothing of that, a file of more than `most_bytes`, or a PIL image that has no pixels to send.
        OSError: the file cannot be read.
    """
    if isinstance(image, Reference):
        return Sent(image)
    if isinstance(image, str | os.PathLike):
        return _encoded(_read(_path(image), most_bytes), sees)
    if isinstance(image, bytes | bytearray | memoryview):
        return _encoded(bytes(image), sees)
    if _is_pillow(image):
        return _pixels(_decoded(image), sees)
    if isinstance(image, np.ndarray):
        return _pixels(image, sees)
    raise InvalidInput(f"an image is bytes, a path, a PIL image, an array or a reference, not {type(image).__name__}")


def sendable(items: Sequence[Any]) -> Sequence[Any]:
    """Return inputs of any op as they travel: PIL images as their pixels, uint8 (h, w, 3), anything else as it is.

    Raises:
        InvalidInput: a PIL image that has no pixels to send.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        return items
    return [_decoded(item) if _is_pillow(item) else item for item in items]


def _is_pillow(item: Any) -> bool:
    return any(kind.__module__.partition(".")[0] == "PIL" for kind in type(item).__mro__)


@cache
def has_pillow() -> bool:
    """Return whether pictures can be shrunk here."""
    return importlib.util.find_spec("PIL") is not None


def _pictures() -> Any:
    from rpc import pictures  # noqa: PLC0415 (Pillow comes with an extra, and takes its time to import)

    return pictures


def _path(name: str | os.PathLike[str]) -> Path:
    """Return a path; raise `InvalidInput` if it is an address, which the client does not open."""
    path = Path(name)
    address = _ADDRESS.match(os.fspath(name))
    if address is None or path.exists():
        return path
    remedy = (
        "decode it and give its bytes"
        if address[2]
        else "give the bytes of the file, or a Reference to it if the workers may open it (docs/references.md)"
    )
    raise InvalidInput(f"{os.fspath(name):.100} is an address, not a path, and is not opened by the client: {remedy}")


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        error.filename = f"{path} (looked for in {Path.cwd()})" if not path.is_absolute() else str(path)
        raise
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            # what could not be sent anyway is not worth the memory
            raise InvalidInput(f"{path} has {size} bytes, over the limit of {most_bytes}")
        return file.read()


def _encoded(data: bytes, sees: str) -> Sent:
    if not sees or not has_pillow():
        return Sent(data)
    pictures = _pictures()
    try:
        # turned upright or not, a picture has as many pixels, and its sides are as long
        if not _worth_shrinking(pictures.size_of(data), sees):
            return Sent(data)
        picture = pictures.read(data, most_pixels=MOST_PIXELS)
        smaller = pictures.png(_shrink(picture, sees))
    except InvalidInput:
        # the worker says what is wrong with it, in one place and in the same words for everybody
        return Sent(data)
    return Sent(smaller, picture.size) if len(smaller) < len(data) else Sent(data)


def _decoded(image: Any) -> NDArray[np.uint8]:
    """Return the pixels of a PIL image, which may not have been decoded yet."""
    pictures = _pictures()
    pictures.check_size(image.size, most_pixels=MOST_PIXELS)
    try:
        return np.asarray(pictures.rgb(image))
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput(f"the PIL image cannot be decoded: {error}") from error


def _pixels(pixels: NDArray[Any], sees: str) -> Sent:
    if pixels.dtype != np.uint8 or pixels.ndim != CHANNELS or pixels.shape[2] != CHANNELS or not pixels.size:
        raise InvalidInput(f"an array of {pixels.dtype} {pixels.shape} is not uint8 (height, width, {CHANNELS})")
    height, width, _ = pixels.shape
    size = (width, height)
    if not sees or not has_pillow() or not _worth_shrinking(size, sees):
        return Sent(pixels)
    return Sent(np.asarray(_shrink(_pictures().of_pixels(pixels), sees)), size)


def _worth_shrinking(size: Size, sees: str) -> bool:
    width, height = _seen(size, sees)
    return width * height < size[0] * size[1] <= MOST_PIXELS


def _seen(size: Size, sees: str) -> Size:
    """Return width and height of what a model sees of a picture."""
    if sees.startswith("<="):
        most: Callable[[Size, int], Size] = _pictures().capped
        return most(size, int(sees[2:]))
    width, _, height = sees.partition("x")
    return int(width), int(height)


def _shrink(image: Any, sees: str) -> Any:
    if sees.startswith("<="):
        return _pictures().cap(image, int(sees[2:]))
    return _pictures().fit(image, _seen(image.size, sees))
