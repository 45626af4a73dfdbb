"""When there is no use in an engine any more."""

import pytest

from inference_worker.models.base import DeviceFault, OutOfMemory
from inference_worker.usefulness import Usefulness
from rpc.errors import Unavailable
from rpc.messages import Failure, Meta, Reply, Success

DONE, FAILED, REFUSED = Success({}, Meta("w")), Failure("model_error", "on fire"), Failure("invalid_input", "empty")


def test_jobs_in_a_row_that_fail_are_enough() -> None:
    """What counts is how many failed since one was done, whether they were told together or one by one."""
    usefulness = Usefulness(most_failed=3)
    lost = []
    told: list[list[Reply]] = [[FAILED, FAILED], [FAILED, DONE], [FAILED, FAILED], [FAILED]]
    for replies in told:
        usefulness.answered(replies)
        lost.append(usefulness.lost)

    assert lost == ["", "", "", "3 jobs in a row failed, none was done in between"]


@pytest.mark.parametrize(("most_failed", "reply"), [(0, FAILED), (2, REFUSED)], ids=["never", "bad inputs"])
def test_an_engine_is_kept(most_failed: int, reply: Failure) -> None:
    """Nobody has to set a limit, and callers who send what cannot be read wear out no engine."""
    usefulness = Usefulness(most_failed)
    usefulness.answered([reply] * 100)

    assert usefulness.lost == ""


def test_an_engine_without_its_device_is_of_no_use() -> None:
    """Memory that ran out and a store that is away may pass; a device that has failed does not by itself."""
    usefulness = Usefulness(most_failed=0)
    for error in (None, OutOfMemory("full"), Unavailable("away")):
        usefulness.met(error)
    before = usefulness.lost
    usefulness.met(DeviceFault("CUDA error"))

    assert (before, usefulness.lost) == ("", "CUDA error")
