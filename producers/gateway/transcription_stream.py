"""A transcript as a stream of events: segments as their windows are done."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

from fastapi.responses import StreamingResponse

from producers.gateway import events, problems
from producers.gateway.desk import Answered, Desk
from producers.gateway.problems import Refused
from rpc import Transcript, parts
from rpc.errors import RpcError
from rpc.keys import Keys
from rpc.plans import Plan

LOOK_S = 0.25
"""Seconds between two looks at what is done of a recording."""

WINDOWS_A_LOOK = 64

Answer = Callable[[], Coroutine[Any, Any, Answered[Transcript]]]
"""Waits for the whole transcript."""


def usage(transcript: Transcript) -> dict[str, Any]:
    """Return how long a recording is, as OpenAI's clients read it."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


async def streamed(desk: Desk, plan: Plan[Transcript], answer: Answer, *, verbose: bool) -> StreamingResponse:
    """Return the answer that tells segment by segment; what goes wrong before it begins has its own status."""
    telling = _events(desk, plan, answer, verbose=verbose)
    first = await anext(telling)

    async def body() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(telling):
            yield first
            async for each in telling:
                yield each

    return events.streamed(body())


async def _events(desk: Desk, plan: Plan[Transcript], answer: Answer, *, verbose: bool) -> AsyncGenerator[bytes]:
    """Tell segments as they come, or signs of life while none does; raise what goes wrong before anything is told."""
    answering = asyncio.create_task(answer())
    windows, told, said_at = 0, 0, time.monotonic()
    said = False
    try:
        while not (await asyncio.wait([answering], timeout=LOOK_S))[0]:
            found = await _finished(desk, plan, windows)
            windows += len(found)
            for segment in (each for segments in found for each in segments):
                yield _delta(segment, told, verbose=verbose)
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
            yield _delta(segment, told, verbose=verbose)
            told += 1
        done = {"type": "transcript.text.done", "text": transcript.text.strip(), "usage": usage(transcript)}
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


def _delta(segment: Mapping[str, Any], number: int, *, verbose: bool) -> bytes:
    """Return the event of a segment: its times and text, or all its fields."""
    text = segment["text"] if number else segment["text"].lstrip()
    fields = segment if verbose else {name: segment[name] for name in ("start", "end", "text")}
    return events.event({"type": "transcript.text.delta", "delta": text, "segment": {**fields, "id": number}})
