"""When words begin and end, made plausible."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.models.whisper.word_times import Span, Word, cap_at_sentences, fit_segment, median_of

SECONDS = st.floats(0.0, 30.0)


def word(start: float, end: float, text: str = " word") -> Word:
    """Return a word with these times."""
    return Word(start, end, text, [1], 0.9)


def times(words: list[Word]) -> list[tuple[float, float]]:
    """Return when each begins and ends."""
    return [(each.start, each.end) for each in words]


@given(st.lists(SECONDS, min_size=2, max_size=30), st.data())
def test_words_lie_in_order_within_their_segments(edges: list[float], data: st.DataObject) -> None:
    """For every alignment and every segmentation by the model, also where the two contradict each other."""
    words = [word(*pair) for pair in itertools.pairwise(sorted(edges))]
    for each in words:
        each.text = data.draw(st.sampled_from([" word", ".", "?"]))
    median_s = median_of(words)
    cap_at_sentences(words, median_s)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(words)), max_size=5)))
    groups = [words[first:last] for first, last in itertools.pairwise([0, *cuts, len(words)])]

    previous_end, spans = 0.0, []
    for group in groups:
        first, last = sorted(data.draw(st.tuples(SECONDS, SECONDS)))
        span = fit_segment(group, Span(first, last), median_s=median_s, previous_end=previous_end)
        if group:
            spans.append(span)
            previous_end = span.end
            assert (span.start, span.end) == (group[0].start, group[-1].end)

    flat = [edge for pair in times(words) for edge in pair]
    assert flat == sorted(flat)
    assert all(first.end <= second.start for first, second in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([word(0, 0.3), word(0.3, 0.6), word(0.6, 4.0, ".")], [(0, 0.3), (0.3, 0.6), (0.6, 1.2)]),
        ([word(0, 0.3), word(0.3, 0.6, "."), word(0.6, 4.0)], [(0, 0.3), (0.3, 0.6), (3.4, 4.0)]),
        ([word(0, 0.3), word(0.3, 0.6), word(0.6, 4.0)], [(0, 0.3), (0.3, 0.6), (0.6, 4.0)]),
    ],
    ids=["a mark", "behind a mark", "within a sentence"],
)
def test_a_pause_at_the_edge_of_a_sentence_is_no_part_of_a_word(
    before: list[Word], after: list[tuple[float, float]]
) -> None:
    """It lasts at most twice the median."""
    cap_at_sentences(before, 0.3)

    assert times(before) == [pytest.approx(pair) for pair in after]


@pytest.mark.parametrize(
    ("words", "segment", "previous_end", "expected"),
    [
        ([word(0, 10.0), word(10.0, 10.3)], Span(9.5, 10.3), 0.0, [(9.4, 10.0), (10.0, 10.3)]),
        ([word(0, 5.0), word(5.0, 10.0)], Span(0, 10.0), 0.0, [(8.8, 9.4), (9.4, 10.0)]),
        ([word(9.0, 9.3), word(9.3, 20.0)], Span(9.0, 9.8), 8.9, [(9.0, 9.3), (9.3, 9.8)]),
        ([word(9.0, 9.3), word(9.3, 20.0)], Span(9.0, 9.4), 8.9, [(9.0, 9.3), (9.3, 9.6)]),
        ([word(8.0, 9.0), word(9.0, 9.3)], Span(8.8, 9.3), 7.9, [(8.7, 9.0), (9.0, 9.3)]),
        ([word(9.0, 9.3)], Span(9.0, 9.8), 8.9, [(9.0, 9.3)]),
        ([word(9.0, 9.0)], Span(9.0, 9.8), 8.9, [(9.0, 9.8)]),
    ],
    ids=["behind a pause", "two share a pause", "last word", "short segment", "first word", "plausible", "no length"],
)
def test_the_first_and_the_last_word_hold_no_pause(
    words: list[Word], segment: Span, previous_end: float, expected: list[tuple[float, float]]
) -> None:
    """A word that reaches far out of the model's segment, or fills a pause, is cut; the segment ends with its words."""
    span = fit_segment(words, segment, median_s=0.3, previous_end=previous_end)

    assert times(words) == [pytest.approx(pair) for pair in expected]
    assert (span.start, span.end) == (words[0].start, words[-1].end)


def test_a_segment_without_words_keeps_its_times() -> None:
    """Nothing is known better."""
    assert fit_segment([], Span(1.0, 2.0), median_s=0.3, previous_end=0.0) == Span(1.0, 2.0)


def test_the_median_counts_words_that_last_and_has_a_limit() -> None:
    """Words of no length are the alignment's, and long ones hold pauses."""
    assert median_of([word(0, 0), word(0, 0.2), word(1, 1.4), word(2, 2.3)]) == pytest.approx(0.3)
    assert median_of([word(0, 9)]) == 0.7
    assert median_of([]) == 0.0
