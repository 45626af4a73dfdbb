"""Outputs kept beside jobs, and resumed."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from inference_worker.batching import Policy
from inference_worker.inferring import Inferring
from inference_worker.inhand import InHand
from inference_worker.job import JobInHand
from inference_worker.keeping import Keeping
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import FollowUp, Model, Runtime, Unit
from inference_worker.stamps import Stamps
from rpc.errors import Unavailable
from tests.unit.inference_worker.samples import in_hand, uncounted
from tests.unit.inference_worker.shelf import Shelf


class Long(Model):
    """A model of long jobs: it keeps a map, trips over "trip", gives over "unsendable" what has no form on the wire."""

    resumable = True

    def __init__(self, events: list[str]) -> None:
        super().__init__(Runtime())
        self._events = events

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs; "twice" takes a second pass."""
        return [FollowUp(Unit("second")) if unit.data == "twice" else unit.data for unit in units]

    def keep(self, unit: Unit, output: Any) -> Any:
        """Return it in a map, or fail one of two ways."""
        self._events.append(f"kept {unit.data}")
        if output == "trip":
            raise RuntimeError("tripped")
        return {"output": object() if output == "unsendable" else output}

    def resume(self, unit: Unit, kept: Any) -> Any | None:
        """Return what is in the map."""
        del unit
        return kept["output"]


UNITS = [Unit(number) for number in range(3)]


def keeping(shelf: Shelf, model: Model | None = None) -> Keeping:
    """Return the keep stage of a model of long jobs."""
    return Keeping(model or Long([]), shelf, WorkerMetrics().of("m", ("op",)))


def one_pass(shelf: Shelf, second: str) -> list[str]:
    """Run units of a short job and of a long one, j4, whose second output is this; return what happened in which order.

    Of the long job another input is still being prepared.
    """
    short, long = in_hand(3), in_hand(4, inputs=["first", "other"])
    hands = InHand(Policy(8), units_held=16)
    hands.admit([short, long])
    hands.prepared(short, 0, [Unit("only")], 0.0)
    hands.prepared(long, 0, [Unit("a"), Unit(second), Unit("c")], 0.0)
    events: list[str] = []

    def told(jobs: Sequence[JobInHand]) -> None:
        events.extend(f"told {job.job.id}" for job in jobs)

    model, stamps = Long(events), Stamps.create(1)
    kept = keeping(shelf, model)
    metrics = WorkerMetrics().of("m", ("op",))
    Inferring(model, hands, metrics, stamps.stage("m"), uncounted(), kept, told).catch_up()
    kept.stop()
    kept.run()
    stamps.close()
    return events


def test_replies_go_out_before_anything_is_kept() -> None:
    """Who waits for a reply waits for no output of another job to be packed; what is answered need not be kept."""
    shelf = Shelf()

    assert one_pass(shelf, "b") == ["told j3", "kept a", "kept b", "kept c"]
    assert shelf.names == {"j4": ["unit:0:0", "unit:0:1", "unit:0:2"]}


@pytest.mark.parametrize("output", ["trip", "unsendable"])
def test_what_cannot_be_kept_is_work_done_twice(output: str, caplog: pytest.LogCaptureFixture) -> None:
    """A model that fails to keep an output fails no pass: its other outputs are kept, and the log names the job."""
    shelf = Shelf()
    one_pass(shelf, output)

    assert shelf.names == {"j4": ["unit:0:0", "unit:0:2"]}
    assert [record.getMessage() for record in caplog.records] == ["a part of job j4 is not kept"]


def test_an_incomplete_output_is_not_kept() -> None:
    """Of a unit that takes two passes the output of the second is kept."""
    shelf = Shelf()

    events = one_pass(shelf, "twice")

    assert events == ["told j3", "kept a", "kept c", "kept second"]
    assert shelf.names == {"j4": ["unit:0:0", "unit:0:2", "unit:0:1"]}


def resumed(shelf: Shelf, job: JobInHand) -> Mapping[int, Any]:
    """Return the outputs of an input that are there already."""
    stage = keeping(shelf)
    return stage.resumed(job, UNITS, stage.kept(job, 0, UNITS))


def test_what_is_there_is_resumed() -> None:
    """Units another worker has done have their outputs; what lies at no place of the input is left out."""
    there = {1: {"output": "b"}, 2: {"output": None}, 7: {"output": "h"}}

    assert resumed(Shelf(there), in_hand()) == {1: "b"}


@pytest.mark.parametrize(
    "there",
    [{0: {"output": "a"}, 1: {"text": "b"}}, ValueError("a field of another version"), Unavailable("Redis is away")],
    ids=["part", "field", "server"],
)
def test_what_cannot_be_resumed_is_work_done_twice(there: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A model that cannot read what is kept, or a field nobody can, costs its job nothing else; the log names it."""
    assert resumed(Shelf(there), in_hand(7)) == {}
    assert [record.getMessage().count("j7") for record in caplog.records] == [1]
