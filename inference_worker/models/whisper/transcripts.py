"""Segments of windows become the transcript of a recording, or one of each channel. Pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from inference_worker.models.whisper.asked import Heard

Window = tuple[Heard, list[dict[str, Any]]]
"""What is known of a recording, or a channel of it, and the segments of one window."""

STEREO = ("left", "right")


def transcript(windows: Sequence[Window]) -> dict[str, Any]:
    """Return the transcript of the windows of a recording, in their order; of split channels, see `_split`."""
    heard = windows[0][0]
    if heard.channel is not None:
        return _split([list(group) for _, group in groupby(windows, key=lambda window: window[0].channel)])
    return _joined(heard, [segment for _, segments in windows for segment in segments])


def _split(channels: Sequence[Sequence[Window]]) -> dict[str, Any]:
    """Return the transcripts of channels under `channels`, and all their segments by time, each with its channel.

    Language and its probability are those of the channel in which most is said.
    """
    each = [
        {"channel": number, "name": _name(number, len(channels)), **_joined(*_of_channel(windows))}
        for number, windows in enumerate(channels, start=1)
    ]
    merged = sorted(
        ({**segment, "channel": channel["channel"]} for channel in each for segment in channel["segments"]),
        key=lambda segment: (segment["start"], segment["channel"]),
    )
    most = max(each, key=lambda channel: len(channel["text"]))
    about = {name: most[name] for name in ("language", "language_probability", "duration", "truncated")}
    return {**_numbered(merged), **about, "channels": each}


def _of_channel(windows: Sequence[Window]) -> tuple[Heard, list[dict[str, Any]]]:
    return windows[0][0], [segment for _, segments in windows for segment in segments]


def _name(number: int, channels: int) -> str:
    return STEREO[number - 1] if channels == len(STEREO) else f"channel {number}"


def _joined(heard: Heard, segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **_numbered(segments),
        "language": heard.language,
        "language_probability": heard.language_probability,
        "duration": heard.duration_s,
        "truncated": heard.truncated,
    }


def _numbered(segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return segments with their numbers, and the text of all of them."""
    numbered = [{**segment, "id": number} for number, segment in enumerate(segments)]
    return {"text": "".join(segment["text"] for segment in numbered), "segments": numbered}
