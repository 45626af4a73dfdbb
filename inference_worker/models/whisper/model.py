"""The family as the worker knows it: weights, preparation, passes and transcripts."""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from inference_worker.media import audio
from inference_worker.media.recording import RATE, Recording
from inference_worker.memory import available_bytes, resident_bytes
from inference_worker.models.base import FollowUp, Model, Outcome, Runtime, Unit, failed_inputs
from inference_worker.models.torch_device import free_bytes, resolve
from inference_worker.models.whisper import rests, segments, speech, transcripts, windows, words
from inference_worker.models.whisper.asked import Asked, Heard, Piece
from inference_worker.models.whisper.decoding import Decoded, Decoder
from inference_worker.models.whisper.files import check, locate_weights
from inference_worker.models.whisper.windows import Window
from rpc.errors import RpcError

BUDGET_WINDOWS = {"cpu": 4, "cuda": 16}
"""Windows of one pass. On a CPU the encoder takes as long for each window alone, and a clip behind a long recording
waits for whole passes of it."""

COMPUTE = {"cpu": "int8", "cuda": "float16"}

WIDENED = {"float32": 2}
"""How much larger weights become that are stored as float16, by what is computed in."""

KEPT = {"window", "segments", "language", "probability"}
"""What is kept of a window."""


class Whisper(Model):
    """op `transcribe`: recordings -> transcripts with openai-whisper's fields. The unit is a window of up to 30 s."""

    name = "whisper"
    ops = ("transcribe",)
    partial = True
    overhead = 1
    held = 16
    resumable = True

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._device = resolve(runtime.device)
        self._compute = _compute(runtime.whisper_compute, self._device.type)
        self.budget = BUDGET_WINDOWS[self._device.type]
        self._bytes = 0

    def where(self) -> str:
        """Return the device."""
        return str(self._device)

    def free(self) -> int | None:
        """Return what is free there."""
        return available_bytes() if self._device.type == "cpu" else free_bytes(self._device)

    def _directory(self) -> Path:
        return locate_weights(self.runtime.source, self.runtime.models_dir)

    def needs(self) -> int:
        """Return the most the weights will take: CTranslate2 stores them as float16 or smaller."""
        return (self._directory() / "model.bin").stat().st_size * WIDENED.get(self._compute, 1)

    def load(self) -> None:
        """Read the weights; raise by name on every file that is missing or does not fit the others."""
        directory = self._directory()
        check(directory)
        before = self._taken()
        model = WhisperModel(
            str(directory),
            device=self._device.type,
            device_index=self._device.index or 0,
            compute_type=self._compute,
            cpu_threads=self.runtime.threads,
        )
        self._bytes = _allocated(self._taken() - before, (directory / "model.bin").stat().st_size)
        mels = model.feature_extractor.mel_filters.shape[0]
        if model.model.n_mels != mels:
            raise ValueError(
                f"{directory}: the model hears {model.model.n_mels} mel bands, preprocessor_config.json makes {mels}"
            )
        self._decoder = Decoder(model, min(4, os.cpu_count() or 1))
        self._languages = _languages(model)

    def _taken(self) -> int:
        """Return what is taken of the device's memory, by this process where that can be told."""
        return resident_bytes() if self._device.type == "cpu" else -free_bytes(self._device)

    def warm_up(self) -> None:
        """Decode a second of silence once, and look for speech in it."""
        silence = Recording(np.zeros(RATE, np.int16))
        speech.stretches(silence.samples)
        piece = Piece(Heard(Asked(), silence.duration_s, truncated=False), Window(0, RATE), silence)
        encoded = self._decoder.encode([piece])
        self._decoder.detect([piece], encoded)
        self._decoder.search([piece], encoded)

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the windows of a recording, each of cost 1; only those asked for alike share a pass."""
        del op
        asked = Asked.of(options, self._languages)
        longest_s = self.runtime.max_audio_s
        if asked.channels == "mix":
            return self._units(audio.decode(given, longest_s=longest_s, track=asked.track), asked)
        channels = audio.decode_channels(given, longest_s=longest_s, track=asked.track)
        return [
            unit for number, each in enumerate(channels, start=1) for unit in self._units(each, asked, channel=number)
        ]

    def _units(self, recording: Recording, asked: Asked, *, channel: int | None = None) -> list[Unit]:
        context = self._decoder.context(asked.prompt, asked.hotwords)
        heard = Heard(
            asked, recording.duration_s, recording.truncated, asked.language, context=context, channel=channel
        )
        places = _places(recording, vad=asked.vad)
        if asked.language is None:
            heard.language_window = speech.first(recording.samples, places) or windows.cut(recording.samples)[0]
        recording.rest()
        # a recording without speech has one empty window: its language and its length are told all the same
        pieces = [Piece(heard, place, recording) for place in places or [Window(0, 0)]]
        return [Unit(piece, group=_group(piece)) for piece in pieces]

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return for each window what is known of its recording, and its segments; a `FollowUp` for one with a rest."""
        empty = [unit.data for unit in units if not unit.data.duration_s]
        self._decoder.detect(empty)
        spoken = [unit for unit in units if unit.data.duration_s]
        outputs = iter(self._decode(spoken) if spoken else ())
        return [next(outputs) if unit.data.duration_s else (unit.data.heard, []) for unit in units]

    def _decode(self, units: Sequence[Unit]) -> Sequence[Any]:
        pieces: list[Piece] = [unit.data for unit in units]
        encoded = self._decoder.encode(pieces)
        self._decoder.detect(pieces, encoded)
        self.going_on()
        decoded = self._decoder.decode(pieces, encoded, self.going_on)
        self.going_on()
        parts = [self._complete(piece, each) for piece, each in zip(pieces, decoded, strict=True)]
        found = [self._stretches(piece, tokens) for piece, (tokens, _) in zip(pieces, parts, strict=True)]
        words.add_times(self._decoder, pieces, found, encoded)
        return [
            self._output(unit, rest, segments.segments(unit.data, each, there, self._tokenizer(unit.data)))
            for unit, each, there, (_, rest) in zip(units, decoded, found, parts, strict=True)
        ]

    def _complete(self, piece: Piece, decoded: Decoded) -> rests.Part:
        """Return the tokens that are complete, and the part of the window that needs another pass, if there is one."""
        begin = self._tokenizer(piece).timestamp_begin
        tokens, rest = rests.complete_part(
            piece, decoded, timestamp_begin=begin, limit=self._decoder.token_limit(piece)
        )
        if rest and not speech.may_be_in(piece.recording.part(*rest)):
            rest = None
        return tokens, rest

    def _output(self, unit: Unit, rest: Window | None, found: list[dict[str, Any]]) -> Any:
        """Return what is known of the recording and the window's segments, or the rest of the window as a follow-up."""
        piece: Piece = unit.data
        complete = [*piece.segments, *found]
        if rest is None:
            return piece.heard, complete
        follow_up = piece.part(rest, complete)
        return FollowUp(replace(unit, data=follow_up, group=_group(follow_up)))

    def _tokenizer(self, piece: Piece) -> Any:
        return self._decoder.tokenizer(piece.heard.language or "en", piece.heard.asked.task)

    def _stretches(self, piece: Piece, tokens: Sequence[int]) -> list[segments.Stretch]:
        begin = self._tokenizer(piece).timestamp_begin
        return segments.stretches(tokens, begin, piece.duration_s, piece.previous_end_s)

    def keep(self, unit: Unit, output: Any) -> Any:
        """Return the segments of a window, where it lies, and what is known of its recording by now."""
        piece: Piece = unit.data
        heard, found = output
        language = {"language": heard.language, "probability": heard.language_probability}
        return {"window": list(piece.whole), "segments": found, **language}

    def resume(self, unit: Unit, kept: Any) -> Any | None:
        """Return the segments another worker heard in the same window, and believe it about the language."""
        piece: Piece = unit.data
        if not isinstance(kept, dict) or not kept.keys() >= KEPT or kept["window"] != list(piece.window):
            return None
        piece.heard.language = kept["language"]
        piece.heard.language_probability = kept["probability"]
        return piece.heard, kept["segments"]

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return `{"transcripts": [a transcript or None], "failed"}`."""
        del op
        told = [None if isinstance(outcome, RpcError) else transcripts.transcript(outcome) for outcome in outcomes]
        return {"transcripts": told, "failed": failed_inputs(outcomes)}

    def about(self) -> Mapping[str, str]:
        """Return device, memory of the weights, number of languages, and what is computed in."""
        told = {"device": str(self._device), "bytes": str(self._bytes), "compute": self._compute}
        return {**told, "languages": str(len(self._languages))}


def _places(recording: Recording, *, vad: bool) -> list[Window]:
    """Return the windows to decode: those the detector chooses, or all in which speech may be."""
    if vad:
        return windows.pack(speech.stretches(recording.samples))
    cut = windows.cut(recording.samples)
    return [window for window in cut if speech.may_be_in(recording.samples[window.start : window.stop])]


def _group(piece: Piece) -> Hashable:
    """Return what must be equal in a pass: CTranslate2 takes it once a call."""
    asked = piece.heard.asked
    return asked.timestamps, asked.beam_size, len(piece.heard.context), piece.frames


def _languages(model: WhisperModel) -> frozenset[str]:
    """Return the codes of the languages this model has a token for; the library tells those of every Whisper."""
    known = (code for code in model.supported_languages if model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None)
    return frozenset(known if model.model.is_multilingual else ["en"])


def _allocated(measured: int, stored: int) -> int:
    """Return the memory of the weights: as measured, unless they are so small that the heap had room for them."""
    return measured if measured >= stored // 4 else stored


def _compute(wanted: str, device: str) -> str:
    """Return the compute type; raise `ValueError` on one that the device does not have."""
    chosen = COMPUTE[device] if wanted == "auto" else wanted
    known = ctranslate2.get_supported_compute_types(device)
    if chosen not in known:
        raise ValueError(f"PENSTOCK_WHISPER_COMPUTE={chosen}: on {device} there are {', '.join(sorted(known))}")
    return chosen
