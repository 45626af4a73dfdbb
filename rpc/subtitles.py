"""Transcripts as SubRip and WebVTT, with cues no wider than asked for. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from rpc.errors import InvalidInput
from rpc.results import Segment, Transcript

MILLISECONDS, SECONDS_OF_A_MINUTE, MINUTES_OF_AN_HOUR = 1000, 60, 60


@dataclass(frozen=True, slots=True)
class Widths:
    """How much a cue may hold; the names are those of openai-whisper's writers.

    A cue never holds more than one segment. Its words come from the segment, so ask for word timestamps: without them
    the time of a segment is shared out among its words by their length. A word longer than a line has one by itself.

    Attributes:
        max_line_width: characters of a line; a segment is broken into lines.
        max_line_count: lines of a cue, of `max_line_width` characters each; a further cue begins behind them. As many
            as the segment needs unless given.
        max_words_per_line: words of a cue; a further cue begins behind them.

    Raises:
        InvalidInput: one is not a number from 1 on, or lines are counted that have no width.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in NAMES:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InvalidInput(f"{name} must be a number from 1 on, got {value!r:.40}")
        if self.max_line_count is not None and self.max_line_width is None:
            raise InvalidInput("max_line_count needs max_line_width: a line ends where its width does")

    @property
    def are_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self != UNLIMITED


NAMES = tuple(field.name for field in fields(Widths))

UNLIMITED = Widths()


class Cue(NamedTuple):
    """Lines that are shown together, from and to which second of the recording."""

    start: float
    end: float
    lines: tuple[str, ...]


class _Word(NamedTuple):
    start: float
    end: float
    text: str


def srt(transcript: Transcript, widths: Widths = UNLIMITED) -> str:
    """Return SubRip: numbered blocks of times and text, an empty line between them.

    SubRip has no escapes, so a spoken arrow becomes a shorter one, as with openai-whisper.
    """
    blocks = (
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{_joined(cue).replace('-->', '->')}\n"
        for number, cue in enumerate(cues(transcript, widths), start=1)
    )
    return "\n".join(blocks)


def vtt(transcript: Transcript, widths: Widths = UNLIMITED) -> str:
    """Return WebVTT; text that would be a tag or an entity is escaped (WebVTT, 4.2.2)."""
    blocks = (
        f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{_escaped(_joined(cue))}\n"
        for cue in cues(transcript, widths)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def clock(seconds: float, mark: str) -> str:
    """Return a time as hours, minutes, seconds and milliseconds, with that mark in front of the last."""
    whole, thousandths = divmod(round(seconds * MILLISECONDS), MILLISECONDS)
    minutes, rest = divmod(whole, SECONDS_OF_A_MINUTE)
    hours, minutes = divmod(minutes, MINUTES_OF_AN_HOUR)
    return f"{hours:02}:{minutes:02}:{rest:02}{mark}{thousandths:03}"


def cues(transcript: Transcript, widths: Widths = UNLIMITED) -> Iterator[Cue]:
    """Yield the cues of the segments that have text."""
    for segment in transcript.segments:
        text = " ".join(segment.text.split())
        if text and not widths.are_limited:
            yield Cue(segment.start, segment.end, (text,))
        elif text:
            for words in _limited(_words(segment, text), widths):
                yield Cue(words[0].start, words[-1].end, tuple(_lines(words, widths.max_line_width)))


def _words(segment: Segment, text: str) -> Sequence[_Word]:
    """Return the words of a segment with the blanks in front of them."""
    if segment.words:
        return [_Word(word.start, word.end, word.word) for word in segment.words if word.word.strip()]
    # a script without blanks may be broken anywhere
    pieces = [" " + word for word in text.split()] if " " in text else list(text)
    second = (segment.end - segment.start) / sum(map(len, pieces))
    words, start = [], segment.start
    for piece in pieces:
        words.append(_Word(start, start + second * len(piece), piece))
        start = words[-1].end
    return words


def _limited(words: Iterable[_Word], widths: Widths) -> Iterator[list[_Word]]:
    """Yield the words of one cue after another."""
    cue: list[_Word] = []
    for word in words:
        if cue and not _fits([*cue, word], widths):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _fits(words: Sequence[_Word], widths: Widths) -> bool:
    if widths.max_words_per_line is not None and len(words) > widths.max_words_per_line:
        return False
    return widths.max_line_count is None or len(_lines(words, widths.max_line_width)) <= widths.max_line_count


def _lines(words: Sequence[_Word], width: int | None) -> list[str]:
    """Return words in lines of a width, if there is one."""
    lines = [""]
    for word in words:
        longer = lines[-1] + " ".join(word.text.split("\n"))
        if width is not None and lines[-1].strip() and len(longer.strip()) > width:
            lines.append(word.text)
        else:
            lines[-1] = longer
    return [" ".join(line.split()) for line in lines]


def _joined(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
