"""How a transcript is written: as text, SubRip or WebVTT. Pure."""

from collections.abc import Callable, Mapping
from typing import Literal

from rpc import Segment, Transcript

Form = Literal["text", "srt", "vtt", "json"]

MILLISECONDS, SECONDS_OF_A_MINUTE, MINUTES_OF_AN_HOUR = 1000, 60, 60


def text(transcript: Transcript) -> str:
    """Return what was said, in one line and without the blank Whisper puts in front."""
    return transcript.text.strip() + "\n"


def srt(transcript: Transcript) -> str:
    """Return SubRip: numbered blocks of times and text, an empty line behind each."""
    blocks = [
        f"{number}\n{clock(segment.start, ',')} --> {clock(segment.end, ',')}\n{_line(segment)}\n"
        for number, segment in enumerate(transcript.segments, start=1)
    ]
    return "\n".join(blocks)


def vtt(transcript: Transcript) -> str:
    """Return WebVTT; what would be a tag or an entity there is escaped, as its section 4.2.2 asks."""
    blocks = [
        f"{clock(segment.start, '.')} --> {clock(segment.end, '.')}\n{_escaped(_line(segment))}\n"
        for segment in transcript.segments
    ]
    return "\n".join(["WEBVTT\n", *blocks])


FORMS: Mapping[str, Callable[[Transcript], str]] = {"text": text, "srt": srt, "vtt": vtt}

SUFFIXES = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "json": ".json"}


def clock(seconds: float, mark: str) -> str:
    """Return a time as hours, minutes, seconds and milliseconds, with that mark in front of the last."""
    whole, thousandths = divmod(round(seconds * MILLISECONDS), MILLISECONDS)
    minutes, left = divmod(whole, SECONDS_OF_A_MINUTE)
    hours, minutes = divmod(minutes, MINUTES_OF_AN_HOUR)
    return f"{hours:02}:{minutes:02}:{left:02}{mark}{thousandths:03}"


def _line(segment: Segment) -> str:
    """Return the text of a segment on one line: an empty one would end the block."""
    return " ".join(segment.text.split())


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
