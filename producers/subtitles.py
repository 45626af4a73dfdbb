"""How a transcript is written: as text, SubRip or WebVTT. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from rpc import Transcript

Form = Literal["text", "srt", "vtt", "json"]

MILLISECONDS, SECONDS_OF_A_MINUTE, MINUTES_OF_AN_HOUR = 1000, 60, 60


def text(transcript: Transcript) -> str:
    """Return what was said, in one line and without the blank Whisper puts in front."""
    return transcript.text.strip() + "\n"


def srt(transcript: Transcript) -> str:
    """Return SubRip: numbered blocks of times and text, an empty line between them.

    It knows no escapes, so an arrow that somebody spoke becomes a shorter one, as with openai-whisper.
    """
    blocks = [
        f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{line.replace('-->', '->')}\n"
        for number, (start, end, line) in enumerate(_lines(transcript), start=1)
    ]
    return "\n".join(blocks)


def vtt(transcript: Transcript) -> str:
    """Return WebVTT; what would be a tag or an entity there is escaped, as its section 4.2.2 asks."""
    blocks = [
        f"{clock(start, '.')} --> {clock(end, '.')}\n{_escaped(line)}\n" for start, end, line in _lines(transcript)
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


def _lines(transcript: Transcript) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and text of each segment that has any, on one line: an empty one would end the block."""
    for segment in transcript.segments:
        line = " ".join(segment.text.split())
        if line:
            yield segment.start, segment.end, line


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
