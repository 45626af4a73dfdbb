"""Which part of a window needs another pass."""

import numpy as np
import pytest

from inference_worker.media.recording import RATE, Recording
from inference_worker.models.whisper.asked import Asked, Heard, Piece
from inference_worker.models.whisper.decoding import Decoded
from inference_worker.models.whisper.rests import complete_part
from inference_worker.models.whisper.windows import Window

BEGIN, LIMIT = 1000, 224

LOUD = np.random.default_rng(1).normal(0, 3000, 30 * RATE).astype(np.int16)


def window(start_s: float, stop_s: float) -> Window:
    """Return a window in seconds."""
    return Window(round(start_s * RATE), round(stop_s * RATE))


def piece(stop_s: float = 20.0, *, timestamps: bool = True) -> Piece:
    """Return a window of speech without gaps."""
    recording = Recording(LOUD)
    return Piece(
        Heard(Asked(timestamps=timestamps), recording.duration_s, truncated=False), window(0, stop_s), recording
    )


def decoded(tokens: list[int], *, silent: bool = False, text: str = "text") -> Decoded:
    """Return tokens as they come out of a pass."""
    return Decoded(tokens, text, -2.0 if silent else -0.1, 0.9 if silent else 0.1)


def at(second: float) -> int:
    """Return a timestamp token."""
    return BEGIN + round(second / 0.02)


PAIR = [at(0), 7, at(5), at(5)]

MANY = list(range(LIMIT))


@pytest.mark.parametrize(
    ("tokens", "complete", "rest"),
    [
        (PAIR, 3, window(5, 20)),
        ([at(0), 7, at(19.8), at(19.8)], 4, None),
        ([at(0), 7, at(25), at(25)], 4, None),
        ([at(0), 7, at(0.5), at(0.5)], 4, None),
        ([at(0), 7, at(5)], 3, None),
        ([at(0), 7], 2, None),
    ],
    ids=["a rest", "too short for a word", "behind the end", "no progress", "a single timestamp", "text to the end"],
)
def test_a_pair_of_timestamps_leaves_a_rest(tokens: list[int], complete: int, rest: Window | None) -> None:
    """The rest lasts from the pair to the end of the window; where there is none, all tokens are complete."""
    assert complete_part(piece(), decoded(tokens), timestamp_begin=BEGIN, limit=LIMIT) == (tokens[:complete], rest)


def test_without_timestamps_there_is_no_rest() -> None:
    """The model writes none, and was told so."""
    part = complete_part(piece(timestamps=False), decoded(PAIR), timestamp_begin=BEGIN, limit=LIMIT)

    assert part == (PAIR, None)


def test_silence_has_neither_text_nor_rest() -> None:
    """A guess of the model on silence is dropped."""
    assert complete_part(piece(), decoded(PAIR, silent=True), timestamp_begin=BEGIN, limit=LIMIT) == ((), None)


@pytest.mark.parametrize("timestamps", [False, True])
def test_text_that_reached_the_limit_of_tokens_is_decoded_in_halves(*, timestamps: bool) -> None:
    """Dense speech has more tokens than a pass writes; both halves of the window are decoded alone."""
    whole = piece(timestamps=timestamps)

    part = complete_part(whole, decoded(MANY), timestamp_begin=BEGIN, limit=LIMIT)
    first = whole.part(window(0, 10), ())
    behind = complete_part(first, decoded(MANY[:9]), timestamp_begin=BEGIN, limit=LIMIT)

    assert part == ((), window(0, 10))
    assert behind == (MANY[:9], window(10, 20))
    assert complete_part(first.part(window(10, 20), ()), decoded([7]), timestamp_begin=BEGIN, limit=LIMIT)[1] is None


@pytest.mark.parametrize(
    ("stop_s", "text"), [(9.9, "dense"), (20.0, "again and " * 50)], ids=["a short window", "a repetition"]
)
def test_a_window_that_would_gain_nothing_is_not_halved(stop_s: float, text: str) -> None:
    """Its tokens are taken as they are."""
    part = complete_part(piece(stop_s), decoded(MANY, text=text), timestamp_begin=BEGIN, limit=LIMIT)

    assert part == (MANY, None)
