"""When each word was said, aligned by the attention of the decoder to the encoder."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import ctranslate2
from faster_whisper.transcribe import merge_punctuations

from inference_worker.models.whisper.asked import Piece
from inference_worker.models.whisper.decoding import Decoder, rows
from inference_worker.models.whisper.segments import FRAMES_PER_S, Stretch
from inference_worker.models.whisper.word_times import Span, Word, cap_at_sentences, fit_segment, median_of

BEFORE, AFTER = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 (punctuation of other scripts is meant)
"""Marks that belong to the word behind them, and to the one in front; openai-whisper's."""


def add_times(
    decoder: Decoder, pieces: Sequence[Piece], found: Sequence[Sequence[Stretch]], encoded: ctranslate2.StorageView
) -> None:
    """Give the stretches of the windows whose callers want it their words, with times in the recording.

    Each stretch then begins with its first word and ends with its last one.
    """
    together = defaultdict(list)
    for index, piece in enumerate(pieces):
        if piece.heard.asked.word_timestamps and found[index]:
            # an alignment has one start of all prompts
            together[piece.heard.language or "en", piece.heard.asked.task].append(index)
    for (language, task), chosen in together.items():
        tokenizer = decoder.tokenizer(language, task)
        texts = [[token for stretch in found[i] for token in stretch.tokens if token < tokenizer.eot] for i in chosen]
        frames = [max(1, round(pieces[i].duration_s * FRAMES_PER_S)) for i in chosen]
        aligned: Any = decoder.model.find_alignment(tokenizer, texts, rows(encoded, chosen), frames)
        for index, alignment in zip(chosen, aligned, strict=True):
            _set_words(pieces[index], found[index], alignment, tokenizer.eot)


def _set_words(piece: Piece, stretches: Sequence[Stretch], alignment: list[dict[str, Any]], eot: int) -> None:
    """Give each stretch of a window the words of its own tokens."""
    median_s = _cap(alignment)
    merge_punctuations(alignment, BEFORE, AFTER)
    words, previous_end = iter(map(_word, alignment)), piece.previous_end_s
    for stretch in stretches:
        count, own = sum(token < eot for token in stretch.tokens), []
        while count > 0 and (word := next(words, None)) is not None:
            count -= len(word.tokens)
            own.append(word)
        own = [word for word in own if word.text]
        span = Span(stretch.start, stretch.end)
        span = fit_segment(own, span, median_s=median_s, previous_end=previous_end)
        stretch.start, stretch.end, previous_end = span.start, span.end, span.end
        stretch.words = [_timed(word, piece.start_s) for word in own]


def _cap(alignment: Sequence[dict[str, Any]]) -> float:
    """Cap the words at the edges of sentences, before marks are merged into words; return the median duration."""
    words = list(map(_word, alignment))
    median_s = median_of(words)
    cap_at_sentences(words, median_s)
    for entry, word in zip(alignment, words, strict=True):
        entry["start"], entry["end"] = word.start, word.end
    return median_s


def _word(entry: dict[str, Any]) -> Word:
    return Word(float(entry["start"]), float(entry["end"]), entry["word"], entry["tokens"], float(entry["probability"]))


def _timed(word: Word, start_s: float) -> dict[str, Any]:
    return {
        "start": round(start_s + word.start, 3),
        "end": round(start_s + word.end, 3),
        "word": word.text,
        "probability": word.probability,
    }
