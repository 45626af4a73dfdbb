"""Where recordings are cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper.segments import Stretch, complete_part, stretches
from inference_worker.models.whisper.windows import WINDOW, Window, cut, nearest_gap, pack

BEGIN = 1000
"""The first timestamp token, in these tests."""


def sound(*parts: tuple[float, float]) -> NDArray[np.int16]:
    """Return noise of so many seconds and such a loudness, part after part."""
    chance = np.random.default_rng(1)
    made = [chance.normal(0, loudness, round(seconds * RATE)) for seconds, loudness in parts]
    return np.concatenate(made).astype(np.int16)


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.sampled_from([0.0, 5.0, 3000.0])), min_size=1, max_size=6))
def test_windows_cover_a_recording_once(parts: list[tuple[float, float]]) -> None:
    """No sample is heard twice or not at all, and none of the windows is longer than Whisper hears."""
    samples = sound(*parts)

    windows = cut(samples)

    assert windows[0].start == 0
    assert windows[-1].stop == len(samples)
    assert all(first.stop == second.start for first, second in itertools.pairwise(windows))
    assert all(window.stop - window.start <= WINDOW for window in windows)
    assert all(window.stop > window.start for window in windows) or not len(samples)


def test_a_window_ends_in_the_last_pause() -> None:
    """No word is cut in two where the speaker paused in the window's last ten seconds."""
    samples = sound((21.0, 3000), (1.0, 5), (4.0, 3000), (0.6, 5), (20.0, 3000))

    first, second = cut(samples)

    assert first.stop / RATE == pytest.approx(26.3, abs=0.03)
    assert second.stop == len(samples)


@pytest.mark.parametrize(
    "parts",
    [
        [(60.0, 3000)],
        [(10.0, 3000), (2.0, 5), (40.0, 3000)],
        [(25.0, 3000), (0.2, 5), (40.0, 3000)],
        [(60.0, 0)],
    ],
    ids=["no pause", "too early", "too short", "silence"],
)
def test_without_a_pause_a_window_is_full(parts: list[tuple[float, float]]) -> None:
    """What is not a pause near the end does not shorten a window."""
    assert cut(sound(*parts))[0] == Window(0, WINDOW)


def test_a_short_recording_is_one_window() -> None:
    """Up to thirty seconds nothing is cut."""
    assert cut(sound((30.0, 3000))) == [Window(0, WINDOW)]


def test_stretches_of_speech_share_windows() -> None:
    """Those that fit into thirty seconds are heard together; long silence between others is not heard at all."""
    second = RATE
    speech = [Window(second, 5 * second), Window(8 * second, 20 * second), Window(40 * second, 69 * second)]

    assert pack(speech) == [Window(second, 20 * second), Window(40 * second, 69 * second)]
    assert pack([]) == []


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1, 2], [(0.0, 5.0, [1, 2])]),
        ([BEGIN, 1, 2], [(0.0, 5.0, [BEGIN, 1, 2])]),
        ([BEGIN + 50, 1, BEGIN + 100], [(1.0, 2.0, [BEGIN + 50, 1, BEGIN + 100])]),
        (
            [BEGIN, 1, BEGIN + 100, BEGIN + 150, 2, BEGIN + 200],
            [(0.0, 2.0, [BEGIN, 1, BEGIN + 100]), (3.0, 4.0, [BEGIN + 150, 2, BEGIN + 200])],
        ),
        ([BEGIN, 1, BEGIN + 100, BEGIN + 150, 2], [(0.0, 2.0, [BEGIN, 1, BEGIN + 100]), (3.0, 5.0, [BEGIN + 150, 2])]),
        ([BEGIN, 1, BEGIN + 1400], [(0.0, 5.0, [BEGIN, 1, BEGIN + 1400])]),
        ([BEGIN, 1, BEGIN], []),
        ([BEGIN, BEGIN + 50], []),
        ([], []),
    ],
)
def test_timestamps_cut_a_window_into_stretches(tokens: list[int], found: list[tuple[float, float, list[int]]]) -> None:
    """Nothing that was said is left out: also what follows the last timestamp; no time is beyond the window."""
    assert stretches(tokens, BEGIN, 5.0) == [Stretch(start, end, kept) for start, end, kept in found]


TEXT = [7, 8, 9]


def at(*seconds: float) -> list[int]:
    """Return timestamp tokens."""
    return [BEGIN + round(second / 0.02) for second in seconds]


@pytest.mark.parametrize(
    ("tokens", "complete", "rest_s"),
    [
        ([], 0, None),
        (TEXT, 3, None),
        ([*at(0), *TEXT], 4, None),
        ([*at(0), *TEXT, *at(5)], 5, None),
        ([*at(0), *TEXT, *at(5, 5)], 5, 5.0),
        ([*at(0), *TEXT, *at(5, 6)], 5, 6.0),
        ([*at(0), *TEXT, *at(5, 5), *TEXT], 5, 5.0),
        ([*at(0), *TEXT, *at(5, 5), *TEXT, *at(9)], 10, None),
        ([*at(0), *TEXT, *at(5, 5), *TEXT, *at(9, 9)], 10, 9.0),
        ([*at(0), *TEXT, *at(5, 5), *TEXT, *at(9, 9), *TEXT], 10, 9.0),
        (at(0, 4), 1, 4.0),
    ],
)
def test_a_window_is_complete_up_to_the_last_pair_of_timestamps(
    tokens: list[int], complete: int, rest_s: float | None
) -> None:
    """With nothing behind the pair, or text that is not closed, the rest is decoded again; as openai-whisper does."""
    assert complete_part(tokens, BEGIN) == (tokens[:complete], rest_s)


@pytest.mark.parametrize(
    ("parts", "at_s", "cut_s"),
    [
        ([(5.0, 3000), (0.2, 5), (5.0, 3000)], 5.3, 5.1),
        ([(5.0, 3000), (0.2, 5), (5.0, 3000)], 4.9, 5.1),
        ([(5.0, 3000), (0.2, 5), (5.0, 3000)], 5.7, 5.7),
        ([(10.0, 3000)], 5.0, 5.0),
        ([(5.0, 3000), (5.0, 5)], 9.9, 9.8),
        ([(0.04, 3000)], 0.02, 0.02),
    ],
    ids=["behind a gap", "before a gap", "far from a gap", "no gap", "silence", "too short to look"],
)
def test_a_rest_begins_in_the_gap_between_two_words(
    parts: list[tuple[float, float]], at_s: float, cut_s: float
) -> None:
    """A gap within 0.3 s of the timestamp is a better place; where speech goes on the timestamp is obeyed."""
    cut_at = nearest_gap(sound(*parts), round(at_s * RATE))

    assert cut_at / RATE == pytest.approx(cut_s, abs=0.11 if parts[-1][1] == 3000 else 0.3)


def test_the_segments_of_a_rest_begin_behind_the_one_in_front() -> None:
    """A rest that begins in a gap in front of the timestamp does not overlap the segment that ends there."""
    tokens = [*at(0), *TEXT, *at(0.1, 0.1), *TEXT, *at(4)]

    found = stretches(tokens, BEGIN, 5.0, previous_end=0.2)

    assert [(each.start, each.end) for each in found] == [pytest.approx(pair) for pair in ((0.2, 0.22), (0.22, 4.0))]
