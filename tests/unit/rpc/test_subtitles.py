"""Cues of subtitles hold no more than asked for, and every word once."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpc import InvalidInput, Segment, Transcript, Word
from rpc.subtitles import Widths, cues, srt, vtt

SAID = " The quick brown fox jumps over the lazy dog."


def segment(text: str, words: Sequence[str] | None, *, start: float = 0.0) -> Segment:
    """Return a segment of which each word, if there are any, lasts a second."""
    timed = None if words is None else [Word(start + i, start + i + 1, each, 0.9) for i, each in enumerate(words)]
    end = start + (len(words) if words else 10.0)
    return Segment(0, 0, start, end, text, [], 0.0, -0.1, 1.0, 0.0, timed)


def transcript(*segments: Segment) -> Transcript:
    """Return a transcript of these segments."""
    return Transcript("".join(each.text for each in segments), "en", 60.0, list(segments))


WORDS = [" " + word for word in SAID.split()]


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        (Widths(), [(0, 9, [SAID.strip()])]),
        (Widths(max_line_width=16), [(0, 9, ["The quick brown", "fox jumps over", "the lazy dog."])]),
        (Widths(16, 1), [(0, 3, ["The quick brown"]), (3, 6, ["fox jumps over"]), (6, 9, ["the lazy dog."])]),
        (Widths(16, 2), [(0, 6, ["The quick brown", "fox jumps over"]), (6, 9, ["the lazy dog."])]),
        (
            Widths(max_words_per_line=4),
            [(0, 4, ["The quick brown fox"]), (4, 8, ["jumps over the lazy"]), (8, 9, ["dog."])],
        ),
        (
            Widths(10, 2, 3),
            [(0, 3, ["The quick", "brown"]), (3, 6, ["fox jumps", "over"]), (6, 9, ["the lazy", "dog."])],
        ),
        # a word that is longer has a line by itself
        (Widths(4, 1), [(i, i + 1, [word.strip()]) for i, word in enumerate(WORDS)]),
    ],
)
def test_a_cue_holds_what_it_may(widths: Widths, expected: list[tuple[float, float, list[str]]]) -> None:
    """Characters of a line, lines and words of a cue; times are those of the words."""
    found = [(cue.start, cue.end, list(cue.lines)) for cue in cues(transcript(segment(SAID, WORDS)), widths)]

    assert found == expected


def test_without_words_the_time_is_shared_out() -> None:
    """By the length of the words; a script without blanks is broken anywhere."""
    latin = list(cues(transcript(segment(" aaaa bbbb", None)), Widths(max_words_per_line=1)))
    chinese = list(cues(transcript(segment("一二三四五六七八九十", None)), Widths(5, 1)))

    assert [(cue.start, cue.end, cue.lines) for cue in latin] == [(0.0, 5.0, ("aaaa",)), (5.0, 10.0, ("bbbb",))]
    assert [cue.lines for cue in chinese] == [("一二三四五",), ("六七八九十",)]
    assert [cue.end for cue in chinese] == pytest.approx([5.0, 10.0])


def test_a_cue_holds_one_segment_at_most() -> None:
    """Two short segments stay two cues, and lines are written one under the other."""
    two = transcript(segment(" one two three", [" one", " two", " three"]), segment(" four", [" four"], start=5.0))

    assert srt(two, Widths(max_line_width=8)) == (
        "1\n00:00:00,000 --> 00:00:03,000\none two\nthree\n\n2\n00:00:05,000 --> 00:00:06,000\nfour\n"
    )
    assert vtt(two, Widths(max_line_width=8)).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:03.000\none two\nthree\n")


@given(
    st.lists(st.text("abc<&", min_size=1, max_size=9), min_size=1, max_size=30),
    st.integers(1, 20),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 5),
)
def test_no_word_is_lost_and_no_limit_broken(words: list[str], width: int, lines: int | None, most: int | None) -> None:
    """Whatever was said, and however narrow."""
    found = list(
        cues(transcript(segment(" " + " ".join(words), [f" {each}" for each in words])), Widths(width, lines, most))
    )

    assert [word for cue in found for line in cue.lines for word in line.split()] == words
    assert all(len(line) <= width or " " not in line for cue in found for line in cue.lines)
    assert all(lines is None or len(cue.lines) <= lines for cue in found)
    assert all(most is None or sum(len(line.split()) for line in cue.lines) <= most for cue in found)
    assert all(first.end <= second.start for first, second in pairwise(found))


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ((0, None, None), "max_line_width must be a number from 1 on, got 0"),
        ((None, None, -1), "max_words_per_line must be a number from 1 on, got -1"),
        (("20", None, None), "max_line_width must be a number from 1 on, got '20'"),
        ((None, 2, None), "max_line_count needs max_line_width"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(numbers: tuple[int, int, int], complaint: str) -> None:
    """By name."""
    with pytest.raises(InvalidInput, match=complaint):
        Widths(*numbers)
