"""The Lua scripts, each a state change that is safe to send twice. A script's head is its contract."""

import hashlib
from dataclasses import dataclass
from importlib import resources

NAMES = (
    *("submit", "cancel", "lost", "redrive"),
    *("claim", "count", "look", "complete", "dead", "release", "retry", "keep", "leave"),
    *("renew", "bereave", "reap"),
    "taken",
)
"""Those of callers and operators, of a worker's engine, of its supervisor, and of who takes completions."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server keeps it."""

    name: str
    text: str
    sha: str


def _load(name: str) -> Script:
    text = resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {name: _load(name) for name in NAMES}
