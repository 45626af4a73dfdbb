"""Where recordings are cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper.segments import Stretch, stretches
from inference_worker.models.whisper.windows import WINDOW, Window, cut, pack

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
