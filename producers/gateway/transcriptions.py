"""`/v1/audio/transcriptions` and `/v1/audio/translations` as OpenAI's clients speak them."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, File, Request, Response
from pydantic_core import to_json

from producers import subtitles
from producers.gateway import transcription_form, uploads
from producers.gateway.desk import Answered, desk_of
from producers.gateway.ignored_fields import note_ignored, note_unknown_form_fields
from producers.gateway.transcription_form import FIELDS, LISTS, STRATEGY, Fields, Shape, Task
from producers.gateway.transcription_stream import streamed, usage
from rpc import Transcript, plans
from rpc.languages import name_of
from rpc.plans import TRANSCRIBE_TIMEOUT_S

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/audio/transcriptions")
async def transcribe(request: Request, fields: Annotated[Fields, File()]) -> Response:
    """Return what is said in a recording; with `stream`, segments come as their windows are done."""
    return await _answer(request, fields, "transcribe")


@router.post("/v1/audio/translations")
async def translate(request: Request, fields: Annotated[Fields, File()]) -> Response:
    """Return what is said in a recording, in English; `language` is the one spoken."""
    return await _answer(request, fields, "translate")


async def _answer(request: Request, fields: Fields, task: Task) -> Response:
    desk = desk_of(request)
    strategy = await _strategy(request)
    parsed = transcription_form.read(fields, strategy, task=task)
    note_ignored(request, parsed.ignored)
    used = {f"{STRATEGY}[{name}]" for name in strategy}
    await note_unknown_form_fields(request, FIELDS | used, lists=LISTS)
    name = await desk.served(fields.model, "transcribe")
    audio = await uploads.of_form(fields.file, most_bytes=desk.redis.max_input_bytes)
    content = [f"{parsed.options} {parsed.shape}".encode(), audio]
    asked = desk.client(len(audio)).asked(name, "transcribe", parsed.options)
    plan = plans.transcribe(asked, audio, desk.options(request, default_s=TRANSCRIBE_TIMEOUT_S))
    answer = partial(desk.answer, request, plan, content=content)
    if fields.stream:
        return await streamed(desk, plan, answer, verbose=parsed.shape.form == "verbose_json")
    return written(await answer(), parsed.shape)


async def _strategy(request: Request) -> dict[str, str]:
    """Return the parts of an object that a client wrote into the form, `chunking_strategy[type]=server_vad`."""
    items = (await request.form()).multi_items()
    head = f"{STRATEGY}["
    return {
        name.removeprefix(head).removesuffix("]"): value
        for name, value in items
        if name.startswith(head) and isinstance(value, str) and value
    }


def written(answered: Answered[Transcript], shape: Shape) -> Response:
    """Return a transcript in the form that was asked for."""
    transcript = answered.value
    headers = dict(answered.headers)
    if shape.form in subtitles.FORMS:
        text = subtitles.FORMS[shape.form](transcript, shape.widths)
        return Response(text, 200, headers, "text/plain; charset=utf-8")
    body = _verbose(transcript, shape) if shape.form == "verbose_json" else _brief(transcript)
    return Response(to_json({**body, "usage": usage(transcript)}), 200, headers, "application/json")


def _brief(transcript: Transcript) -> dict[str, Any]:
    body: dict[str, Any] = {"text": transcript.text.strip()}
    if transcript.channels is not None:
        body["channels"] = [
            {"channel": each.number, "name": each.name, "text": each.transcript.text.strip()}
            for each in transcript.channels
        ]
    return body


def _verbose(transcript: Transcript, shape: Shape) -> dict[str, Any]:
    fields = transcript.as_dict()
    body = {"task": shape.task, **_timed(fields, shape)}
    if transcript.channels is not None:
        body["channels"] = [
            {"channel": each["channel"], "name": each["name"], **_timed(each, shape)} for each in fields["channels"]
        ]
    return body


def _timed(fields: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Return language, duration, text, and the segments and words that were asked for, as OpenAI names them."""
    body = {"language": name_of(fields["language"]), "duration": fields["duration"], "text": fields["text"].strip()}
    words = [word for segment in fields["segments"] for word in segment.get("words", ())]
    if shape.segments:
        body["segments"] = [
            {name: value for name, value in segment.items() if name != "words"} for segment in fields["segments"]
        ]
    if shape.words:
        body["words"] = [{"word": each["word"].strip(), "start": each["start"], "end": each["end"]} for each in words]
    return body
