"""`penstock worker`: this process becomes the worker's, if the worker is installed."""

import os
from collections.abc import Sequence

import pytest

from producers import extras, worker


class Became(Exception):
    """The process is the worker's."""


def ended(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return how it ends where everything is installed but the extra for stand-ins."""

    def become(path: str, line: Sequence[str]) -> None:
        raise Became(path, line)

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setattr(extras, "complaint", lambda extra: "onnx not installed" if extra == "standins" else None)
    with pytest.raises((Became, SystemExit)) as end:
        worker.become(arguments)
    return "worker" if isinstance(end.value, Became) else "refused"


@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        (["--models", "echo"], "", "worker"),
        (["--models", "echo"], "1", "refused"),
        (["--models", "echo"], "off", "worker"),
        (["--standins"], "", "refused"),
        (["--standins", "--models", "echo"], "", "refused"),
        (["--standins", "missing"], "no", "refused"),
        (["--standins=all"], "", "refused"),
        (["--standins", "no"], "", "worker"),
        (["--standins=No", "--models", "echo"], "all", "worker"),
        (["--standins", "no", "--standins", "all"], "", "refused"),
    ],
    ids=str,
)
def test_standins_need_their_extra_only_where_they_are_asked_for(
    arguments: Sequence[str], variable: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line counts before the variable, and saying no to stand-ins asks for nothing."""
    monkeypatch.setenv(worker.VARIABLE, variable)

    assert expected == ended(arguments, monkeypatch)
