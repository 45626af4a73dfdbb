"""What an `Idempotency-Key` stands for: the same key, caller and route is the same job, and one request only. Pure."""

import hashlib
import re
from collections.abc import Sequence

from fastapi import Request

from rpc.errors import InvalidInput

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_ID_DIGITS = 40


def name_of(request: Request) -> str | None:
    """Return the name under which a request's key is kept, None without one; raise `InvalidInput` if it is none."""
    key = request.headers.get("idempotency-key")
    if not key:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput("the Idempotency-Key is not 1 to 255 printable ASCII characters")
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    # one caller may spell its key in several ways
    whose = f"Bearer {secret.strip()}" if scheme.lower() == "bearer" else f"{scheme} {secret}".strip()
    return hashlib.sha256(f"{whose}\n{request.method}\n{request.url.path}\n{key}".encode()).hexdigest()


def job_id(name: str) -> str:
    """Return the id of the job that a key stands for."""
    return f"key-{name[:_ID_DIGITS]}"


def fingerprint(content: Sequence[bytes]) -> str:
    """Return what tells one request from others."""
    found = hashlib.sha256()
    for part in content:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()
