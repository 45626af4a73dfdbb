"""Files nobody should have to be afraid of: made by the tests, by name, small however large what they promise."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from inference_worker.standins.whisper import tone_speech, wav
from tests import crafted

Builder = Callable[[], bytes]

PLANTED = "planted.wav"
"""A recording beside the worker, which playlists name and nobody may open."""


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


@cache
def bomb() -> bytes:
    """Return a black PNG of 20,000 x 20,000 pixels in less than half a megabyte."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(b"\0" * 20_001) for _ in range(20_000)) + rows.flush()
    return _png(20_000, 20_000, _chunk(b"IDAT", packed))


def text_bomb() -> bytes:
    """Return a PNG of one pixel with ten megabytes of packed text in front of it."""
    text = b"comment\0\0" + zlib.compress(b"a" * 10_000_000, 9)
    return _png(1, 1, _chunk(b"zTXt", text), _chunk(b"IDAT", zlib.compress(b"\0\0")))


def photo(width: int = 320, height: int = 200, seed: int = 1) -> NDArray[np.uint8]:
    """Return pixels as mixed as a photograph's."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 20, width // 20, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    """Return a picture as a file."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def jpeg() -> bytes:
    """Return a good JPEG."""
    return encoded(Image.fromarray(photo()), "JPEG", quality=92)


TEXTS: Mapping[str, bytes] = {
    "nothing": b"",
    "a text": b"this is no file of the kind you think it is\n" * 10,
    "a web page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "rubbish": np.random.default_rng(7).bytes(5000),
    "zeros": bytes(5000),
    "a program": b"#!/bin/sh\nrm -rf /\n",
}

PICTURES_REFUSED: Mapping[str, Builder] = {
    **{name: (lambda data=data: data) for name, data in TEXTS.items()},  # type: ignore[misc]
    "bomb": bomb,
    "huge tiff": crafted.huge_tiff,
    "jpeg cut off": lambda: jpeg()[: len(jpeg()) // 2],
    "jpeg cut off at its end": lambda: jpeg()[:-40],
    "heic": lambda: struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(500),
    "avif cut off": lambda: encoded(Image.fromarray(photo()), "AVIF")[:900],
    "png cut off": lambda: encoded(Image.fromarray(photo()), "PNG")[:5000],
    "webp cut off": lambda: encoded(Image.fromarray(photo()), "WEBP")[:600],
    "gif cut off": lambda: encoded(Image.fromarray(photo()).quantize(), "GIF")[:900],
    "png of no size": lambda: _png(0, 0),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "pdf": lambda: b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
    "a recording": lambda: wav(tone_speech(["one"])),
    "jpeg of ten thousand scans": lambda: crafted.progressive(7000, 10_000),
    "tiff of 12 bits": lambda: crafted.tiff(bits=12, photometric=1, pixels=bytes(96)),
    "tiff of 16 bits, black on white": lambda: crafted.tiff(bits=16, photometric=0, pixels=bytes(128)),
    "tiff of 32 bits": lambda: encoded(Image.fromarray(np.full((20, 30), 2**30, np.int32)), "TIFF"),
    "tiff of floats": lambda: encoded(Image.fromarray(np.full((20, 30), 0.5, np.float32)), "TIFF"),
    "longer than any": lambda: of_colour("1", 1, "PNG", size=(65_501, 1)),
}


def stereo(rate: int = 44_100, seconds: float = 2.0) -> NDArray[np.int16]:
    """Return two channels of tones, (n, 2)."""
    time = np.arange(int(rate * seconds)) / rate
    left, right = (8000 * np.sin(2 * np.pi * pitch * time) for pitch in (440, 660))
    return np.stack([left, right], axis=1).astype(np.int16)


def audio(form: str, codec: str, samples: NDArray[np.int16] | None = None, rate: int = 44_100) -> bytes:
    """Return a recording of that container and codec."""
    sound = stereo() if samples is None else samples
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=48_000 if codec == "libopus" else rate)
        context = stream.codec_context
        resampler = av.AudioResampler(stream.format, "stereo", context.sample_rate, context.frame_size or None)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.reshape(1, -1)), format="s16", layout="stereo")
        frame.sample_rate = rate
        for made in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return out.getvalue()


def video_without_sound() -> bytes:
    """Return a video that has no audio track."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream: Any = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def film_with_pcm(seconds: int) -> bytes:
    """Return a QuickTime film as a camera makes it: pictures, and sound at 48 kHz as it is."""
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as container:
        pictures: Any = container.add_stream("mpeg4", rate=1)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        black, second = np.zeros((64, 64, 3), np.uint8), np.ones((1, 48_000), np.int16)
        for number in range(seconds):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            frame = av.AudioFrame.from_ndarray(second, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, number * 48_000
            container.mux(sound.encode(frame))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))
    return out.getvalue()


@cache
def long_silence() -> bytes:
    """Return six hours of silence as FLAC, four megabytes instead of the 350 of its samples."""
    quarter = np.zeros((1, 8000 * 900), np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=8000, layout="mono")
        for number in range(24):
            frame = av.AudioFrame.from_ndarray(quarter, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, number * quarter.size
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def long_silence_of_no_length() -> bytes:
    """Return the same, its header not telling how many samples it has (FLAC, STREAMINFO, the last 36 bits of 14)."""
    data = bytearray(long_silence())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def float_wav(samples: NDArray[np.float32]) -> bytes:
    """Return a WAV of 32-bit floats."""
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    body = samples.astype("<f4").tobytes()
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@cache
def packed_tag() -> bytes:
    """Return an ID3 tag of a cover of 32 megabytes, packed into 32 kilobytes."""
    return crafted.id3_tag(crafted.id3_packed(b"APIC", crafted.id3_picture(bytes(2**25))))


def packed_title() -> bytes:
    """Return an ID3 tag of titles that are nothing to look at one by one."""
    return crafted.id3_tag(*[crafted.id3_packed(b"TIT2", b"\0" + b"a" * 500_000)] * 9)


def aac_with_tag() -> bytes:
    """Return AAC with a packed tag between its frames, as broadcasts have tags of their titles."""
    aac = audio("adts", "aac")
    second = aac.index(aac[:2], 7)
    return aac[:second] + packed_tag() + aac[second:]


SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 50004 RTP/AVP 0\r\n"

HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n" + PLANTED.encode() + b"\n#EXT-X-ENDLIST\n"

RECORDINGS_REFUSED: Mapping[str, Builder] = {
    **{name: (lambda data=data: data) for name, data in TEXTS.items()},  # type: ignore[misc]
    "list of files": lambda: b"ffconcat version 1.0\nfile " + PLANTED.encode() + b"\n",
    "list of foreign files": lambda: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "session description": lambda: SDP,
    "playlist": lambda: HLS,
    "a list of addresses": lambda: b"[playlist]\nFile1=http://127.0.0.1:1/a.mp3\nNumberOfEntries=1\n",
    "six hours": long_silence,
    "six hours of no length": long_silence_of_no_length,
    "no samples": lambda: wav(np.zeros(0, np.float32)),
    "header alone": lambda: wav(tone_speech(["one"]))[:40],
    "video without sound": video_without_sound,
    "a jpeg": jpeg,
    "a png": lambda: encoded(Image.fromarray(photo()), "PNG"),
    "mp4 of many samples": lambda: crafted.mp4(samples=80_000_000),
    "mp4 of a fragment of many samples": lambda: crafted.mp4(samples=0, fragment=80_000_000),
    "mp4 of a fragment told behind its box": lambda: crafted.overread(80_000_000),
    "wav of long texts": lambda: crafted.wav_of_texts(wav(tone_speech(["one"])), 2**31 - 1),
    "mp4 of many edits": lambda: crafted.edited(audio("mp4", "aac", stereo(seconds=20.0)), 50_000),
    "mp4 of many chunks": lambda: crafted.mp4(samples=10_000_000, chunks=2000, pcm=True),
    "mp4 of a compressed header": lambda: crafted.box(b"moov", crafted.box(b"cmov", crafted.box(b"cmvd", bytes(99)))),
    "mp4 of many boxes": lambda: crafted.box(b"free") * 1_000_000,
    "a sample a second": lambda: crafted.matroska(1.0, b"\x80" * 14_000),
    "all at once": lambda: crafted.matroska(8000.0, b"\x80" * 5_000_000),
    "a thousand million samples a second": lambda: crafted.matroska(1e9, b"\x80" * 10_000),
    "mp3 of a packed cover": lambda: packed_tag() + audio("mp3", "libmp3lame"),
    "mp3 of packed titles": lambda: packed_title() + audio("mp3", "libmp3lame"),
    "flac behind two tags": lambda: crafted.id3_tag() + packed_tag() + audio("flac", "flac"),
    "wav of a packed cover": lambda: crafted.chunked(wav(tone_speech(["one"])), packed_tag()),
    "aiff of a packed cover": lambda: crafted.chunked(audio("aiff", "pcm_s16be"), packed_tag()),
    "aac of a packed cover": aac_with_tag,
    "flv of many key frames": lambda: crafted.flv_of_key_frames(2**28 - 1),
    "avi of a long name": lambda: crafted.avi(b"strn" + struct.pack("<I", 2**31 - 16) + b"abc"),
    "avi of many tracks": lambda: crafted.avi(streams=5000),
    "mpeg-ts of many tracks": lambda: crafted.transport_stream(4000),
    "mpeg-ts of as many tracks as are opened": lambda: crafted.transport_stream(199),
    "au of many channels": lambda: b".snd" + struct.pack(">5I", 24, 2**32 - 1, 3, 8000, 60_000) + b"\x80" * 1_000_000,
    "mpeg-ps of nothing": lambda: b"\0\0\1\xba\x44\0\4\0\4\1\0\0\3\xf8" * 200_000,
    "matroska of packed headers": lambda: crafted.matroska(
        8000.0, zlib.compress(b"\x80" * 8000), scope=3, private=zlib.compress(bytes(9_000_000), 9), tracks=20
    ),
}

RECORDINGS_GOOD: Mapping[str, Builder] = {
    "wav": lambda: audio("wav", "pcm_s16le"),
    "wav of 24 bits": lambda: audio("wav", "pcm_s24le"),
    "flac": lambda: audio("flac", "flac"),
    "mp3": lambda: audio("mp3", "libmp3lame"),
    "ogg, opus": lambda: audio("ogg", "libopus"),
    "webm, opus": lambda: audio("webm", "libopus"),
    "mp4, aac": lambda: audio("mp4", "aac"),
    "aac": lambda: audio("adts", "aac"),
}


def sixteen_bits() -> bytes:
    """Return a PNG of 16-bit grey, value 30,000 of 65,535."""
    return encoded(Image.fromarray(np.full((20, 30), 30_000, np.uint16)), "PNG")


def see_through() -> bytes:
    """Return a PNG whose left half is opaque green, and whose right half is red nobody sees."""
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, :15] = (0, 255, 0, 255)
    pixels[:, 15:] = (255, 0, 0, 0)
    return encoded(Image.fromarray(pixels), "PNG")


def turned() -> bytes:
    """Return a JPEG stored lying, to be turned a quarter clockwise: upright its upper left corner is bright."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    # rows of the file are columns of the picture, from the right; so the corner is stored at the lower left
    pixels[20:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(pixels), "JPEG", quality=95, exif=exif)


def animated(form: str) -> bytes:
    """Return an animation whose first picture is blue and whose second is yellow."""
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("blue", "yellow"))
    return encoded(first, form, save_all=True, append_images=[second], duration=100)


def of_colour(mode: str, colour: object, form: str, size: tuple[int, int] = (30, 20), **options: object) -> bytes:
    """Return a picture of one colour in some kind of pixels."""
    return encoded(Image.new(mode, size, colour), form, **options)  # type: ignore[arg-type]


def with_text() -> bytes:
    """Return a PNG with a harmless comment."""
    note = PngImagePlugin.PngInfo()
    note.add_text("comment", "hello", zip=True)
    return encoded(Image.new("RGB", (30, 20), "red"), "PNG", pnginfo=note)


Colour = tuple[int, int, int]

PICTURES_GOOD: Mapping[str, tuple[Builder, tuple[int, int], Colour, int]] = {
    "16-bit grey": (sixteen_bits, (30, 20), (117, 117, 117), 0),
    "cmyk jpeg": (lambda: of_colour("CMYK", (0, 255, 255, 0), "JPEG", quality=95), (30, 20), (255, 0, 0), 8),
    "grey": (lambda: of_colour("L", 90, "PNG"), (30, 20), (90, 90, 90), 0),
    "black and white": (lambda: of_colour("1", 1, "PNG"), (30, 20), (255, 255, 255), 0),
    "palette": (
        lambda: encoded(Image.new("RGB", (30, 20), (10, 200, 30)).quantize(4), "PNG"),
        (30, 20),
        (10, 200, 30),
        2,
    ),
    "colour that is not seen": (
        lambda: of_colour("RGB", (255, 0, 0), "PNG", transparency=(255, 0, 0)),
        (30, 20),
        (255, 255, 255),
        0,
    ),
    "progressive": (lambda: crafted.progressive(64, 20), (64, 64), (128, 128, 128), 0),
    "alpha": (see_through, (30, 20), (0, 255, 0), 0),
    "animated gif": (lambda: animated("GIF"), (30, 20), (0, 0, 255), 2),
    "animated webp": (lambda: animated("WEBP"), (30, 20), (0, 0, 255), 4),
    "bmp": (lambda: of_colour("RGB", (1, 2, 3), "BMP"), (30, 20), (1, 2, 3), 0),
    "tiff": (lambda: of_colour("RGB", (1, 2, 3), "TIFF"), (30, 20), (1, 2, 3), 0),
    "turned": (turned, (40, 80), (255, 255, 255), 4),
    "with text": (with_text, (30, 20), (255, 0, 0), 0),
    "text bomb": (text_bomb, (1, 1), (0, 0, 0), 0),
    "jpeg without end": (lambda: of_colour("RGB", (10, 200, 30), "JPEG", quality=95)[:-2], (30, 20), (10, 200, 30), 4),
    "avif": (lambda: of_colour("RGB", (10, 200, 30), "AVIF", quality=95), (30, 20), (10, 200, 30), 4),
    "one pixel": (lambda: encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), (1, 1), (9, 8, 7), 0),
}
"""Name -> builder, size (w, h) of the upright picture, colour of its upper left pixel, and how far that may be off."""
