"""A hand-made Whisper that hears tones: each second of a recording holds one tone, and each tone is a word.

Every weight is set by hand, so what comes out is exact, while all of the real way is gone: features, encoder, cross
attention, beam search, tokenizer. In the encoder two convolutions find which of eight bands of the spectrogram stands
out, and the position encoding adds which second it is. In the decoder the position of the word to come asks for its
second, and the band found there is the word. Silence is the end: what follows a second of silence in a window of 30 s
is not heard.
"""

import io
import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import whisper_spec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

VERSION = 1

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
FREQUENCIES = (482, 782, 1088, 1477, 2008, 2729, 3713, 5048)
"""The tone of each word, in Hz: the middle of its band."""

RATE = 16_000
LOUDNESS = 0.3

MELS, FRAMES, POSITIONS = 80, 1500, 448
BANDS = (12, 20, 28, 36, 44, 52, 60, 68)
"""Mel bands far enough apart that neighbours four away tell a tone from noise."""
APART = 4

WIDTH, SECONDS = 64, 30
FIRST_BAND, STOP = 32, 31
"""Numbers 0 to 29 of a vector say which second it is, 30 that it is late, 31 that the text stops, 32 to 39 which band
stands out."""

PROMPT = 3
"""The first word is said at this position: behind <|startoftranscript|>, language and task, and then either
<|notimestamps|> or the first timestamp."""

THRESHOLD, SHARPNESS, ATTENTION, LOUDER, SILENT_BAND = 0.3, 8.0, 3.0, 10.0, 0.17
WORD_LOGIT, END_LOGIT, LATE_END_LOGIT, ENGLISH_LOGIT, NEVER_LOGIT = 8.0, 9.0, 24.0, 12.0, -20.0
"""Far enough apart that sampling at a temperature of 1 finds the same words."""

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>")
TASKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
TICKS = 1501

Weights = NDArray[np.float32]


def tone_speech(words: Sequence[str | None], rate: int = RATE) -> Weights:
    """Return what the stand-in hears as these words, a second each, None being silence: float32 from -1 to 1."""
    seconds = np.arange(rate) / rate
    pitch = dict(zip(WORDS, FREQUENCIES, strict=True))
    spoken = [
        np.zeros(rate) if word is None else LOUDNESS * np.sin(2 * np.pi * pitch[word] * seconds) for word in words
    ]
    return np.concatenate(spoken).astype(np.float32)


def wav(samples: Weights, rate: int = RATE) -> bytes:
    """Return a mono WAV file of 16 bits with these samples, -1 to 1."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def build(directory: Path, *, stop_after: int | None = None) -> None:
    """Write model, vocabulary, tokenizer and the extractor's settings into a directory.

    With `stop_after` the model writes a pair of timestamps behind so many words of a window and ends there, as Whisper
    does on recordings of 13 to 29 s: what follows is written only if the rest of the window is decoded again.
    """
    tokenizer = _tokenizer()
    spec = whisper_spec.WhisperSpec(1, 1, 1, 1)
    _set_encoder(spec.encoder)
    _set_decoder(spec.decoder, tokenizer)
    if stop_after is not None:
        _stop_early(spec.decoder, tokenizer, stop_after)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = [tokenizer.token_to_id(f"<|{code}|>") for code in _languages()]
    spec.config.alignment_heads = [[0, 0]]
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    spec.register_vocabulary([word for word, _ in words])
    spec.validate()
    spec.save(str(directory))
    tokenizer.save(str(directory / "tokenizer.json"))
    told = {"feature_size": MELS, "sampling_rate": RATE, "hop_length": 160, "chunk_length": SECONDS, "n_fft": 400}
    (directory / "preprocessor_config.json").write_text(json.dumps(told), "utf-8")


def _languages() -> list[str]:
    # Cantonese came with the third version, whose vocabulary this is not
    return [code for code in _LANGUAGE_CODES if code != "yue"]


def _tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    blank = "\u0120"
    # the empty token makes CTranslate2 take the model for a multilingual one
    words = [*letters, *(blank + word for word in WORDS), ""]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    control = [*SPECIAL, *(f"<|{code}|>" for code in _languages()), *TASKS]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(f"<|{tick * 0.02:.2f}|>", normalized=False) for tick in range(TICKS)])
    return tokenizer


def _zeros(*shape: int) -> Weights:
    return np.zeros(shape, np.float32)


def _plain_norm(norm: Any) -> None:
    norm.gamma, norm.beta = np.ones(WIDTH, np.float32), _zeros(WIDTH)


def _linear(layer: Any, weight: Weights) -> None:
    layer.weight, layer.bias = weight, _zeros(weight.shape[0])


def _let_through(layer: Any) -> None:
    """Make self-attention and the feed-forward part add nothing."""
    _plain_norm(layer.self_attention.layer_norm)
    _linear(layer.self_attention.linear[0], _zeros(3 * WIDTH, WIDTH))
    _linear(layer.self_attention.linear[1], _zeros(WIDTH, WIDTH))
    _plain_norm(layer.ffn.layer_norm)
    _linear(layer.ffn.linear_0, _zeros(2 * WIDTH, WIDTH))
    _linear(layer.ffn.linear_1, _zeros(WIDTH, 2 * WIDTH))


def _set_encoder(encoder: Any) -> None:
    finds, passes = _zeros(WIDTH, MELS, 3), _zeros(WIDTH, WIDTH, 3)
    threshold = _zeros(WIDTH)
    for number, band in enumerate(BANDS):
        row = FIRST_BAND + number
        finds[row, band, 1] = 1.0
        finds[row, band - APART, 1] = finds[row, band + APART, 1] = -0.5
        threshold[row] = -THRESHOLD
        passes[row, row, 0] = 2.0
    encoder.conv1.weight, encoder.conv1.bias = finds, threshold
    encoder.conv2.weight, encoder.conv2.bias = passes, _zeros(WIDTH)
    clock = _zeros(FRAMES, WIDTH)
    frames = np.arange(FRAMES)
    clock[frames, frames * SECONDS // FRAMES] = SHARPNESS
    encoder.position_encodings.encodings = clock
    _plain_norm(encoder.layer_norm)
    _let_through(encoder.layer[0])


def _set_decoder(decoder: Any, tokenizer: Tokenizer) -> None:
    size = tokenizer.get_vocab_size()
    decoder.embeddings.weight = _zeros(size, WIDTH)
    clock = _zeros(POSITIONS, WIDTH)
    seconds = np.arange(SECONDS)
    clock[PROMPT + seconds, seconds] = 1.0
    clock[PROMPT + SECONDS :, SECONDS] = 40.0
    decoder.position_encodings.encodings = clock
    _let_through(decoder.layer[0])
    _set_attention(decoder.layer[0].attention)
    _plain_norm(decoder.layer_norm)
    logits, always = _zeros(size, WIDTH), _zeros(size)
    for number, word in enumerate(WORDS):
        logits[tokenizer.token_to_id("\u0120" + word), FIRST_BAND + number] = WORD_LOGIT
    end = tokenizer.token_to_id("<|endoftext|>")
    logits[end, :SECONDS], logits[end, SECONDS] = END_LOGIT, LATE_END_LOGIT
    # beam search stops at five ends, so the end must not even be the second best where there is a tone
    logits[end, FIRST_BAND : FIRST_BAND + len(BANDS)] = -WORD_LOGIT
    always[tokenizer.token_to_id("<|en|>")] = ENGLISH_LOGIT
    # where a timestamp has to come first, it is that of the window's beginning
    always[tokenizer.token_to_id("<|0.02|>") :] = NEVER_LOGIT
    decoder.projection.weight, decoder.projection.bias = logits, always


def _stop_early(decoder: Any, tokenizer: Tokenizer, words: int) -> None:
    """Let the two positions behind so many words ask for the timestamp of their end, and those behind for the end."""
    clock, position = decoder.position_encodings.encodings, PROMPT + words
    clock[position:] = 0.0
    clock[position : position + 2, STOP] = 40.0
    clock[position + 2 :, SECONDS] = 40.0
    timestamp = tokenizer.token_to_id(f"<|{words:.2f}|>")
    decoder.projection.weight[timestamp, STOP] = LATE_END_LOGIT
    decoder.projection.bias[timestamp] = 0.0


def _set_attention(attention: Any) -> None:
    """Let each position ask for its second, and bring the bands found there, louder."""
    _plain_norm(attention.layer_norm)
    asks, answers, brings = _zeros(WIDTH, WIDTH), _zeros(2 * WIDTH, WIDTH), _zeros(WIDTH, WIDTH)
    for second in range(SECONDS):
        asks[second, second] = ATTENTION
        answers[second, second] = 1.0
    for row in range(FIRST_BAND, FIRST_BAND + len(BANDS)):
        answers[WIDTH + row, row] = 1.0
        brings[row, row] = LOUDER
    _linear(attention.linear[0], asks)
    _linear(attention.linear[1], answers)
    # normalisation has made a little less than nothing of the bands that are silent
    attention.linear[1].bias[WIDTH + FIRST_BAND : WIDTH + FIRST_BAND + len(BANDS)] = SILENT_BAND
    _linear(attention.linear[2], brings)
