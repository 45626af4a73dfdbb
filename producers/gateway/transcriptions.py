"""`/v1/audio/transcriptions` as OpenAI's clients speak it; with `stream`, segments come as their windows are done."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from producers import subtitles
from producers.gateway import events, problems, uploads
from producers.gateway.desk import Answered, Desk, desk_of
from producers.gateway.ignored_fields import note_ignored, note_unknown_form_fields
from producers.gateway.problems import Problem, Refused
from rpc import Transcript, parts, plans
from rpc.errors import RpcError
from rpc.keys import Keys
from rpc.plans import TRANSCRIBE_TIMEOUT_S, Plan

router = APIRouter(tags=["OpenAI"])

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]

LOOK_S = 0.25
"""Seconds between two looks at what is done of a recording."""

WINDOWS_A_LOOK = 64

FORM_FIELDS = frozenset(
    {"file", "model", "language", "prompt", "response_format", "temperature", "stream", "timestamp_granularities[]"}
)

Answer = Callable[[], Coroutine[Any, Any, Answered[Transcript]]]
"""Waits for the whole transcript."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a transcript is wanted."""

    form: Format
    words: bool
    segments: bool


@router.post("/v1/audio/transcriptions")
async def transcribe(  # noqa: PLR0913 (the fields of a form are the arguments of its function)
    request: Request,
    file: UploadFile,
    model: Annotated[str, Form()],
    language: Annotated[str | None, Form()] = None,
    prompt: Annotated[str | None, Form()] = None,
    response_format: Annotated[str, Form()] = "json",
    temperature: Annotated[float | None, Form()] = None,
    *,
    stream: Annotated[bool, Form()] = False,
    timestamp_granularities: Annotated[list[str] | None, Form(alias="timestamp_granularities[]")] = None,
) -> Response:
    """Return what is said in a recording. `prompt` and `temperature` are taken and change nothing."""
    desk = desk_of(request)
    shape = _shape(response_format, [each for each in timestamp_granularities or [] if each])
    name = await desk.served(model, "transcribe")
    audio = await uploads.of_form(file, most_bytes=desk.redis.max_input_bytes)
    content = [f"{language} {shape}".encode(), audio]
    options: dict[str, Any] = {"word_timestamps": shape.words, **({"language": language} if language else {})}
    asked = desk.client(len(audio)).asked(name, "transcribe", options)
    plan = plans.transcribe(asked, audio, desk.options(request, default_s=TRANSCRIBE_TIMEOUT_S))
    note_ignored(request, [name for name, value in (("prompt", prompt), ("temperature", temperature)) if value])
    await note_unknown_form_fields(request, FORM_FIELDS)
    if stream:
        return await _streamed(desk, plan, partial(desk.answer, request, plan, content=content))
    answered = await desk.answer(request, plan, content=content)
    return written(answered, shape)


def _shape(form: str, granularities: Sequence[str]) -> Shape:
    for known in get_args(Format):
        if form == known:
            break
    else:
        text = f"response_format {form[:40]!r} is none of {', '.join(get_args(Format))}"
        raise Refused(Problem(422, "invalid_input", text, param="response_format"))
    for each in granularities:
        if each not in get_args(Granularity):
            text = f"timestamp_granularities {each[:40]!r} is none of {', '.join(get_args(Granularity))}"
            raise Refused(Problem(422, "invalid_input", text, param="timestamp_granularities"))
    if granularities and known != "verbose_json":
        text = "timestamp_granularities need response_format verbose_json"
        raise Refused(Problem(422, "invalid_input", text, param="timestamp_granularities"))
    return Shape(known, "word" in granularities, "segment" in granularities or not granularities)


def written(answered: Answered[Transcript], shape: Shape) -> Response:
    """Return a transcript in the form that was asked for."""
    transcript = answered.value
    told = dict(answered.headers)
    if shape.form in subtitles.FORMS:
        return Response(subtitles.FORMS[shape.form](transcript), 200, told, "text/plain; charset=utf-8")
    body = _verbose(transcript, shape) if shape.form == "verbose_json" else {"text": transcript.text.strip()}
    return Response(to_json({**body, "usage": _usage(transcript)}), 200, told, "application/json")


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _verbose(transcript: Transcript, shape: Shape) -> dict[str, Any]:
    told = transcript.as_dict()
    words = [word for segment in told["segments"] for word in segment.pop("words", ())]
    body = {"task": "transcribe", "language": told["language"], "duration": told["duration"]}
    body["text"] = transcript.text.strip()
    if shape.segments:
        body["segments"] = told["segments"]
    if shape.words:
        body["words"] = [{"word": each["word"].strip(), "start": each["start"], "end": each["end"]} for each in words]
    return body


async def _streamed(desk: Desk, plan: Plan[Transcript], answer: Answer) -> StreamingResponse:
    """Return the answer that tells segment by segment; what goes wrong before it begins has its own status."""
    telling = _events(desk, plan, answer)
    first = await anext(telling)

    async def body() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(telling):
            yield first
            async for each in telling:
                yield each

    return events.streamed(body())


async def _events(desk: Desk, plan: Plan[Transcript], answer: Answer) -> AsyncGenerator[bytes]:
    """Tell segments as they come, or signs of life while none does; raise what goes wrong before anything is told."""
    answering = asyncio.create_task(answer())
    windows, told, said_at = 0, 0, time.monotonic()
    said = False
    try:
        while not (await asyncio.wait([answering], timeout=LOOK_S))[0]:
            found = await _finished(desk, plan, windows)
            windows += len(found)
            for segment in (each for segments in found for each in segments):
                yield _delta(segment, told)
                told, said, said_at = told + 1, True, time.monotonic()
            if time.monotonic() - said_at >= events.SIGN_S and (said or await _is_under_way(desk, plan)):
                yield events.STILL_HERE
                said, said_at = True, time.monotonic()
        try:
            transcript = (await answering).value
        except (Refused, RpcError) as error:
            if not said:
                raise
            yield events.event(problems.body(problems.of(error)), name="error")
            return
        for segment in transcript.as_dict()["segments"][told:]:
            yield _delta(segment, told)
            told += 1
        done = {"type": "transcript.text.done", "text": transcript.text.strip(), "usage": _usage(transcript)}
        yield events.event(done)
    finally:
        answering.cancel()


async def _is_under_way(desk: Desk, plan: Plan[Transcript]) -> bool:
    """Return whether the job of a plan waits or runs: what could be wrong with the request has been looked at."""
    job = plan.jobs[0]
    try:
        progress = await desk.light.progress(job.model, job.id)
    except RpcError:
        return False
    return progress.state in {"waiting", "running"}


async def _finished(desk: Desk, plan: Plan[Transcript], start: int) -> list[list[dict[str, Any]]]:
    """Return the segments of the windows from one on that are done, up to the first that is not."""
    job = plan.jobs[0]
    try:
        kept = await desk.light.ask(
            parts.kept_from(Keys(desk.redis.prefix, job.model), job.id, 0, start=start, count=WINDOWS_A_LOOK)
        )
    except RpcError:
        # they come with the transcript
        return []
    return [each["segments"] for each in kept if isinstance(each, dict) and isinstance(each.get("segments"), list)]


def _delta(segment: Mapping[str, Any], number: int) -> bytes:
    text = segment["text"] if number else segment["text"].lstrip()
    told = {"id": number, **{name: segment[name] for name in ("start", "end", "text")}}
    return events.event({"type": "transcript.text.delta", "delta": text, "segment": told})
