"""The form of a transcription or translation: which fields there are, and what each of them does. Pure.

OpenAI's fields, and those that other services of the same route take besides. A field that changes nothing is named
by `TranscriptionRequest.ignored`; one that cannot be obeyed is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from fastapi import UploadFile
from pydantic import BaseModel, Field

from producers.gateway.problems import Problem, Refused
from producers.subtitles import Widths
from rpc.errors import InvalidInput

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Task = Literal["transcribe", "translate"]

GRANULARITIES = ("word", "segment")
STRATEGIES = ("auto", "server_vad")
SUBTITLES = frozenset({"srt", "vtt"})

STRATEGY = "chunking_strategy"

PASSED_ON = ("beam_size", "timestamps", "channels", "track")
"""Fields that are options of the model under the same names."""

LISTS = frozenset({"timestamp_granularities", "languages", "keywords"})
"""Fields that may be there several times, with and without `[]` behind their names."""

List = list[str] | None


class Fields(BaseModel):
    """The fields of the form."""

    file: UploadFile
    model: str
    language: str | None = None
    languages: List = None
    languages_: Annotated[List, Field(alias="languages[]")] = None
    task: str | None = None
    prompt: str | None = None
    initial_prompt: str | None = None
    hotwords: str | None = None
    keywords: List = None
    keywords_: Annotated[List, Field(alias="keywords[]")] = None
    response_format: str = "json"
    temperature: float | None = None
    stream: bool = False
    timestamp_granularities: List = None
    timestamp_granularities_: Annotated[List, Field(alias="timestamp_granularities[]")] = None
    word_timestamps: bool | None = None
    timestamps: bool | None = None
    chunking_strategy: str | None = None
    vad: bool | None = None
    vad_filter: bool | None = None
    beam_size: int | None = None
    channels: str | None = None
    track: int | None = None
    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None

    def listed(self, name: str) -> list[str]:
        """Return the values of a list, however it was written: repeated, with commas, or as JSON."""
        values: list[str] = []
        for value in (*(getattr(self, name) or ()), *(getattr(self, f"{name}_") or ())):
            values += _items(value)
        return [value.strip() for value in values if value.strip()]


FIELDS = frozenset(field.alias or name for name, field in Fields.model_fields.items())


def _items(value: str) -> Sequence[str]:
    if not value.lstrip().startswith("["):
        return value.split(",")
    try:
        items = json.loads(value)
    except ValueError:
        return [value]
    return [str(each) for each in items] if isinstance(items, list) else [value]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the answer is written.

    Attributes:
        form: the response format.
        words: whether the times of words are in it.
        segments: whether segments are in it.
        task: what was done with the recording.
        widths: how much a cue of subtitles may hold.
    """

    form: Format
    words: bool
    segments: bool
    task: Task
    widths: Widths


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """A form that was read.

    Attributes:
        options: of the op `transcribe`.
        shape: how the answer is written.
        ignored: the names of fields that change nothing.
    """

    options: Mapping[str, Any]
    shape: Shape
    ignored: Sequence[str] = field(default_factory=list)


def read(fields: Fields, strategy: Mapping[str, str], *, task: Task) -> TranscriptionRequest:
    """Return what a form asks for; raise `Refused` naming the field that cannot be obeyed.

    Args:
        fields: the form.
        strategy: the parts of `chunking_strategy[...]`, as OpenAI's clients write an object into a form.
        task: of the route.
    """
    ignored: list[str] = []
    shape = _shape(fields, _task(fields.task, task), ignored)
    language = _language(fields, ignored)
    vad = _vad(fields, strategy, ignored)
    if fields.temperature:
        ignored.append("temperature")
    prompt = _same(fields, "prompt", "initial_prompt")
    hotwords = ", ".join([*([fields.hotwords] if fields.hotwords else []), *fields.listed("keywords")])
    options = {
        "word_timestamps": shape.words or shape.widths.are_limited,
        **({"task": shape.task} if shape.task != "transcribe" else {}),
        **{name: getattr(fields, name) for name in PASSED_ON},
        "language": language,
        "vad": vad,
        "prompt": prompt,
        "hotwords": hotwords or None,
    }
    return TranscriptionRequest({name: value for name, value in options.items() if value is not None}, shape, ignored)


def _task(name: str | None, route: Task) -> Task:
    for known in get_args(Task):
        if (name or route) == known:
            if route == "translate" != known:
                raise _refused("task", "task must be translate on this route, got 'transcribe'")
            task: Task = known
            return task
    raise _refused("task", f"task must be one of {', '.join(get_args(Task))}, got {name!r:.40}")


def _format(name: str) -> Format:
    for known in get_args(Format):
        if name == known:
            form: Format = known
            return form
    raise _refused("response_format", f"response_format {name[:40]!r} is none of {', '.join(get_args(Format))}")


def _shape(fields: Fields, task: Task, ignored: list[str]) -> Shape:
    form = _format(fields.response_format)
    granularities = fields.listed("timestamp_granularities")
    for each in granularities:
        if each not in GRANULARITIES:
            text = f"timestamp_granularities {each[:40]!r} is none of {', '.join(GRANULARITIES)}"
            raise _refused("timestamp_granularities", text)
    if granularities and form != "verbose_json":
        raise _refused("timestamp_granularities", "timestamp_granularities need response_format verbose_json")
    if fields.word_timestamps and form != "verbose_json":
        ignored.append("word_timestamps")
    words = "word" in granularities or (bool(fields.word_timestamps) and form == "verbose_json")
    _check_stream(fields, form, ignored)
    segments = "segment" in granularities or not granularities
    widths = _widths(fields, form)
    if form in SUBTITLES and fields.timestamps is False and not widths.are_limited:
        text = f"timestamps must be true with response_format {form}, got false: each cue would last a window of 30 s"
        raise _refused("timestamps", text)
    return Shape(form, words, segments, task, widths)


def _check_stream(fields: Fields, form: Format, ignored: list[str]) -> None:
    if not fields.stream:
        return
    if form in SUBTITLES:
        text = f"stream needs response_format json, text or verbose_json, got {form}: subtitles come as a whole"
        raise _refused("stream", text)
    if fields.channels == "split":
        raise _refused("stream", "stream needs channels mix: split channels are put in order when all are done")
    if form == "text":
        # the events of a stream are JSON
        ignored.append("response_format")


def _widths(fields: Fields, form: Format) -> Widths:
    try:
        widths = Widths(fields.max_line_width, fields.max_line_count, fields.max_words_per_line)
    except InvalidInput as error:
        raise _refused(str(error).partition(" ")[0], str(error)) from None
    if widths.are_limited and form not in SUBTITLES:
        name = next(name for name in ("max_line_width", "max_words_per_line") if getattr(fields, name) is not None)
        raise _refused(name, f"{name} needs response_format srt or vtt, got {form}")
    return widths


def _language(fields: Fields, ignored: list[str]) -> str | None:
    """Return the one language that was given; several cannot narrow the detection down."""
    languages = fields.listed("languages")
    if fields.language is None and len(languages) == 1:
        return languages[0]
    if languages and languages != [fields.language]:
        ignored.append("languages[]" if fields.languages_ else "languages")
    return fields.language


def _vad(fields: Fields, strategy: Mapping[str, str], ignored: list[str]) -> bool | None:
    """Return whether only speech is heard; None leaves it to the worker."""
    vad: bool | None = _same(fields, "vad", "vad_filter")
    chosen = _strategy(fields.chunking_strategy, strategy)
    kind = chosen.pop("type", None)
    if kind is None and not chosen:
        return vad
    if kind not in STRATEGIES:
        raise _refused(STRATEGY, f"{STRATEGY} must be auto or of type server_vad, got {str(kind)[:40]!r}")
    if vad is False:
        raise _refused(STRATEGY, f"{STRATEGY} looks for speech, which vad and vad_filter turn off")
    ignored += [f"{STRATEGY}.{name}" for name in chosen]
    return True


def _strategy(text: str | None, parts: Mapping[str, str]) -> dict[str, Any]:
    if text is None or not text.lstrip().startswith("{"):
        return {**({"type": text} if text else {}), **parts}
    try:
        members = json.loads(text)
    except ValueError:
        raise _refused(STRATEGY, f"{STRATEGY} must be auto or a JSON object, got {text[:40]!r}") from None
    return {**members, **parts}


def _same(fields: Fields, name: str, alias: str) -> Any:
    """Return a field that has two names; raise `Refused` if they contradict each other."""
    value, other = getattr(fields, name), getattr(fields, alias)
    if value is not None and other is not None and value != other:
        raise _refused(alias, f"{name} and {alias} are the same and have different values")
    return other if value is None else value


def _refused(param: str, text: str) -> Refused:
    return Refused(Problem(422, "invalid_input", text, param=param))
