"""Calls for many files."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from producers.files import answered
from rpc import Client, InvalidInput, RedisSettings
from tests.waiting import LONG_S, eventually

FILES = [Path(str(number)) for number in range(20)]


@pytest.fixture
def nobody() -> Iterator[Client]:
    """Yield a client that has nobody to talk to."""
    with Client(settings=RedisSettings.from_env({}, url="redis://127.0.0.1:1")) as client:
        yield client


class Gate:
    """What is asked about a file is answered once it is let through.

    Attributes:
        begun: the files asked about, with the ids of their jobs.
    """

    def __init__(self) -> None:
        self.begun: dict[Path, str] = {}
        self._open = {file: threading.Event() for file in FILES}

    def let_through(self, *numbers: int) -> None:
        """Let the files of these numbers through."""
        for number in numbers:
            self._open[FILES[number]].set()

    def ask(self, file: Path, job_id: str) -> str:
        """Return the name of the file; 3 is refused and 4 cannot be read."""
        self.begun[file] = job_id
        assert self._open[file].wait(LONG_S)
        if file.name == "3":
            raise InvalidInput("the file is empty")
        if file.name == "4":
            raise PermissionError(13, "Permission denied", "4")
        return file.name


def test_answers_come_in_the_order_of_the_files(nobody: Client) -> None:
    """Whichever is done first, and errors stand in their place."""
    gate = Gate()
    with closing(answered(nobody, "m", FILES[:6], gate.ask, at_a_time=6)) as outcomes:
        gate.let_through(5, 4, 3, 2, 1, 0)
        found = list(outcomes)
    assert [outcome.file for outcome in found] == FILES[:6]
    assert [outcome.answer for outcome in found] == ["0", "1", "2", None, None, "5"]
    assert len(set(gate.begun.values())) == 6
    assert found[3].complaint() == "penstock: invalid_input: 3: the file is empty"
    assert found[4].error_as_json() == {
        "file": "4",
        "error": {"code": "invalid_input", "message": "Permission denied"},
    }


def test_so_many_are_under_way_and_no_more(nobody: Client) -> None:
    """The next one begins when the first is answered, and none while it is not, however many others are."""
    gate = Gate()
    with closing(answered(nobody, "m", FILES, gate.ask, at_a_time=4)) as outcomes:
        gate.let_through(0, 2, 3)
        assert next(outcomes).answer == "0"
        eventually(lambda: len(gate.begun) == 5, what="the fifth has begun")
        gate.let_through(4, 5)
        assert set(gate.begun) == set(FILES[:5])
        gate.let_through(1)
        assert next(outcomes).answer == "1"
        eventually(lambda: len(gate.begun) == 6, what="the sixth has begun")


def test_what_is_under_way_is_told_while_an_answer_is_waited_for(nobody: Client) -> None:
    """Again and again, with the ids of the jobs; what is answered already is told no more."""
    gate, told = Gate(), []

    def watch(under_way: Sequence[tuple[Path, str]]) -> None:
        told.append(list(under_way))
        if len(told) == 1:
            gate.let_through(1)
        if len(under_way) == 2:
            gate.let_through(0, 2)

    with closing(answered(nobody, "m", FILES[:3], gate.ask, at_a_time=3, watch=watch)) as outcomes:
        found = [outcome.answer for outcome in outcomes]

    assert found == ["0", "1", "2"]
    assert told[0] == [(file, gate.begun[file]) for file in FILES[:3]]
    assert [FILES[0], FILES[2]] in [[file for file, _ in under_way] for under_way in told]


def test_nobody_waits_for_what_is_left(nobody: Client) -> None:
    """Closing it returns though calls are under way, even if there is no Redis to cancel them on."""
    gate = Gate()
    outcomes = answered(nobody, "m", FILES, gate.ask, at_a_time=4)
    gate.let_through(0)
    assert next(outcomes).answer == "0"
    outcomes.close()
    assert not set(gate.begun) & set(FILES[5:])
    gate.let_through(1, 2, 3, 4)


def test_a_fault_of_the_program_is_no_failure_of_a_file(nobody: Client) -> None:
    """What is neither an error of the call nor of the file is raised."""

    def ask(file: Path, job_id: str) -> str:
        raise TypeError(f"{file} {job_id}")

    with closing(answered(nobody, "m", FILES, ask, at_a_time=2)) as outcomes, pytest.raises(TypeError):
        next(outcomes)
