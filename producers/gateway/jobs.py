"""`/v1/jobs`: any op of any model; queued and asked for later, or waited for with `Prefer: wait`."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from producers.gateway import events, idempotency, problems, scanner, truncation, uploads
from producers.gateway.answers import reserve
from producers.gateway.desk import Answered, Desk, desk_of
from producers.gateway.owners import stored_id, without_owner
from producers.gateway.problems import ABSENT, Problem, Refused
from producers.gateway.refusals import problem_for
from producers.gateway.uploads import Body
from rpc import plans, requests
from rpc.calls import fetch, reply_size
from rpc.codec import to_json
from rpc.errors import InvalidInput, RpcError, Unavailable
from rpc.messages import Reference, Reply, Success, new_job_id
from rpc.parts import Progress
from rpc.requests import DEFAULT_TIMEOUT_S, QUEUED_TIMEOUT_S, Asked, CallOptions

router = APIRouter(tags=["jobs"])

BODY = uploads.json_body(
    {
        "model": {"type": "string"},
        "op": {"type": "string"},
        "inputs": {"type": "array", "minItems": 1, "items": {}},
        "options": {"type": ["object", "null"]},
        "job_id": {"type": ["string", "null"]},
        "lane": {"type": ["string", "null"], "enum": ["interactive", "bulk", None]},
        "timeout_s": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "keep_s": {"type": ["number", "null"], "minimum": 0},
    },
    ["model", "op", "inputs"],
)

CALL = {"job_id": str, "lane": str, "timeout_s": float, "keep_s": float}

LOOK_S = 0.25
"""Seconds between two looks at a job that is followed."""

MIN_KEEP_S = 1.0
"""The shortest time a result is kept for a caller that waits: it has to be fetched meanwhile."""

MANY_NUMBERS = 10_000
"""More numbers than this are not written while others wait for the loop."""

_WAIT = re.compile(r"\bwait(?:=(\d{1,6}))?\b")


@router.post("/v1/jobs", openapi_extra=BODY)
async def submit(request: Request) -> Response:
    """Queue a job and say where to ask for it; with `Prefer: wait=<seconds>`, answer with its result if it is there.

    Files among the inputs are `{"base64": "..."}`, or `{"ref": "<url>"}` where the worker opens it.
    """
    desk = desk_of(request)
    body = await uploads.read(request, scanner.BASE64, most_bytes=desk.redis.max_input_bytes)
    told = with_all_files(body)
    wanted = _wanted(desk, told)
    _check_inside(desk, body, wanted)
    wait = _WAIT.search(request.headers.get("prefer", ""))
    # only who waits for as long as it takes has a patience that bounds the job
    patient = wait is not None and not wait[1] and wanted.op != "transcribe"
    call = desk.options(request, default_s=DEFAULT_TIMEOUT_S if patient else QUEUED_TIMEOUT_S)
    key = idempotency.name_of(request)
    call.update(_call(told))  # type: ignore[typeddict-item]
    job_id = told.get("job_id") or (idempotency.job_id(key) if key else "")
    # a caller that names its job may come back for it
    call["cancel_abandoned"] = not job_id
    job_id = job_id or new_job_id()
    call["job_id"] = stored_id(request, job_id)
    if wait is None:
        await _submit(desk, request, wanted, call, body.content)
        return _queued(request, wanted.model, job_id)
    wait_s = float(wait[1]) if wait[1] else None
    answered = await _waited(desk, request, wanted, call, body.content, wait_s)
    if answered is None:
        return _queued(request, wanted.model, job_id)
    return await _succeeded(wanted.model, job_id, answered.value, answered.headers)


def with_all_files(body: Body) -> dict[str, Any]:
    """Return the body with all its files, those in maps and lists too."""
    if not body.files and b'"base64"' not in body.around:
        return body.told
    left = dict(body.files)
    told = {name: uploads.with_files(value, left) for name, value in body.told.items()}
    uploads.check_none(left)
    return told


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of which model."""

    model: str
    op: str
    inputs: Sequence[Any]
    options: Mapping[str, Any]

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(len(given) for given in self.inputs if isinstance(given, bytes))


def _wanted(desk: Desk, body: Mapping[str, Any]) -> Wanted:
    for name in body:
        if name not in BODY_FIELDS:
            text = f"the body has no field {name[:40]!r}; it has {', '.join(BODY_FIELDS)}"
            raise Refused(Problem(422, "invalid_input", text, param=name[:40]))
    model, op, inputs, options = (body.get(name) for name in ("model", "op", "inputs", "options"))
    if not isinstance(model, str) or not isinstance(op, str):
        raise InvalidInput("model and op are texts, and both are needed")
    if not isinstance(inputs, list) or not inputs:
        raise InvalidInput("inputs is no list of at least one input")
    if not isinstance(options, dict | None):
        raise InvalidInput("options is no object")
    given = [_input(item) for item in inputs]
    return Wanted(desk.settings.model_aliases.get(model, model), op, given, options or {})


def _check_inside(desk: Desk, body: Body, wanted: Wanted) -> None:
    """Raise `InvalidInput` if files that are no inputs of their own are too large to travel inside their job."""
    inside = sum(map(len, body.files.values())) - wanted.size
    if inside > desk.redis.max_payload_bytes:
        text = f"files of {inside} bytes inside of inputs or options are over the limit of"
        raise InvalidInput(f"{text} {desk.redis.max_payload_bytes}; an input that is a file may be larger")


BODY_FIELDS = ("model", "op", "inputs", "options", *CALL)


def _input(item: Any) -> Any:
    """Return an input; what refers to a file is for the worker to open, or to refuse."""
    return Reference(item["ref"]) if isinstance(item, dict) and item.keys() == {"ref"} else item


def _call(body: Mapping[str, Any]) -> dict[str, Any]:
    call: dict[str, Any] = {}
    for name, kind in CALL.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise InvalidInput(f"{name} is {str(value)[:40]!r}, no {'number' if kind is float else 'text'}")
        call[name] = value
    return call


def _queued(request: Request, model: str, job_id: str) -> Response:
    told = {"id": f"{model}:{job_id}", "object": "job", "model": model, "state": "waiting"}
    headers = {"location": f"{request.scope.get('root_path', '')}/v1/jobs/{model}:{job_id}"}
    return Response(to_json(told), 202, headers, "application/json")


async def _waited(
    desk: Desk,
    request: Request,
    wanted: Wanted,
    call: CallOptions,
    content: Sequence[bytes],
    wait_s: float | None,
) -> Answered[Mapping[str, Any]] | None:
    """Return the result of a job, or None if it is not there in the time its caller waits."""
    await desk.served(wanted.model, wanted.op)
    if call.get("keep_s", MIN_KEEP_S) < MIN_KEEP_S:
        text = f"keep_s must be at least {MIN_KEEP_S} with Prefer: wait, got {call['keep_s']}"
        raise Refused(Problem(422, "invalid_input", text, param="keep_s"))
    if wait_s is not None and wait_s < call["timeout_s"]:
        # the job goes on when the caller has waited enough
        await _submit(desk, request, wanted, call, content)
        cancels = call.get("cancel_abandoned", False)
        return await desk.answer_within(request, wanted.model, call["job_id"], wait_s, cancels=cancels)
    asked = desk.client(wanted.size).asked(wanted.model, wanted.op, wanted.options)
    plan = plans.any_op(asked, wanted.inputs, call)
    if call["cancel_abandoned"] and "keep_s" not in call:
        # the id is the gateway's own, and its caller has the result with it
        plan = replace(plan, jobs=[replace(job, disposable=True) for job in plan.jobs])
    return await desk.answer(request, plan, content=content)


async def _submit(desk: Desk, request: Request, wanted: Wanted, call: CallOptions, content: Sequence[bytes]) -> None:
    job = requests.job(Asked(wanted.model, wanted.op, wanted.options), wanted.inputs, call)
    await desk.claim(request, [job], content)
    told = CallOptions(**{name: value for name, value in call.items() if name != "cancel_abandoned"})  # type: ignore[typeddict-item]
    await desk.client(wanted.size).submit(wanted.model, wanted.op, wanted.inputs, wanted.options, **told)


async def _succeeded(model: str, job_id: str, result: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    told = {"id": f"{model}:{job_id}", "object": "job", "model": model, "state": "succeeded", "result": result}
    headers = {**headers, **truncation.headers(truncation.result_indexes(result))}
    return Response(await _written(told), 200, headers, "application/json")


async def _written(told: Mapping[str, Any]) -> str:
    result = told.get("result") or {}
    many = any(isinstance(value, np.ndarray) and value.size > MANY_NUMBERS for value in result.values())
    return await asyncio.to_thread(to_json, told) if many else to_json(told)


def _named(request: Request, job: str) -> tuple[str, str]:
    """Return the model of a job as a caller names it, and the id Redis knows it by; a model's name has no colon."""
    model, _, job_id = job.partition(":")
    return model, stored_id(request, job_id)


@router.get("/v1/jobs/{job}")
async def look(request: Request, job: str) -> Response:
    """Return how far a job is, and its result or error once it has one."""
    told = await _state(request, job)
    headers = truncation.headers(truncation.result_indexes(told.get("result") or {}))
    return Response(await _written(told), 200, headers, "application/json")


async def _state(request: Request, job: str) -> dict[str, Any]:
    desk, (model, job_id) = desk_of(request), _named(request, job)
    progress = await desk.light.progress(model, job_id)
    told: dict[str, Any] = {"id": job, "object": "job", "model": model}
    if progress.state == "finished":
        reserve(request, await desk.light.ask(reply_size(desk.redis.prefix, model, job_id)))
        replies = await desk.light.ask(fetch(desk.redis.prefix, [(model, job_id)]))
        if replies:
            return {**told, **_ended(request, replies[model, job_id])}
    if progress.state in {"unknown", "finished"}:
        raise Refused(Problem(404, "job_not_found", f"there is no job {job[:200]!r} (any more)", ABSENT))
    return {**told, **_under_way(progress)}


def _ended(request: Request, reply: Reply) -> dict[str, Any]:
    if isinstance(reply, Success):
        return {"state": "succeeded", "result": reply.result, "meta": asdict(reply.meta)}
    message = without_owner(request.scope, reply.message)
    state = "cancelled" if reply.code == "cancelled" else "failed"
    return {"state": state, "error": {**reply.as_dict(), "message": message}}


def _under_way(progress: Progress) -> dict[str, Any]:
    return {
        "state": progress.state,
        "done": progress.done,
        "units": progress.units,
        "fraction": progress.fraction,
    }


@router.delete("/v1/jobs/{job}")
async def cancel(request: Request, job: str) -> Response:
    """Cancel a job unless it is answered already; say what came of it."""
    outcome = await desk_of(request).light.cancel(*_named(request, job))
    if outcome == "unknown":
        raise Refused(Problem(404, "job_not_found", f"there is no job {job[:200]!r} (any more)", ABSENT))
    return Response(to_json({"id": job, "object": "job", "state": outcome}), media_type="application/json")


@router.get("/v1/jobs/{job}/events")
async def follow(request: Request, job: str) -> StreamingResponse:
    """Tell how far a job is whenever that changes, until it has its result or error."""
    first = await _state(request, job)
    return events.streamed(_events(request, job, first))


async def _events(request: Request, job: str, told: dict[str, Any]) -> AsyncIterator[bytes]:
    said_at = time.monotonic()
    yield await _event(told)
    while "meta" not in told and "error" not in told:
        await asyncio.sleep(LOOK_S)
        try:
            now = await _state(request, job)
        except Unavailable:
            # Redis may come back, and the job with it
            now = told
        except (Refused, RpcError) as error:
            yield events.event(problems.body(problem_for(request.scope, error)), name="error")
            return
        if now != told:
            said_at, told = time.monotonic(), now
            yield await _event(told)
        elif time.monotonic() - said_at >= events.SIGN_S:
            said_at = time.monotonic()
            yield events.STILL_HERE


async def _event(told: Mapping[str, Any]) -> bytes:
    name = "done" if "meta" in told or "error" in told else "progress"
    return f"event: {name}\ndata: {await _written(told)}\n\n".encode()
