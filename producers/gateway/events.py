"""Server-sent events as bytes. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json


def event(data: Mapping[str, Any], *, name: str = "") -> bytes:
    """Return an event with JSON for data; JSON has no line ends of its own."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + to_json(data) + b"\n\n"


STILL_HERE = b": still here\n\n"
"""A comment, so that nothing in between takes a quiet stream for a dead one."""
