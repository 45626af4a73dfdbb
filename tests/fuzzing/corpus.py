"""Good and bad files of every kind that tests can make, small ones, to be damaged further."""

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from inference_worker.standins.whisper import tone_speech
from inference_worker.standins.yunet import squares_picture
from tests import crafted, hazards
from tests.fuzzing.mutations import mutated

LARGEST = 65_536
"""Bytes of a file of the corpus: damage shows sooner in a small one."""

NO_SEEDS = {
    *hazards.TEXTS,
    *("bomb", "text bomb", "jpeg of ten thousand scans", "six hours", "six hours of no length", "mp4 of many boxes"),
    *("all at once", "mp4 of many edits", "mp4 of many chunks"),
}
"""Hazards of which damage makes nothing new: no files of any kind, and those as large as they have to be."""

CODECS = (
    *(("wav", "pcm_s16le"), ("wav", "pcm_s24le"), ("wav", "pcm_f32le"), ("wav", "adpcm_ms"), ("wav", "pcm_mulaw")),
    *(("wav", "adpcm_ima_wav"), ("w64", "pcm_s16le"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("caf", "alac")),
    *(("flac", "flac"), ("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus"), ("webm", "libopus")),
    *(("matroska", "aac"), ("matroska", "pcm_s16le"), ("matroska", "tta"), ("matroska", "wavpack")),
    *(("mp4", "aac"), ("mp4", "ac3"), ("mov", "pcm_s16le"), ("mov", "alac"), ("mov", "adpcm_ima_qt")),
    *(("3gp", "aac"), ("ipod", "aac"), ("ipod", "alac"), ("asf", "libmp3lame"), ("asf", "pcm_s16le")),
)
"""Containers and what is in them, by FFmpeg's names."""


@cache
def pictures() -> Sequence[bytes]:
    """Return pictures of all formats and kinds of pixels."""
    photo = Image.fromarray(hazards.photo(60, 40))
    kinds = [("RGB", "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"), ("L", "JPEG", "PNG", "BMP", "TIFF")]
    kinds += [("RGBA", "PNG", "WEBP", "TIFF"), ("CMYK", "JPEG", "TIFF"), ("P", "PNG", "GIF", "BMP", "TIFF")]
    kinds += [("1", "PNG", "BMP", "TIFF"), ("LA", "PNG"), ("YCbCr", "JPEG", "TIFF")]
    files = [hazards.encoded(photo.convert(mode), form) for mode, *forms in kinds for form in forms]
    packings = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate")
    files += [hazards.encoded(photo, "TIFF", compression=packing) for packing in packings]
    files += [hazards.encoded(photo.convert("1"), "TIFF", compression=packing) for packing in ("group3", "group4")]
    files += [hazards.encoded(photo, "JPEG", progressive=True), hazards.encoded(photo, "WEBP", lossless=True)]
    files += [hazards.encoded(photo, "PNG", interlace=1), hazards.encoded(photo, "JPEG", restart_marker_blocks=2)]
    files += [
        hazards.animated("PNG"),
        hazards.encoded(Image.fromarray(squares_picture((120, 90), [(16, 24, 40)])), "PNG"),
    ]
    files += [build() for build, *_ in hazards.PICTURES_GOOD.values()]
    return _small([*files, *_hazards(hazards.PICTURES_REFUSED)])


@cache
def recordings() -> Sequence[bytes]:
    """Return recordings of all containers, half a second each."""
    said = (tone_speech(["three"], rate=44_100)[:22_050] * 32_767).astype(np.int16)
    sound = np.stack([said, said], axis=1)
    files = [hazards.audio(form, codec, sound) for form, codec in CODECS]
    files += [hazards.float_wav(tone_speech(["one"])[:8000]), crafted.matroska(8000.0, b"\x80" * 4000)]
    files += [crafted.mp4(samples=20), crafted.mp4(samples=20, edits=2, pcm=True), crafted.mp4(samples=0, fragment=20)]
    return _small([*files, *_hazards(hazards.RECORDINGS_REFUSED)])


def _hazards(builders: Mapping[str, hazards.Builder]) -> list[bytes]:
    return [build() for name, build in builders.items() if name not in NO_SEEDS]


def _small(files: Sequence[bytes]) -> list[bytes]:
    return [data[:LARGEST] for data in files]


def damaged(files: Sequence[bytes], chance: Random) -> bytes:
    """Return one of the files, damaged."""
    return mutated(chance.choice(files), chance.choice(files), chance)
