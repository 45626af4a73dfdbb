"""`/v1/embeddings` as OpenAI's clients speak it; data URIs of pictures are pictures, and so are all with `modality`."""

import asyncio
import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from producers.gateway import scanner, truncation, uploads
from producers.gateway.desk import Answered, Desk, desk_of
from producers.gateway.file_texts import disguise
from producers.gateway.ignored_fields import note_ignored, unknown_fields
from producers.gateway.problems import Problem, Refused, param_of
from producers.gateway.prompts import prompt_options
from producers.gateway.truncation import truncated_indexes
from producers.gateway.uploads import Body
from rpc import plans, requests
from rpc.errors import InvalidInput
from rpc.messages import Job, Reference, Reply
from rpc.plans import Plan
from rpc.rejects import text_error
from rpc.requests import CallOptions
from rpc.results import Vector, shortened

router = APIRouter(tags=["OpenAI"])

MOST_INPUTS = 2048
"""OpenAI's limit."""

PICTURE = "data:image/"

TOKENS = (
    "the input is a list of token ids, which only the model they were made for can read: send texts. LangChain sends"
    " texts with OpenAIEmbeddings(check_embedding_ctx_length=False)"
)

BODY = uploads.json_body(
    {
        "model": {"type": "string"},
        "input": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MOST_INPUTS},
            ]
        },
        "encoding_format": {"type": ["string", "null"], "enum": ["float", "base64", None]},
        "dimensions": {"type": ["integer", "null"], "minimum": 1},
        "modality": {"type": ["string", "null"], "enum": ["text", "image", None]},
        "prompt": {"type": ["string", "null"]},
        "prompt_name": {"type": ["string", "null"]},
        "user": {"type": ["string", "null"]},
    },
    ["model", "input"],
)


class Wanted(BaseModel):
    """What is asked, but the inputs; other fields are named in `x-penstock-ignored`."""

    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    modality: Literal["text", "image"] | None = None
    prompt: str | None = None
    prompt_name: str | None = None


USED_FIELDS = frozenset({*Wanted.model_fields, "input"})


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, float32 (n, d), how many tokens were read for them, and the indexes of the texts that were cut."""

    vectors: Vector
    tokens: int
    truncated: Sequence[int] = ()


@router.post("/v1/embeddings", openapi_extra=BODY)
async def embeddings(request: Request) -> Response:
    """Return the vectors of texts, or of pictures given as data URIs, in their order."""
    desk = desk_of(request)
    body = await uploads.read(request, scanner.DATA_URI, most_bytes=desk.redis.max_input_bytes)
    note_ignored(request, unknown_fields(body.told, USED_FIELDS))
    wanted = uploads.valid(Wanted, body.told)
    inputs = _inputs(body.told.get("input"))
    answered = await _embed(desk, request, wanted, inputs, body)
    vectors = _shortened(answered.value.vectors, wanted.dimensions)
    # many vectors as text take a while, and others wait for the loop
    truncated = answered.value.truncated
    data = await asyncio.to_thread(_data, vectors, wanted.encoding_format, frozenset(truncated))
    usage = {"prompt_tokens": answered.value.tokens, "total_tokens": answered.value.tokens}
    tail = to_json({"model": wanted.model, "usage": usage})[1:]
    headers = {**answered.headers, **truncation.headers(truncated)}
    return Response(b'{"object":"list","data":[' + data + b"]," + tail, 200, headers, "application/json")


def _inputs(given: Any) -> list[str]:
    if given is None:
        raise Refused(Problem(422, "invalid_input", "input must be a text or a list of texts", param="input"))
    texts = given if isinstance(given, list) else [given]
    if texts and all(isinstance(item, int | list) and not isinstance(item, bool) for item in texts):
        raise Refused(Problem(400, "token_input", TOKENS, param="input"))
    if not texts or len(texts) > MOST_INPUTS:
        text = f"input has {len(texts)} items, not 1 to {MOST_INPUTS}"
        raise Refused(Problem(422, "invalid_input", text, param="input"))
    for index, text in enumerate(texts):
        if error := text_error(text):
            param = param_of(("input", index))
            raise Refused(Problem(422, "invalid_input", f"{param}: {error}", param=param))
    return texts


async def _embed(desk: Desk, request: Request, wanted: Wanted, inputs: Sequence[str], body: Body) -> Answered[Embedded]:
    pictures = [wanted.modality == "image" or (not wanted.modality and _is_picture(text)) for text in inputs]
    if any(pictures) and not all(pictures):
        raise InvalidInput("input mixes texts and pictures: send them apart")
    left = dict(body.files)
    if not any(pictures):
        model = await desk.served(wanted.model, "embed_text")
        state = await desk.directory.find(model)
        if wanted.modality is None and state is not None and state.offers("embed_image"):
            _check_words(inputs)
        uploads.check_none(left)
        announced = [] if state is None else state.told
        options = prompt_options(model, announced, prompt=wanted.prompt, prompt_name=wanted.prompt_name)
        plan = _plan(desk, model, "embed_text", inputs, desk.options(request), options)
        return await desk.answer(request, plan, content=body.content)
    model = await desk.served(wanted.model, "embed_image")
    prompt_options(model, [], prompt=wanted.prompt, prompt_name=wanted.prompt_name)
    files = [await asyncio.to_thread(_picture, uri, f"input {place}", left) for place, uri in enumerate(inputs)]
    uploads.check_none(left)
    plan = _plan(desk, model, "embed_image", files, desk.options(request))
    return await desk.answer(request, plan, content=body.content)


def _check_words(texts: Sequence[str]) -> None:
    """Raise `Refused` on a text for a model of texts and pictures that is a file in disguise."""
    for index, text in enumerate(texts):
        if kind := disguise(text):
            detail = (
                f"input {index} is {kind}, and the model embeds texts and pictures: send a picture as"
                " data:image/…;base64,… or with modality image, a text with modality text"
            )
            raise Refused(Problem(422, "invalid_input", detail, param=param_of(("input", index))))


def _is_picture(text: str) -> bool:
    return text[: len(PICTURE)].lower() == PICTURE


def _picture(uri: str, name: str, left: dict[str, bytes]) -> bytes | Reference:
    """Return the file in a data URI; what other URLs name is for the worker to open, or to refuse."""
    return uploads.of_data_uri(uri, name, left) if uri[:5].lower() == "data:" else Reference(uri)


def _plan(
    desk: Desk,
    model: str,
    op: str,
    given: Sequence[Any],
    call: CallOptions,
    options: Mapping[str, str] = MappingProxyType({}),
) -> Plan[Embedded]:
    size = sum(len(item) for item in given if not isinstance(item, Reference))
    asked = desk.client(size).asked(model, op, options)
    most = plans.PICTURES_PER_JOB if op == "embed_image" else requests.INPUTS_PER_JOB
    jobs = requests.list_jobs(asked, given, call, most=most)

    def answer(replies: Sequence[Reply]) -> Embedded:
        vectors = requests.vectors_of(jobs, replies, on_error="raise")
        return Embedded(vectors, tokens_of(jobs, replies), truncated_indexes(jobs, replies))

    return Plan(jobs, call, answer)


def tokens_of(jobs: Sequence[Job], replies: Sequence[Reply]) -> int:
    """Return how many tokens the models read, as they tell; a model of a user's own may not tell."""
    told, _ = requests.gathered(jobs, replies)
    return sum(sum(result.get("tokens", ())) for result in told)


def _shortened(vectors: Vector, dimensions: int | None) -> Vector:
    """Return the first numbers of each vector at length 1, as OpenAI defines `dimensions`."""
    try:
        return shortened(vectors, dimensions, normalize=True)
    except InvalidInput as error:
        raise Refused(Problem(422, "invalid_input", str(error), param="dimensions")) from None


def _data(vectors: Vector, encoding: Literal["float", "base64"], truncated: Collection[int]) -> bytes:
    return b",".join(_item(index, row, encoding, cut=index in truncated) for index, row in enumerate(vectors))


def _item(index: int, row: Vector, encoding: Literal["float", "base64"], *, cut: bool) -> bytes:
    vector = base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding == "base64" else row.tolist()
    item = {"object": "embedding", "index": index, "embedding": vector}
    return to_json({**item, "truncated": True} if cut else item)
