"""What jobs are told."""

import gc
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from inference_worker.models.base import DeviceFault, Model, Outcome, OutOfMemory, Runtime, Unit
from inference_worker.outcome import blame, conclude, delay_s, kept_ms, passing, refusal, stored, verdict, worth_asking
from rpc.errors import Cancelled, Expired, InvalidInput, ModelError, RpcError, Unavailable, UnknownModel
from rpc.keys import DIED
from rpc.messages import HOUR_MS, Failure, Job, Meta, Success
from tests.models import BadFinish, Upper
from tests.unit.inference_worker.samples import delivery

META = Meta("w")
OK = Success({"outputs": []}, META)
FAILED = Failure("model_error", "on fire")


class Plain(Model):
    """A model that leaves `finish` as it is."""

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]


def asked(**given: Any) -> Job:
    """Return a job."""
    return Job(**{"model": "m", "op": "op", "inputs": ["a"], **given})


def test_an_op_the_model_has_not_is_refused_with_those_it_has() -> None:
    """Whoever asks for the wrong op reads the right ones."""
    error = refusal(asked(op="embed"), ("echo", "count"), 0.0)

    assert isinstance(error, UnknownModel)
    assert str(error) == "m has no op 'embed'; it offers count, echo"


@pytest.mark.parametrize(("waited_ms", "expired"), [(0.0, False), (1000.0, False), (1000.1, True)])
def test_a_job_may_be_started_until_its_time_to_live_ends(waited_ms: float, *, expired: bool) -> None:
    """A job that waited longer is not started and is told how long it waited."""
    error = refusal(asked(ttl_ms=1000), ("op",), waited_ms)

    assert isinstance(error, Expired) is expired


def test_a_job_handed_out_too_often_is_told_how_often() -> None:
    """The verdict names the number of deliveries, and how the last engine ended if its supervisor told."""
    untold = verdict(delivery(deliveries=3))
    told = verdict(replace(delivery(deliveries=3), left_by=f"{DIED}SIGSEGV"))

    assert untold.code == told.code == "dead_lettered"
    assert untold.message.endswith("after 3 deliveries, none of which was finished")
    assert told.message.endswith(": SIGSEGV")


@pytest.mark.parametrize(("deliveries", "waited_ms", "expected"), [(1, 1.0, False), (1, 50.0, True), (2, 1.0, True)])
def test_a_reply_is_looked_for_where_there_may_be_one(deliveries: int, waited_ms: float, *, expected: bool) -> None:
    """A job read at once was not cancelled yet; one that waited or was somebody's before may have been."""
    assert worth_asking(delivery(deliveries=deliveries), waited_ms) is expected


def test_what_a_model_raises_is_told_by_name_and_text() -> None:
    """A foreign exception becomes a `ModelError` that names it; one of ours stays what it is."""
    ours = InvalidInput("empty")

    assert blame(ours) is ours
    assert Failure.of(blame(KeyError("x"))) == Failure("model_error", "KeyError: 'x'")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), OutOfMemory),
        (RuntimeError("CUDA failed with error out of memory"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceFault),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFault),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), DeviceFault),
        (ValueError("too many values to unpack"), ModelError),
    ],
    ids=str,
)
def test_what_may_pass_is_told_apart_from_what_will_not(error: Exception, kind: type[ModelError]) -> None:
    """Memory that ran out and a device that failed are worth another try, whatever class a library raises."""
    blamed = blame(error)

    assert type(blamed) is kind
    assert (passing([["a"], blamed]) is blamed) is blamed.retryable is (kind is not ModelError)


def test_a_job_is_put_off_for_longer_each_time() -> None:
    """One second at first, and never more than half a minute."""
    assert [delay_s(deliveries) for deliveries in (1, 2, 3, 10)] == [1.0, 2.0, 4.0, 30.0]


def test_a_job_whose_inputs_all_have_outputs_succeeds() -> None:
    """The result is what the model's `finish` makes of them: one output for an input of one unit."""
    assert conclude(Plain(Runtime()), "op", [["a"], ["b", "c"], []], META) == Success(
        {"outputs": ["a", ["b", "c"], []]}, META
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [(InvalidInput("empty"), "input 1: empty"), (ModelError("nan"), "input 1: nan"), (Cancelled("stop"), "stop")],
    ids=["input", "model", "other"],
)
def test_without_partial_one_failed_input_fails_its_job_by_number(error: RpcError, message: str) -> None:
    """The caller reads which of several inputs was the culprit."""
    reply = conclude(Plain(Runtime()), "op", [["a"], error], META)

    assert reply == Failure(error.code, message, error.retryable)


def test_the_only_input_needs_no_number() -> None:
    """A job of one failed input has the input's error, whether or not the model can tell inputs apart."""
    failed: list[Outcome] = [InvalidInput("empty")]

    replies = {conclude(model(Runtime()), "op", failed, META) for model in (Plain, Upper)}

    assert replies == {Failure("invalid_input", "empty")}


def test_with_partial_the_model_tells_which_inputs_failed() -> None:
    """A failed input among others does not take their outputs."""
    reply = conclude(Upper(Runtime()), "upper", [["A"], InvalidInput("no text")], META)

    assert reply == Success({"texts": ["A", None], "failed": ["invalid_input"]}, META)


def test_a_finish_that_fails_fails_the_job_alone() -> None:
    """Whatever `finish` raises is a reply, and no end of the stage that tells of it."""
    reply = conclude(BadFinish(Runtime()), "finish", [["trip"]], META)

    assert reply == Failure("model_error", "RuntimeError: tripped")


@pytest.mark.parametrize(
    ("times", "reply", "expected"),
    [
        ({"keep_ms": 5}, OK, 5),
        ({"keep_ms": 5}, FAILED, 5),
        ({"keep_ms": 0, "ttl_ms": 7}, OK, 7),
        ({"keep_ms": 0, "ttl_ms": 7}, FAILED, HOUR_MS),
    ],
    ids=["kept success", "kept failure", "marker", "failure nobody wants kept"],
)
def test_how_long_a_reply_is_kept(times: Mapping[str, Any], reply: Success | Failure, expected: int) -> None:
    """A reply is kept as asked; unkept, a marker lives as long as the job could come again, a failure an hour."""
    assert expected == kept_ms(asked(**times), reply)


def test_of_an_unkept_success_only_that_it_was_one_is_stored() -> None:
    """With `keep_ms` 0 the result itself never reaches Redis; a failure does."""
    job = asked(keep_ms=0)

    assert [stored(job, OK), stored(job, FAILED), stored(asked(), OK)] == [Success(None, META), FAILED, OK]


class Large:
    """What a decoder has in hand when it gives up."""


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """Leave it to counts of references alone what is freed."""
    gc.disable()
    yield
    gc.enable()


def refused(alive: "list[weakref.ref[Large]]") -> None:
    """Refuse what was half decoded, because of another error."""
    half_decoded = Large()
    alive.append(weakref.ref(half_decoded))
    reason = "damaged"
    try:
        int(reason)
    except ValueError as error:
        raise InvalidInput(reason) from error


@pytest.mark.usefixtures("_no_collector")
def test_an_error_keeps_nothing_of_where_it_was_raised() -> None:
    """An input that is refused leaves its error until the job is answered, and none of what was decoded of it."""
    alive: list[weakref.ref[Large]] = []
    try:
        refused(alive)
    except InvalidInput as error:
        kept = blame(error)

    assert str(kept) == "damaged"
    assert alive[0]() is None


def test_what_a_store_does_not_give_now_may_pass() -> None:
    """A job whose reference could not be reached is tried again, whatever became of its other inputs."""
    away = Unavailable("the store is away")

    assert passing([["a"], InvalidInput("bad"), away]) is away
    assert passing([["a"], InvalidInput("bad")]) is None
