"""Owners of jobs: behind a key, a job's id stands for another id in Redis, which only that key leads to. Pure.

Without keys all callers share their jobs.
"""

import hashlib

from fastapi import Request
from starlette.types import Scope

from rpc.keys import check_job_id

SCOPE_KEY = "penstock.owner"
"""The entry of the ASGI scope that holds the owner's name; not there where no key is asked for."""

MAX_ID_LENGTH = 128
"""The longest id a job may have."""

ROUNDS = 20_000
"""Ids stand in logs: a weak key must not be guessed from one at the speed of a plain hash."""

_DIGITS = 16


def owner_of(key: bytes) -> str:
    """Return the name under which a key's jobs are kept; it takes some 10 ms, and is worked out at start."""
    return hashlib.pbkdf2_hmac("sha256", key, b"penstock job owner", ROUNDS).hex()[:_DIGITS]


def stored_id(request: Request, job_id: str) -> str:
    """Return the id that Redis knows a caller's job by; raise `InvalidInput` if no job can have the caller's id."""
    check_job_id(job_id)
    owner = request.scope.get(SCOPE_KEY)
    if owner is None:
        return job_id
    stored = f"{owner}.{job_id}"
    # a long one, which has no room for the owner, is known by its hash
    return stored if len(stored) <= MAX_ID_LENGTH else f"{owner}.{hashlib.sha256(job_id.encode()).hexdigest()}"


def without_owner(scope: Scope, text: str) -> str:
    """Return a text for a caller, with its jobs' ids as it knows them."""
    owner = scope.get(SCOPE_KEY)
    return text if owner is None else text.replace(f"{owner}.", "")
