"""Recordings whose containers are awkward: sound that starts late, stops for a while, or has no picture beside it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48_000

PIECE = RATE // 10
"""Samples of sound that are encoded at a time."""

PICTURES_A_SECOND = 25


@dataclass(frozen=True, slots=True)
class Kind:
    """A container, and the codecs of its sound and pictures."""

    form: str
    codec: str
    pictures: str = ""


def tone(seconds: float, *, pitch: float = 440.0, rate: int = RATE) -> NDArray[np.int16]:
    """Return a tone, (n,)."""
    return (8000 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def film(
    kind: Kind,
    spans: Sequence[tuple[float, float]],
    *,
    picture_s: float = 0.0,
    offset_s: float = 0.0,
    rate: int = RATE,
    channels: int = 1,
    tracks: int = 1,
) -> bytes:
    """Return a recording with a tone of 440 Hz, or of 440 Hz times its number in further tracks.

    Args:
        kind: the container and its codecs.
        spans: from which to which second there is sound; nothing of the rest is in the file.
        picture_s: how long there are pictures, from 0 on; none at 0.
        offset_s: is added to all timestamps.
        rate: samples a second.
        channels: how many there are, 1 or 2.
        tracks: tracks of sound.
    """
    out = io.BytesIO()
    with av.open(out, "w", format=kind.form) as container:
        pictures = _pictures(container, kind.pictures) if picture_s else None
        sounds: list[Any] = [container.add_stream(kind.codec, rate=rate) for _ in range(tracks)]
        packets = [_encoded_pictures(pictures, picture_s, offset_s)] if pictures else []
        for number, sound in enumerate(sounds, start=1):
            sound.layout = "mono" if channels == 1 else "stereo"
            packets.append(_encoded_sound(sound, spans, offset_s, rate=rate, pitch=440.0 * number))
        flat = [packet for stream in packets for packet in stream]
        for packet in sorted(flat, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return out.getvalue()


def _pictures(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec, rate=PICTURES_A_SECOND)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
    return stream


def _encoded_pictures(stream: Any, seconds: float, offset_s: float) -> list[Any]:
    packets = []
    for number in range(round(seconds * PICTURES_A_SECOND)):
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number % 250, np.uint8), format="rgb24")
        frame.pts = number + round(offset_s * PICTURES_A_SECOND)
        frame.time_base = Fraction(1, PICTURES_A_SECOND)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _encoded_sound(
    stream: Any, spans: Sequence[tuple[float, float]], offset_s: float, *, rate: int, pitch: float
) -> list[Any]:
    context = stream.codec_context
    context.open()
    size = context.frame_size or PIECE
    packets = []
    for start_s, stop_s in spans:
        sound = tone(stop_s - start_s, pitch=pitch, rate=rate)
        sound = sound[: len(sound) // size * size]
        for place in range(0, len(sound), size):
            made = av.AudioFrame.from_ndarray(
                np.repeat(sound[place : place + size], context.layout.nb_channels)[None],
                format="s16",
                layout=context.layout.name,
            )
            made.sample_rate = rate
            resampled = av.AudioResampler(context.format, context.layout, rate).resample(made)
            for frame in resampled:
                frame.pts = round((offset_s + start_s) * rate) + place
                frame.time_base = Fraction(1, rate)
                packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]
