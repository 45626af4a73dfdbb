"""The Lua scripts as package data."""

import hashlib
from importlib import resources

import pytest

from rpc.scripts import NAMES, SCRIPTS


def test_every_script_of_the_package_is_known_by_name() -> None:
    """A script beside the others is loaded, and none is named that is not there."""
    files = {
        path.name.removesuffix(".lua")
        for path in resources.files("rpc.scripts").iterdir()
        if path.name.endswith(".lua")
    }

    assert files == set(NAMES) == set(SCRIPTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_run_by_the_digest_of_its_text(name: str) -> None:
    """The server finds a script under the SHA-1 of exactly the text it was sent."""
    script = SCRIPTS[name]

    assert hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest() == script.sha


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_its_contract(name: str) -> None:
    """The head of a script says what its KEYS and ARGV are and what it returns."""
    head = "".join(line for line in SCRIPTS[name].text.splitlines() if line.startswith("--"))

    assert all(word in head for word in ("KEYS", "ARGV", "Returns"))
