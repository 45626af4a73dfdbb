"""Tokens of a window become segments of the recording, with the fields openai-whisper gives them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from faster_whisper.tokenizer import Tokenizer

from inference_worker.models.whisper.asked import Piece
from inference_worker.models.whisper.decoding import Decoded

TICK_S = 0.02
"""What a timestamp token counts in."""

FRAMES_PER_S = 100
"""What `seek` counts in."""


@dataclass(slots=True)
class Stretch:
    """A run of text tokens of a window, from `start` to `end` in seconds of it, with the timestamps around them."""

    start: float
    end: float
    tokens: list[int] = field(default_factory=list)
    words: list[dict[str, Any]] | None = None


def complete_part(tokens: Sequence[int], timestamp_begin: int) -> tuple[Sequence[int], float | None]:
    """Return the tokens that are complete, and the second of the window from which the rest is to be decoded again.

    The rule is openai-whisper's (`transcribe.py`). A pair of timestamps closes a segment and opens the next one. Where
    the last pair has nothing behind it, or text that no timestamp closes, the window is complete up to that pair. One
    timestamp alone behind the last text says that no speech follows. Then, and without any pair, all tokens are
    complete and the second value is None.
    """
    flags = [token >= timestamp_begin for token in tokens]
    pairs = [index for index in range(1, len(tokens)) if flags[index] and flags[index - 1]]
    if not pairs or flags[-2:] == [False, True]:
        return tokens, None
    return tokens[: pairs[-1]], (tokens[pairs[-1]] - timestamp_begin) * TICK_S


def stretches(
    tokens: Sequence[int], timestamp_begin: int, duration_s: float, previous_end: float = 0.0
) -> list[Stretch]:
    """Return the runs of text between timestamps; text without one behind it lasts until the window ends.

    None begins before `previous_end`, where the segment in front of the window ends: a rest begins in the gap between
    two words, which may lie in front of the timestamp.
    """
    runs = [run for run in _runs(tokens, timestamp_begin, duration_s) if run.end > run.start]
    for run in runs:
        if run.start < previous_end:
            run.start = previous_end
            run.end = max(run.end, previous_end + TICK_S)
        previous_end = run.end
    return runs


def _runs(tokens: Sequence[int], timestamp_begin: int, duration_s: float) -> Iterator[Stretch]:
    run = Stretch(0.0, duration_s)
    text = False
    for token in tokens:
        if token < timestamp_begin:
            run.tokens.append(token)
            text = True
            continue
        at = min((token - timestamp_begin) * TICK_S, duration_s)
        if text:
            run.tokens.append(token)
            run.end = max(at, run.start)
            yield run
            run, text = Stretch(at, duration_s), False
        else:
            run = Stretch(at, duration_s, [token])
    if text:
        yield run


def segments(piece: Piece, decoded: Decoded, found: Sequence[Stretch], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return the segments of a window; those without text are left out. Whoever joins windows gives them their ids."""
    return [
        _segment(piece, decoded, stretch, text)
        for stretch in found
        if (text := tokenizer.decode(stretch.tokens)).strip()
    ]


def _segment(piece: Piece, decoded: Decoded, stretch: Stretch, text: str) -> dict[str, Any]:
    segment = {
        "id": 0,
        "seek": round(piece.start_s * FRAMES_PER_S),
        "start": round(piece.start_s + stretch.start, 3),
        "end": round(piece.start_s + stretch.end, 3),
        "text": text,
        "tokens": stretch.tokens,
        "temperature": decoded.temperature,
        "avg_logprob": decoded.avg_logprob,
        "compression_ratio": decoded.compression_ratio,
        "no_speech_prob": decoded.no_speech_prob,
    }
    return segment if stretch.words is None else {**segment, "words": stretch.words}
