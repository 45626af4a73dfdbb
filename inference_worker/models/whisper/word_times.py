"""When each word of a segment begins and ends, made plausible. Pure.

An alignment gives every frame to a word, so a pause is part of the word in front of it or behind it. The limits are
those of openai-whisper (`timing.py`): a word at the edge of a sentence or behind a pause lasts at most twice the median
word, and a segment begins and ends with its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_MEDIAN_S = 0.7
"""The median is taken for at most this: speech with fewer words has pauses in most of them."""

ENDS_OF_SENTENCES = frozenset(".。!！?？")  # noqa: RUF001 (marks of other scripts are meant)

PAUSE_MEDIANS = 4
"""Medians from the last segment to the end of a segment's first word above which a pause lies in front of it."""

TOLERANCE_S = 0.5
"""How far a word may reach out of the model's own segment before the segment's time is believed instead."""


@dataclass(slots=True)
class Word:
    """A word of an alignment: seconds of its window, its text and tokens, and how likely it is."""

    start: float
    end: float
    text: str
    tokens: Sequence[int]
    probability: float

    @property
    def duration(self) -> float:
        """How long it lasts, in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a segment lasts, in seconds of its window."""

    start: float
    end: float


def median_of(words: Sequence[Word]) -> float:
    """Return the median duration of the words that last, at most `MAX_MEDIAN_S`; 0 without any."""
    durations = [word.duration for word in words if word.duration > 0]
    return min(MAX_MEDIAN_S, float(np.median(durations))) if durations else 0.0


def cap_at_sentences(words: Sequence[Word], median_s: float) -> None:
    """Cap marks that end sentences, and the words behind them, at twice the median: the rest of them is a pause."""
    longest = 2 * median_s
    for index in range(1, len(words)):
        word = words[index]
        if word.duration <= longest:
            continue
        if word.text in ENDS_OF_SENTENCES:
            word.end = word.start + longest
        elif words[index - 1].text in ENDS_OF_SENTENCES:
            word.start = word.end - longest


def fit_segment(words: Sequence[Word], segment: Span, *, median_s: float, previous_end: float) -> Span:
    """Move the edges of a segment's words to plausible times, and return when the segment begins and ends with them.

    `previous_end` is the end of the segment in front. Afterwards the words are in order, none ends before it begins,
    and all lie within the span that is returned.
    """
    if not words:
        return segment
    _cap_behind_pause(words, median_s, previous_end)
    _clamp_edges(words, segment, median_s)
    _order(words, previous_end)
    if words[-1].end <= words[0].start:
        # a single token has no length in an alignment
        words[-1].end = max(words[-1].end, segment.end)
    return Span(words[0].start, words[-1].end)


def _cap_behind_pause(words: Sequence[Word], median_s: float, previous_end: float) -> None:
    """Cap the first word behind a pause, and the second, which may have its share of the pause."""
    first, second, longest = words[0], words[1] if len(words) > 1 else None, 2 * median_s
    if first.end - previous_end <= PAUSE_MEDIANS * median_s:
        return
    if first.duration <= longest and not (second and second.end - first.start > 2 * longest):
        return
    if second and second.duration > longest:
        first.end = second.start = max(second.end / 2, second.end - longest)
    first.start = max(0.0, first.end - longest)


def _clamp_edges(words: Sequence[Word], segment: Span, median_s: float) -> None:
    """Believe the segment's own times where its first or last word reaches out of it by more than the tolerance."""
    first, last = words[0], words[-1]
    if first.start < segment.start - TOLERANCE_S and segment.start < first.end:
        first.start = max(0.0, min(first.end - median_s, segment.start))
    if last.end > segment.end + TOLERANCE_S and last.start < segment.end:
        last.end = max(last.start + median_s, segment.end)


def _order(words: Sequence[Word], previous_end: float) -> None:
    """Let no word begin before the one in front of it ends, nor end before it begins."""
    at = previous_end
    for word in words:
        word.start = max(word.start, at)
        word.end = at = max(word.end, word.start)
