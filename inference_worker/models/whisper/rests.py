"""Which part of a window needs another pass: the model stops early, or its text is longer than it can write at once."""

from collections.abc import Sequence

from inference_worker.media.recording import RATE
from inference_worker.models.whisper import segments, windows
from inference_worker.models.whisper.asked import Piece
from inference_worker.models.whisper.decoding import MOST_COMPRESSION, Decoded
from inference_worker.models.whisper.windows import Window

MIN_ADVANCE_S = 1.0
"""A window whose first segment ends before this has no follow-up, so that the passes of a window come to an end."""

MIN_REST_S = 0.3
"""A shorter rest holds no word."""

MIN_HALVED_S = 10.0
"""A shorter window is not halved: speech of this length is written in fewer tokens than the limit."""

Part = tuple[Sequence[int], Window | None]
"""The tokens that are complete, and the part of the recording to decode next; None if the window is complete."""


def complete_part(piece: Piece, decoded: Decoded, *, timestamp_begin: int, limit: int) -> Part:
    """Return which tokens of a pass are complete, and which part of the unit's window has to be decoded next."""
    behind = _part(piece, piece.window.stop)
    if decoded.silent or not piece.duration_s:
        return (), behind
    tokens, start_s = decoded.tokens, None
    if piece.heard.asked.timestamps:
        tokens, start_s = segments.complete_part(decoded.tokens, timestamp_begin)
    if start_s is not None and start_s >= MIN_ADVANCE_S:
        gap = windows.nearest_gap(piece.samples, round(start_s * RATE))
        rest = _part(piece, min(piece.window.start + gap, piece.window.stop))
        return (tokens, rest) if rest else (decoded.tokens, None)
    if len(decoded.tokens) >= limit and decoded.compression_ratio <= MOST_COMPRESSION:
        return _halved(piece) or (decoded.tokens, behind)
    return decoded.tokens, behind


def _part(piece: Piece, start: int) -> Window | None:
    """Return the part of the unit's window from a sample on; None if no word fits into it."""
    stop = piece.whole.stop
    return Window(start, stop) if stop - start >= MIN_REST_S * RATE else None


def _halved(piece: Piece) -> Part | None:
    """Return the first half of what was decoded, to be decoded again alone; None if it is too short for that."""
    if piece.duration_s < MIN_HALVED_S:
        return None
    start, stop = piece.window
    return (), Window(start, start + windows.nearest_gap(piece.samples, (stop - start) // 2))
