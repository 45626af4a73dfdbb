"""The routes of the service this replaces, with its fields. What it answered with 500 is told apart here."""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response, UploadFile
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from producers.gateway import problems, truncation, uploads
from producers.gateway.desk import Desk, desk_of
from producers.gateway.ignored_fields import (
    given_fields,
    note_ignored,
    note_unknown_form_fields,
    unknown_fields,
)
from producers.gateway.problems import INVALID, Problem, Refused
from producers.gateway.truncation import truncated_indexes
from rpc import plans
from rpc.errors import InvalidInput, UnknownModel
from rpc.messages import Reply
from rpc.model_service import plain_faces
from rpc.plans import TRANSCRIBE_TIMEOUT_S, Plan

router = APIRouter(tags=["model service"])

MILLISECONDS = 1000

NOT_FOUND = 404

Threshold = Annotated[float | None, Form(ge=0, le=1)]


class TextRequest(BaseModel):
    """A text to be embedded."""

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    model: str = "siglip"


MOST_TEXT_BYTES = uploads.MIB
"""The largest body that a text of 10,000 characters may come in, however it is spelled."""

TEXT = uploads.json_body(
    {
        "text": {"type": "string", "minLength": 1, "maxLength": 10_000},
        "model": {"type": ["string", "null"], "default": "siglip"},
    },
    ["text"],
)
AUDIO = uploads.json_body(
    {"audio_base64": {"type": "string"}, "language": {"type": ["string", "null"]}}, ["audio_base64"]
)
PICTURE = uploads.json_body({"image_base64": {"type": "string"}}, ["image_base64"])


PATHS = frozenset({"/asr/transcribe", "/embed/text", "/embed/vision", "/face/detect"})
"""Routes whose callers know FastAPI's errors: what is wrong with a field is a list in `detail`."""


async def _served(desk: Desk, model: str, op: str) -> str:
    """Return the model, which serves the op now; raise `Refused`, with 400 as the old service if it is unknown."""
    try:
        return await desk.served(model, op)
    except (Refused, UnknownModel) as error:
        problem = problems.of(error)
        raise Refused(replace(problem, status=400, kind=INVALID) if problem.status == NOT_FOUND else problem) from None


async def _file(request: Request, field: str, known: Collection[str]) -> tuple[dict[str, Any], bytes]:
    """Return a JSON body without its file, and the file in base64 of a field."""
    most_bytes = desk_of(request).redis.max_input_bytes
    try:
        around, content = await uploads.of_json(request, field, most_bytes=most_bytes)
    except InvalidInput as error:
        if field not in str(error):
            raise
        raise _field_at_fault(field, str(error)) from None
    note_ignored(request, unknown_fields(around, known))
    return around, content


def _field_at_fault(field: str, message: str) -> Refused:
    faults = [problems.fault("value_error", ("body", field), message)]
    return Refused(Problem(422, "invalid_input", message, param=field, faults=faults))


def _told(started: float, told: dict[str, Any], headers: Any) -> Response:
    latency_ms = (time.monotonic() - started) * MILLISECONDS
    return Response(to_json({**told, "latency_ms": latency_ms}), headers=headers, media_type="application/json")


@router.post("/asr/transcribe", openapi_extra=AUDIO)
async def transcribe(request: Request) -> Response:
    """Return text, segments, language and latency_ms of a recording given in base64."""
    started, desk = time.monotonic(), desk_of(request)
    model = await _served(desk, "whisper", "transcribe")
    around, audio = await _file(request, "audio_base64", ["language"])
    language = around.get("language")
    if not isinstance(language, str | None):
        raise _field_at_fault("language", "language is no text")
    call = desk.options(request, default_s=TRANSCRIBE_TIMEOUT_S)
    chosen = {} if language is None else {"language": language}
    asked = desk.client(len(audio)).asked(model, "transcribe", chosen)
    content = [repr(language).encode(), audio]
    answered = await desk.answer(request, plans.transcribe(asked, audio, call), content=content)
    told = answered.value.as_dict()
    return _told(started, {name: told[name] for name in ("text", "segments", "language")}, answered.headers)


@router.post("/embed/text", openapi_extra=TEXT)
async def embed_text(request: Request) -> Response:
    """Return the vector of a text, of unit norm."""
    started, desk = time.monotonic(), desk_of(request)
    fields = await uploads.read_small(request, most_bytes=MOST_TEXT_BYTES)
    note_ignored(request, unknown_fields(fields, TextRequest.model_fields))
    try:
        given = TextRequest.model_validate(given_fields(fields))
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise Refused(problems.of_faults(errors, listed=True)) from None
    model = await _served(desk, given.model, "embed_text")
    asked = desk.light.asked(model, "embed_text")
    plan = plans.embed_text(asked, given.text, desk.options(request))

    def answer(replies: Sequence[Reply]) -> tuple[Any, list[int]]:
        return plan.answer(replies), truncated_indexes(plan.jobs, replies)

    answered = await desk.answer(request, Plan(plan.jobs, plan.call, answer), content=[given.text.encode()])
    vector, truncated = answered.value
    told = {"embedding": vector.tolist(), "dimension": len(vector), "model": given.model}
    headers = {**answered.headers, **truncation.headers(truncated)}
    return _told(started, {**told, "truncated": True} if truncated else told, headers)


@router.post("/embed/vision", openapi_extra=PICTURE)
async def embed_vision(request: Request) -> Response:
    """Return the vector of a picture given in base64, of unit norm."""
    started, desk = time.monotonic(), desk_of(request)
    model = await _served(desk, "siglip", "embed_image")
    _, picture = await _file(request, "image_base64", ())
    asked = desk.client(len(picture)).asked(model, "embed_image")
    plan = plans.embed_image(asked, picture, desk.options(request), sees="")
    answered = await desk.answer(request, plan, content=[picture])
    vector = answered.value
    return _told(started, {"embedding": vector.tolist(), "dimension": len(vector)}, answered.headers)


@router.post("/face/detect")
async def detect_faces(
    request: Request, file: UploadFile, score_threshold: Threshold = None, nms_threshold: Threshold = None
) -> Response:
    """Return the faces in a picture, the surest first, in its own upright pixels.

    `score_threshold` is the lowest confidence of a face, `nms_threshold` how far two faces may overlap.
    """
    started, desk = time.monotonic(), desk_of(request)
    model = await _served(desk, "yunet", "detect_faces")
    picture = await uploads.of_form(file, most_bytes=desk.redis.max_input_bytes)
    thresholds = given_fields({"score_threshold": score_threshold, "nms_threshold": nms_threshold})
    await note_unknown_form_fields(request, {"file", "score_threshold", "nms_threshold"})
    asked = desk.client(len(picture)).asked(model, "detect_faces", thresholds)
    plan = plans.detect_faces(asked, picture, desk.options(request), sees="")
    answered = await desk.answer(request, plan, content=[*([repr(thresholds).encode()] if thresholds else []), picture])
    faces = plain_faces(answered.value)
    return _told(started, {"faces": faces, "count": len(faces)}, answered.headers)
