"""One pass of encoder and decoder over windows of several recordings, each with its own language and task.

What has to be equal in a pass is what CTranslate2 takes once a call: beam size, timestamps on or off, and the length
of the prompts. Results are
the same alone and together, as every row has its own prompt and its own beam.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens
from numpy.typing import NDArray

from inference_worker.media.recording import RATE
from inference_worker.models.whisper.asked import Heard, Piece
from inference_worker.models.whisper.context import context_of
from inference_worker.models.whisper.windows import Window

FULL_SCALE = 32768.0

NOTHING = np.zeros(RATE // 10, np.int16)

PROMPT_TOKENS = 5
"""The most tokens of a prompt behind its context: that of the context's start, language, task and the like."""

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""What a window is decoded at again, one after the other, if what came out looks wrong; openai-whisper's."""

BEST_OF = 5

MOST_COMPRESSION, LEAST_LOGPROB, SILENCE = 2.4, -1.0, 0.6
"""openai-whisper's thresholds: above, text repeats itself; below, the model guesses; above, nobody speaks."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of one window.

    Attributes:
        tokens: text and timestamps, as the model gave them.
        text: what the text tokens spell.
        avg_logprob: mean log probability of a token, the end included.
        no_speech_prob: how likely nobody speaks.
        temperature: at which it was decoded.
    """

    tokens: Sequence[int]
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float = 0.0

    @property
    def compression_ratio(self) -> float:
        """How much shorter the text becomes by compression: high where it repeats itself."""
        data = self.text.encode()
        return len(data) / len(zlib.compress(data))

    @property
    def silent(self) -> bool:
        """Whether nobody spoke: the model says so, and what it gave all the same is a guess."""
        return self.no_speech_prob > SILENCE and self.avg_logprob < LEAST_LOGPROB

    @property
    def doubtful(self) -> bool:
        """Whether it is worth decoding again."""
        return not self.silent and (self.compression_ratio > MOST_COMPRESSION or self.avg_logprob < LEAST_LOGPROB)


class Decoder:
    """A loaded model, and the threads that turn sound into its features."""

    def __init__(self, model: WhisperModel, threads: int) -> None:
        self.model = model
        self.tokenizer = cache(self._tokenizer)
        self._pool = ThreadPoolExecutor(threads, "features")

    def _tokenizer(self, language: str, task: str) -> Tokenizer:
        return Tokenizer(self.model.hf_tokenizer, self.model.model.is_multilingual, task=task, language=language)

    def context(self, prompt: str | None, hotwords: str | None) -> tuple[int, ...]:
        """Return the tokens that windows are conditioned on."""
        # end of text is the first of the control tokens
        control = self.model.hf_tokenizer.token_to_id("<|endoftext|>")
        return context_of(prompt, hotwords, self._encode, control=control)

    def _encode(self, text: str) -> list[int]:
        return list(self.model.hf_tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, pieces: Sequence[Piece]) -> ctranslate2.StorageView:
        """Return the encoder's output for windows with the same number of frames, (n, frames / 2, d)."""
        return self.model.encode(np.stack(list(self._pool.map(self._features, pieces))))

    def _features(self, piece: Piece) -> NDArray[np.float32]:
        """Return the log-mel spectrogram of a window, (mels, frames)."""
        # a recording without speech has one empty window
        heard = piece.samples if piece.duration_s else NOTHING
        sound = heard.astype(np.float32) / FULL_SCALE
        features: NDArray[np.float32] = pad_or_trim(self.model.feature_extractor(sound)[..., :-1], piece.frames)
        return features

    def token_limit(self, piece: Piece) -> int:
        """Return how many tokens a pass writes at most: CTranslate2 stops there.

        They are half of the decoder's positions, as in openai-whisper, or fewer behind a long context.
        """
        positions: int = self.model.max_length
        return min(positions // 2, positions - len(piece.heard.context) - PROMPT_TOKENS)

    def detect(self, pieces: Sequence[Piece], encoded: ctranslate2.StorageView | None = None) -> None:
        """Note the language of the recordings that have none yet, each by the window in which speech begins.

        `encoded` is the encoder's output for the pieces. A window that is not among them is encoded here.
        """
        unknown = {id(piece.heard): piece for piece in reversed(pieces) if piece.heard.language is None}
        if not self.model.model.is_multilingual:
            for piece in unknown.values():
                piece.heard.language = "en"
            return
        spoken = [replace(piece, window=piece.heard.language_window or piece.window) for piece in unknown.values()]
        rows = {_place(piece): row for row, piece in enumerate(pieces)} if encoded else {}
        absent = [piece for piece in spoken if _place(piece) not in rows]
        if encoded and len(absent) < len(spoken):
            likely = self.model.model.detect_language(encoded)
            for piece in spoken:
                if _place(piece) in rows:
                    _note(piece.heard, likely[rows[_place(piece)]])
        if absent:
            likely = self.model.model.detect_language(self.encode(absent))
            for piece, each in zip(absent, likely, strict=True):
                _note(piece.heard, each)

    def decode(
        self,
        pieces: Sequence[Piece],
        encoded: ctranslate2.StorageView,
        going_on: Callable[[], None] = lambda: None,
    ) -> list[Decoded]:
        """Return what is heard in each window; all of them with the same beam size and kind of timestamps.

        `going_on` is called between one temperature and the next.
        """
        found = self.search(pieces, encoded)
        tried = [[each] for each in found]
        for temperature in TEMPERATURES:
            again = [index for index, each in enumerate(found) if each.doubtful]
            if not again:
                break
            going_on()
            sampled = self._generate(
                [pieces[index] for index in again], rows(encoded, again), _sampling(temperature), temperature
            )
            for index, each in zip(again, sampled, strict=True):
                tried[index].append(each)
                found[index] = each
        return [each if not each.doubtful else _best(tried[index]) for index, each in enumerate(found)]

    def search(self, pieces: Sequence[Piece], encoded: ctranslate2.StorageView) -> list[Decoded]:
        """Return the likeliest text of each window, found by beam search at temperature 0."""
        return self._generate(pieces, encoded, {"beam_size": pieces[0].heard.asked.beam_size})

    def _generate(
        self,
        pieces: Sequence[Piece],
        encoded: ctranslate2.StorageView,
        search: Mapping[str, Any],
        temperature: float = 0.0,
    ) -> list[Decoded]:
        tokenizers = [self._of(piece.heard) for piece in pieces]
        without = not pieces[0].heard.asked.timestamps
        prompts = [
            [*_context(piece.heard, each), *self.model.get_prompt(each, [], without_timestamps=without)]
            for piece, each in zip(pieces, tokenizers, strict=True)
        ]
        results = self.model.model.generate(
            encoded,
            prompts,
            suppress_tokens=self._suppressed(tokenizers[0]),
            return_scores=True,
            return_no_speech_prob=True,
            max_length=self.model.max_length,
            **search,
        )
        return [_decoded(result, tokenizer, temperature) for result, tokenizer in zip(results, tokenizers, strict=True)]

    def _of(self, heard: Heard) -> Tokenizer:
        return self.tokenizer(heard.language or "en", heard.asked.task)

    def _suppressed(self, tokenizer: Tokenizer) -> list[int]:
        """Return the tokens that are no speech: symbols, and the control tokens of prompts."""
        return list(get_suppressed_tokens(tokenizer, [-1]))


def _context(heard: Heard, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens in front of a prompt: the caller's text, if there is any."""
    return [tokenizer.sot_prev, *heard.context] if heard.context else []


def _place(piece: Piece) -> tuple[int, Window]:
    """Return which recording it is of, and which window."""
    return id(piece.heard), piece.window


def _note(heard: Heard, likely: Sequence[tuple[str, float]]) -> None:
    """Note the most likely language of a recording."""
    token, probability = likely[0]
    heard.language = token.removeprefix("<|").removesuffix("|>")
    heard.language_probability = float(probability)


def _sampling(temperature: float) -> Mapping[str, Any]:
    return {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature}


def _decoded(result: Any, tokenizer: Tokenizer, temperature: float) -> Decoded:
    tokens = [int(token) for token in result.sequences_ids[0]]
    # the score is the mean over the tokens without the end, which counts too
    logprob = float(result.scores[0]) * len(tokens) / (len(tokens) + 1)
    return Decoded(tokens, tokenizer.decode(tokens).strip(), logprob, float(result.no_speech_prob), temperature)


def _best(tried: Sequence[Decoded]) -> Decoded:
    """Return the likeliest of several doubtful attempts, of those that do not repeat themselves if there are any."""
    varied = [each for each in tried if each.compression_ratio <= MOST_COMPRESSION]
    return max(varied or tried, key=lambda each: each.avg_logprob)


def rows(encoded: ctranslate2.StorageView, chosen: Sequence[int]) -> ctranslate2.StorageView:
    """Return some rows of the encoder's output."""
    if list(chosen) == list(range(encoded.shape[0])):
        return encoded
    there = encoded if encoded.device == "cpu" else encoded.to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.asarray(there)[list(chosen)]))
