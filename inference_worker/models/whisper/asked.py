"""What a caller asks of a transcription, and what is known of the recording while its windows are decoded."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference_worker.media.recording import RATE, Recording
from inference_worker.models.base import InvalidInput
from inference_worker.models.whisper.windows import Window
from rpc.languages import code_of

TASKS = ("transcribe", "translate")

MOST_BEAMS = 10

WINDOW_FRAMES, RESTS_FRAMES = 3000, 1000
"""Frames the encoder reads of a window, and of a short rest of one; 100 are a second."""

LONGEST_REST_S = 9.0
"""A longer rest is padded to 30 s: shorter padding costs words (1.4 % against 0.5 % with 1 s of it or less)."""


CHANNELS = ("mix", "split")

ALIASES = {"initial_prompt": "prompt"}
"""faster-whisper's names of options."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a job; see docs/models.md."""

    language: str | None = None
    task: str = "transcribe"
    word_timestamps: bool = False
    vad: bool = False
    beam_size: int = 5
    timestamps: bool = True
    prompt: str | None = None
    hotwords: str | None = None
    channels: str = "mix"
    track: int = 1

    @classmethod
    def of(cls, options: Mapping[str, Any], languages: frozenset[str]) -> "Asked":
        """Return checked options, None being the default; raise `InvalidInput` naming what is wrong with them."""
        fields = _unaliased({name: value for name, value in options.items() if value is not None})
        unknown = sorted(str(name) for name in fields if name not in cls.__dataclass_fields__)
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise InvalidInput(f"the name of an option must be one of {known}, got {unknown[0]!r:.100}")
        for name, value in fields.items():
            rule = RULES.get(name)
            if rule and not rule.accepts(value):
                raise InvalidInput(f"option {name} must be {rule.expected}, got {value!r:.100}")
        return cls(**{**fields, "language": _code(fields.get("language"), languages)})


def _unaliased(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options under their own names; raise `InvalidInput` if one is there under both."""
    for alias, name in ALIASES.items():
        if alias in options and name in options:
            raise InvalidInput(f"options {name} and {alias} are the same: give one of them")
    return {ALIASES.get(name, name): value for name, value in options.items()}


def _code(language: Any, languages: Collection[str]) -> str | None:
    """Return the code of a language, None to detect it; raise `InvalidInput` if the model has none such."""
    if language is None:
        return None
    code = code_of(language) if isinstance(language, str) else ""
    if code is not None and code not in languages:
        raise InvalidInput(
            f"option language must be auto, a code such as de, a tag such as pt-BR or an English name, got"
            f" {language!r:.100}; the model knows {', '.join(sorted(languages))}"
        )
    return code


@dataclass(frozen=True, slots=True)
class Rule:
    """The values that an option takes, as a test and in words."""

    accepts: Callable[[Any], bool]
    expected: str


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    # a caller's JSON can spell half a character, which no tokenizer reads
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _names(*names: str) -> Rule:
    # a value that is not a string may have no hash, or no answer to whether it is equal
    return Rule(lambda value: isinstance(value, str) and value in names, " or ".join(names))


_FLAG = Rule(_is_flag, "true or false")
_TEXT = Rule(_is_text, "a text without lone surrogates")

RULES: Mapping[str, Rule] = {
    "task": _names(*TASKS),
    "word_timestamps": _FLAG,
    "vad": _FLAG,
    "timestamps": _FLAG,
    "beam_size": Rule(
        lambda value: type(value) is int and 1 <= value <= MOST_BEAMS, f"a whole number from 1 to {MOST_BEAMS}"
    ),
    "prompt": _TEXT,
    "hotwords": _TEXT,
    "channels": _names(*CHANNELS),
    "track": Rule(lambda value: type(value) is int and value >= 1, "a whole number from 1 on"),
}
"""Option -> its values; `language` depends on the model."""


@dataclass(slots=True)
class Heard:
    """A recording whose windows are being decoded.

    Attributes:
        asked: what is asked of it.
        duration_s: how long it is.
        truncated: whether it ends earlier than its file says.
        language: what is spoken in it; None until it is given or detected.
        language_probability: of the language detected; 1 if it was given.
        context: tokens that every window is conditioned on.
        channel: which channel this is, counted from 1; None for all of them mixed.
        language_window: where the language is detected; None for the first window that is decoded.
    """

    asked: Asked
    duration_s: float
    truncated: bool
    language: str | None = None
    language_probability: float = 1.0
    context: tuple[int, ...] = ()
    channel: int | None = None
    language_window: Window | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A window of a recording on its way through the model.

    Attributes:
        heard: the recording it belongs to.
        window: the part that the next pass decodes.
        recording: the samples.
        unit_window: the whole window of the unit, if `window` is a part of it.
        segments: of the unit's window in front of `window`, complete.
    """

    heard: Heard
    window: Window
    recording: Recording
    unit_window: Window | None = None
    segments: Sequence[Mapping[str, Any]] = ()

    @property
    def whole(self) -> Window:
        """The whole window of the unit, as the recording was cut."""
        return self.unit_window or self.window

    def part(self, window: Window, segments: Sequence[Mapping[str, Any]]) -> "Piece":
        """Return another part of the same window; `segments` are those in front of it."""
        return replace(self, window=window, unit_window=self.whole, segments=segments)

    @property
    def previous_end_s(self) -> float:
        """The end of the segment in front, in seconds of this part; 0 without one."""
        return max(0.0, self.segments[-1]["end"] - self.start_s) if self.segments else 0.0

    @property
    def frames(self) -> int:
        """How many frames of the spectrogram the encoder reads, padding included.

        The first part of a window is padded to 30 s, as openai-whisper does. A rest of up to 9 s is padded to 10 s,
        for which a CPU's encoder takes an eighth of the time; see docs/decisions/0022.
        """
        return RESTS_FRAMES if self.unit_window and self.duration_s <= LONGEST_REST_S else WINDOW_FRAMES

    @property
    def samples(self) -> NDArray[np.int16]:
        """What is heard in it; fetched when it is asked for, if the recording is long."""
        return self.recording.part(*self.window)

    @property
    def start_s(self) -> float:
        """Where it begins in the recording, in seconds."""
        return self.window.start / RATE

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return (self.window.stop - self.window.start) / RATE
