"""Server-sent events: as bytes, and as an answer that nothing in between keeps or collects."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi.responses import StreamingResponse
from pydantic_core import to_json

UNKEPT = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Proxies are to hand each event on at once; the second header is nginx's."""

SIGN_S = 15.0
"""Seconds between two signs of life to who follows a quiet stream: proxies take silence for death after 30 to 60."""


def event(data: Mapping[str, Any], *, name: str = "") -> bytes:
    """Return an event with JSON for data; JSON has no line ends of its own."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + to_json(data) + b"\n\n"


STILL_HERE = b": still here\n\n"
"""A comment, so that nothing in between takes a quiet stream for a dead one."""


def streamed(events: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> StreamingResponse:
    """Return the answer that tells events."""
    return StreamingResponse(events, 200, {**UNKEPT, **(headers or {})}, "text/event-stream")
