"""How long the audio track of a recording is by its own account.

A container's length is that of its longest track, or an estimate from bit rates, or the last timestamp however late
the first one is. So it counts only where nothing better is known and the audio track is alone.
"""

import re
import struct
from typing import Any

import av

from inference_worker.media import sizes

OWN_LENGTH = frozenset({"wav", "w64", "au", "flac", "aiff", "caf", "mov,mp4,m4a,3gp,3g2,mj2"})
"""Formats whose tracks say how long they are. AVI counts empty chunks, ASF its buffering time; the rest guess."""

WHOLE_LENGTH = frozenset({"matroska,webm", "asf", "flv"})
"""Formats that say how long the longest track is."""

XING, VBRI = (b"Xing", b"Info"), b"VBRI"
"""In the first frame of an MP3 that knows its length. Otherwise FFmpeg guesses it from the first frames' bit rate."""

XING_FRAMES, XING_BYTES = 1, 2
"""Flags: the tag has the number of frames, of bytes."""

JOINED = 1 / 16
"""An MP3 longer than its tag says by more than this part has other recordings behind it."""

MP3_FRAME = 1152
"""Samples of a frame of MPEG-1; MPEG-2 has half as many, at half the rate or less."""

MPEG1_RATES = 32_000
"""The lowest rate of MPEG-1."""


def declared_s(container: Any, track: Any, data: bytes) -> float | None:
    """Return at which second of the container's time the track ends by its own account; None if it does not say."""
    start_s = (container.start_time or 0) / av.time_base
    name = container.format.name
    if name == "mp3":
        return _mp3_s(data, track.rate)
    if name in OWN_LENGTH and track.duration and not _is_fragmented(data):
        return float(track.duration * track.time_base) + max(0.0, _start_s(track) - start_s)
    if name not in WHOLE_LENGTH:
        return None
    if (end_s := _tagged_s(track.metadata.get("DURATION", ""))) is None:
        if len(container.streams) > 1 or not container.duration:
            return None
        end_s = container.duration / av.time_base
    # Matroska and ASF count from zero, also where the first timestamp is hours later
    return end_s - start_s if name != "flv" and end_s > start_s else end_s


def _start_s(track: Any) -> float:
    return float((track.start_time or 0) * track.time_base)


def _tagged_s(text: str) -> float | None:
    """Return a time of a Matroska tag, 01:02:03.456, in seconds."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    return None if match is None else int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def _mp3_s(data: bytes, rate: int) -> float | None:
    """Return the length by the tag in the first frame of an MP3, unless more recordings follow."""
    start = 0
    if data.startswith(b"ID3"):
        # ID3v2, 3.1: a size of four times seven bits, without the ten bytes it stands in
        start = 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))
    head = data[start : start + 2048]
    samples = MP3_FRAME if rate >= MPEG1_RATES else MP3_FRAME // 2
    place = head.find(VBRI)
    if place >= 0 and len(head) >= place + 18:
        size, frames = struct.unpack_from(">II", head, place + 10)
    else:
        place = max(head.find(tag) for tag in XING)
        if place < 0 or len(head) < place + 16:
            return None
        flags, frames, size = struct.unpack_from(">III", head, place + 4)
        if not flags & XING_FRAMES:
            return None
        size = size if flags & XING_BYTES else 0
    is_joined = size and len(data) - start > size * (1 + JOINED)
    return None if is_joined or not frames else frames * samples / rate


def _is_fragmented(data: bytes) -> bool:
    """Return whether a file of boxes has fragments: then its index tells only of those that are there."""
    return any(kind == b"moof" for kind, _ in sizes.top_boxes(data))
