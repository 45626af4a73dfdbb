"""When each word was said, by the attention of the decoder to the encoder."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import ctranslate2
from faster_whisper.transcribe import merge_punctuations

from inference_worker.models.whisper.asked import Piece
from inference_worker.models.whisper.decoding import Decoder, rows
from inference_worker.models.whisper.segments import FRAMES_PER_S, Stretch

BEFORE, AFTER = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 (punctuation of other scripts is meant)
"""Marks that belong to the word behind them, and to the one in front; openai-whisper's."""


def add_times(
    decoder: Decoder, pieces: Sequence[Piece], found: Sequence[Sequence[Stretch]], encoded: ctranslate2.StorageView
) -> None:
    """Give the stretches of the windows whose callers want it their words, with times in the recording."""
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
        for index, words in zip(chosen, aligned, strict=True):
            merge_punctuations(words, BEFORE, AFTER)
            _share_out(words, found[index], pieces[index].start_s, tokenizer.eot)


def _share_out(words: Sequence[dict[str, Any]], found: Sequence[Stretch], start_s: float, eot: int) -> None:
    """Give each stretch the words of its own tokens."""
    waiting = iter(words)
    for stretch in found:
        stretch.words = []
        left = sum(token < eot for token in stretch.tokens)
        while left > 0 and (word := next(waiting, None)) is not None:
            left -= len(word["tokens"])
            if word["word"]:
                stretch.words.append(_timed(word, start_s))


def _timed(word: dict[str, Any], start_s: float) -> dict[str, Any]:
    return {
        "start": round(start_s + float(word["start"]), 3),
        "end": round(start_s + float(word["end"]), 3),
        "word": word["word"],
        "probability": float(word["probability"]),
    }
