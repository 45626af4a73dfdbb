"""How a transcript is written: as text, SubRip or WebVTT. Pure."""

from collections.abc import Callable, Mapping
from typing import Literal

from rpc import Transcript
from rpc.subtitles import UNLIMITED, Widths, clock, srt, vtt

__all__ = ["FORMS", "SUFFIXES", "UNLIMITED", "Form", "Widths", "clock", "srt", "text", "vtt"]

Form = Literal["text", "srt", "vtt", "json"]


def text(transcript: Transcript, _: Widths = UNLIMITED) -> str:
    """Return what was said, in one line and without the blank Whisper puts in front; of channels, a line each."""
    if transcript.channels is not None:
        return "".join(f"{each.name}: {each.transcript.text.strip()}\n" for each in transcript.channels)
    return transcript.text.strip() + "\n"


FORMS: Mapping[str, Callable[[Transcript, Widths], str]] = {"text": text, "srt": srt, "vtt": vtt}

SUFFIXES = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "json": ".json"}
