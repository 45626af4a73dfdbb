"""Finding the culprit of a batch that fails."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.batching import Policy
from inference_worker.inferring import Inferring, infer_or_blame
from inference_worker.inhand import InHand
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import DeviceFault, Model, Runtime, Unit
from inference_worker.stamps import Stamps
from rpc.errors import ModelError
from tests.models import Panics, WrongLength
from tests.unit.inference_worker.samples import uncounted


class Picky(Model):
    """A model that fails on negative numbers, and notes the size of each pass it is given."""

    def __init__(self) -> None:
        super().__init__(Runtime())
        self.passes: list[int] = []

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the numbers doubled, or raise."""
        self.passes.append(len(units))
        if any(unit.data < 0 for unit in units):
            raise ValueError("negative")
        return [2 * unit.data for unit in units]


class Broken(Picky):
    """A model whose device has failed."""

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Raise as PyTorch does."""
        self.passes.append(len(units))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def units(numbers: Sequence[int]) -> list[Unit]:
    """Return a unit for each number."""
    return [Unit(number) for number in numbers]


@given(st.lists(st.integers(-5, 50), min_size=1, max_size=40))
def test_only_the_culprits_fail(numbers: list[int]) -> None:
    """Every unit the model can run has its output, every other one the error, in the order given."""
    outputs = infer_or_blame(Picky(), units(numbers))

    seen = ["failed" if isinstance(output, ModelError) else output for output in outputs]
    assert ["failed" if number < 0 else 2 * number for number in numbers] == seen


def test_one_culprit_costs_two_passes_for_each_halving() -> None:
    """A failed batch is halved, not run again unit by unit."""
    model = Picky()

    infer_or_blame(model, units([1] * 31 + [-1]))

    assert model.passes == [32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


def test_a_device_that_fails_is_not_asked_again() -> None:
    """What failed for the device's sake would fail for every unit: all are told so, after one pass."""
    model = Broken()

    outputs = infer_or_blame(model, units([1, 2, 3]))

    assert [type(output) for output in outputs] == [DeviceFault] * 3
    assert model.passes == [3]


def test_a_model_may_say_that_its_pass_goes_on() -> None:
    """What it says in the middle of a pass its supervisor hears; without a worker nobody does."""
    model = Picky()
    model.going_on()
    stamps = Stamps.create(1)
    stage = stamps.stage(model.name)
    in_hand = InHand(Policy(64), units_held=64)
    metrics = WorkerMetrics().of(model.name, model.ops)
    Inferring(model, in_hand, metrics, stage, uncounted(), None, lambda _: None)
    stage.begin([("bulk", "1-1")], 7.0)

    model.going_on()

    (work,) = stamps.works()
    assert (work.since > 7.0, work.entries) == (True, frozenset({("bulk", "1-1")}))
    stamps.close()


def test_each_failed_pass_is_progress() -> None:
    """A large batch that is halved again and again is not taken for one that hangs."""
    marks: list[int] = []
    model = Picky()

    infer_or_blame(model, units([1, 1, 1, -1]), lambda: marks.append(len(model.passes)))

    assert marks == [1, 3, 5]


def test_a_batch_that_succeeds_is_run_once() -> None:
    """Nothing is split that did not fail."""
    model = Picky()

    assert (infer_or_blame(model, units([1, 2])), model.passes) == ([2, 4], [2])


def test_outputs_that_cannot_be_matched_to_units_are_not_handed_out() -> None:
    """A model that returns too few outputs fails on the unit that makes it so, and no caller gets another's."""
    first, second, third = infer_or_blame(WrongLength(Runtime()), [Unit("a"), Unit("short"), Unit("c")])

    assert (first, third) == ("a", "c")
    assert str(second) == "infer of wrong-length gave 0 outputs for 1 units"


def test_what_is_no_error_of_the_model_ends_the_stage() -> None:
    """An exit or an interrupt is not taken for the fault of a unit."""
    with pytest.raises(SystemExit):
        infer_or_blame(Panics(Runtime()), [Unit("a")])
