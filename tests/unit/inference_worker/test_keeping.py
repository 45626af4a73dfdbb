"""Outputs kept beside jobs, and resumed."""

from collections.abc import Sequence
from typing import Any

import pytest

from inference_worker.keeping import Keeping
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import Model, Runtime, Unit
from rpc.errors import Unavailable
from tests.unit.inference_worker.samples import in_hand
from tests.unit.inference_worker.shelf import Shelf


class Long(Model):
    """A model of long jobs: what it keeps of an output is a map, and what it resumes has to be one."""

    resumable = True

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]

    def keep(self, unit: Unit, output: Any) -> Any:
        """Return it in a map."""
        del unit
        return {"output": output}

    def resume(self, unit: Unit, kept: Any) -> Any | None:
        """Return what is in the map."""
        del unit
        return kept["output"]


UNITS = [Unit(number) for number in range(3)]


def keeping(shelf: Shelf) -> Keeping:
    """Return the keep stage of a model of long jobs."""
    return Keeping(Long(Runtime()), shelf, WorkerMetrics().of("m", ("op",)))


def test_what_is_there_is_resumed() -> None:
    """Units another worker has done have their outputs; what lies at no place of the input is left out."""
    there = {1: {"output": "b"}, 2: {"output": None}, 7: {"output": "h"}}

    assert keeping(Shelf(there)).resumed(in_hand(), 0, UNITS) == {1: "b"}


@pytest.mark.parametrize(
    "there",
    [{0: {"output": "a"}, 1: {"text": "b"}}, ValueError("a field of another version"), Unavailable("Redis is away")],
    ids=["part", "field", "server"],
)
def test_what_cannot_be_resumed_is_work_done_twice(there: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A model that cannot read what is kept, or a field nobody can, costs its job nothing else; the log names it."""
    assert keeping(Shelf(there)).resumed(in_hand(7), 0, UNITS) == {}
    assert [record.getMessage().count("j7") for record in caplog.records] == [1]
