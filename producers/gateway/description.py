"""What OpenAPI says of the gateway besides its routes: the one form of all errors, and the key it asks for. Pure."""

from collections.abc import Iterator
from typing import Any

from producers.gateway.access import OPEN
from producers.gateway.problems import MEDIA_TYPE

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457's fields, and OpenAI's error object.",
    "properties": {
        "type": {"type": "string", "examples": ["urn:penstock:error:queue_full"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string", "examples": ["queue_full"]},
            },
            "required": ["message", "type", "param", "code"],
        },
    },
    "required": ["type", "title", "status", "detail", "error"],
}

ERRORS = {"4XX": "What the caller can put right.", "5XX": "What it cannot."}

FASTAPIS = ("HTTPValidationError", "ValidationError")
"""How FastAPI would tell what is wrong with a request."""

KEY = "key"


def completed(schema: dict[str, Any], *, keyed: bool) -> dict[str, Any]:
    """Return FastAPI's description with the errors of the gateway in place of FastAPI's, and with its key if asked."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in FASTAPIS:
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    for path, operation in _operations(schema):
        responses = operation["responses"]
        responses.pop("422", None)
        responses.update({status: _error(text) for status, text in ERRORS.items()})
        if keyed and path not in OPEN:
            operation["security"] = [{KEY: []}]
    if keyed:
        components["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    return schema


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            yield path, operation


def _error(text: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
