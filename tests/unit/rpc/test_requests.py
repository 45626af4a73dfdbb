"""What the named calls ask for, and how their answers are put together."""

import itertools
from typing import Any, Unpack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rpc import requests
from rpc.errors import InvalidInput, ModelError, PartialFailure, UnknownModel
from rpc.messages import Failure, Job, Reply, Success
from rpc.requests import BYTES_PER_JOB, INPUTS_PER_JOB, Asked, CallOptions

ASKED = Asked("m", "embed_text", {"normalize": True}, "p:reply:c1")


def listed(count: int, **options: Unpack[CallOptions]) -> list[Job]:
    """Return the jobs of a list call over `count` texts."""
    texts = [f"text {index}" for index in range(count)]
    return requests.list_jobs(ASKED, texts, options)


def embedded(vectors: NDArray[np.float32], *failed: int) -> Success:
    """Return the reply of an embedding model."""
    told = [{"index": index, "code": "invalid_input", "message": "empty"} for index in failed]
    return Success({"vectors": vectors, "truncated": [False] * len(vectors), "failed": told})


def numbered(jobs: list[Job]) -> list[Reply]:
    """Return replies whose rows are the numbers of their inputs."""
    rows = iter(np.arange(sum(len(job.inputs) for job in jobs), dtype=np.float32))
    return [embedded(np.array([[next(rows)] for _ in job.inputs], np.float32)) for job in jobs]


def test_the_timeout_of_a_call_becomes_the_time_to_live_of_its_job() -> None:
    """A job its caller has given up on is not started any more."""
    job = requests.job(ASKED, ["a"], {"timeout_s": 1.5, "keep_s": 2.0, "lane": "bulk", "job_id": "j1"})

    assert (job.ttl_ms, job.keep_ms, job.lane, job.id) == (1500, 2000, "bulk", "j1")


def test_a_timeout_shorter_than_a_millisecond_still_leaves_one() -> None:
    """No time to live is rounded down to none."""
    assert requests.job(ASKED, ["a"], {"timeout_s": 0.0001}).ttl_ms == 1


@pytest.mark.parametrize("timeout_s", [0, -1.0, 1e300, float("inf"), float("nan"), 10**400])
def test_a_timeout_that_is_no_time_is_refused(timeout_s: float) -> None:
    """A call that could never be answered is refused before it is sent."""
    with pytest.raises(InvalidInput, match="timeout_s"):
        requests.job(ASKED, ["a"], {"timeout_s": timeout_s})


@pytest.mark.parametrize("inputs", [[], "text", b"bytes", ()])
def test_inputs_are_a_list_of_at_least_one(inputs: Any) -> None:
    """A text given for a list of texts is not taken for its letters."""
    with pytest.raises(InvalidInput, match="inputs"):
        requests.job(ASKED, inputs, {})


@pytest.mark.parametrize(("wrong", "error"), [("a b", UnknownModel), ("", UnknownModel)])
def test_a_malformed_model_name_is_refused(wrong: str, error: type[Exception]) -> None:
    """A name no stream can have is `UnknownModel`."""
    with pytest.raises(error):
        requests.job(Asked(wrong, "op", {}), ["a"], {})


@pytest.mark.parametrize("wrong", ["one text", b"bytes", {"a": 1}, 3, None])
def test_only_lists_are_texts(wrong: Any) -> None:
    """One text is not a list of its letters."""
    with pytest.raises(InvalidInput, match=r"^texts is a "):
        requests.check_texts(wrong)


def test_a_short_list_is_one_job_with_the_id_given() -> None:
    """The id of a list call is its job's id as long as it is one job."""
    (job,) = listed(INPUTS_PER_JOB, job_id="j1")

    assert (job.id, len(job.inputs)) == ("j1", INPUTS_PER_JOB)


def test_a_long_list_is_several_jobs_in_order_with_ids_that_repeat() -> None:
    """Sent again with the same id, a long list joins the jobs of the first time."""
    jobs = listed(2 * INPUTS_PER_JOB + 1, job_id="j1")

    texts = [text for job in jobs for text in job.inputs]

    assert [job.id for job in jobs] == ["j1.0", "j1.1", "j1.2"]
    assert [f"text {index}" for index in range(2 * INPUTS_PER_JOB + 1)] == texts


def test_a_list_is_cut_by_its_bytes_too() -> None:
    """No entry carries more than four megabytes of inputs, and not fewer inputs than fit."""
    texts = ["x" * 100_000] * 100

    jobs = requests.list_jobs(ASKED, texts, {})

    assert [len(job.inputs) for job in jobs] == [41, 41, 18]


def test_inputs_that_travel_as_blobs_do_not_count() -> None:
    """What does not stay in the entry does not fill it."""
    inputs = [b"x" * 200_000, b"y" * 600_000, np.zeros((500, 500, 3), np.uint8)] * 20

    jobs = requests.list_jobs(ASKED, inputs, {})

    assert [len(job.inputs) for job in jobs] == [60]


@pytest.mark.parametrize("size", [BYTES_PER_JOB + 1, 10 * BYTES_PER_JOB])
def test_an_input_larger_than_a_job_may_be_has_one_of_its_own(size: int) -> None:
    """Where blobs begin late, a large input is alone, and whether it may travel is told by who sends it."""
    late = Asked("m", "op", {}, inline_bytes=size)

    jobs = requests.list_jobs(late, ["a", "x" * size, "b"], {})

    assert [len(job.inputs) for job in jobs] == [1, 1, 1]


def test_an_argument_that_calls_do_not_have_is_told() -> None:
    """As Python itself does; what there is is named."""
    wrong: Any = {"timeout": 3.0}
    with pytest.raises(TypeError, match="'timeout'; there is timeout_s, lane, job_id, keep_s"):
        requests.job(ASKED, ["a"], wrong)


def test_the_rows_of_several_jobs_come_in_the_order_of_the_call() -> None:
    """Chunking is not seen in the answer."""
    jobs = listed(2 * INPUTS_PER_JOB + 3)

    vectors = requests.vectors_of(jobs, numbered(jobs), on_error="raise")

    assert np.arange(2 * INPUTS_PER_JOB + 3).tolist() == vectors[:, 0].tolist()


def test_failed_inputs_raise_with_everything_that_succeeded() -> None:
    """A partial failure has the other vectors, NaN where one failed, and each failure under its place."""
    jobs = listed(INPUTS_PER_JOB + 2)
    first = np.zeros((INPUTS_PER_JOB, 2), np.float32)
    second = np.array([[1, 1], [np.nan, np.nan]], np.float32)

    with pytest.raises(PartialFailure, match=rf"1 of {INPUTS_PER_JOB + 2} inputs failed, the first at 257: empty") as e:
        requests.vectors_of(jobs, [embedded(first), embedded(second, 1)], on_error="raise")

    assert list(e.value.failed) == [INPUTS_PER_JOB + 1]
    assert isinstance(e.value.failed[INPUTS_PER_JOB + 1], InvalidInput)
    assert np.isnan(e.value.vectors).any(axis=1).nonzero()[0].tolist() == [INPUTS_PER_JOB + 1]


def test_failed_inputs_may_be_left_as_nan() -> None:
    """With `on_error="nan"` the rows that failed are NaN and nothing is raised."""
    vectors = np.array([[1, 1], [np.nan, np.nan]], np.float32)

    rows = requests.vectors_of(listed(2), [embedded(vectors, 1)], on_error="nan")

    assert np.isnan(rows).any(axis=1).tolist() == [False, True]


def test_the_last_chunk_may_be_one_text_that_fails() -> None:
    """A job of one failed input is answered with its error, which is the input's and not the call's."""
    jobs = listed(INPUTS_PER_JOB + 1)
    replies: list[Reply] = [
        embedded(np.ones((INPUTS_PER_JOB, 3), np.float32)),
        Failure("invalid_input", "the text is empty"),
    ]

    rows = requests.vectors_of(jobs, replies, on_error="nan")

    assert (rows.shape, np.isnan(rows[-1]).all()) == ((INPUTS_PER_JOB + 1, 3), True)


def test_an_error_of_the_whole_job_is_raised_as_it_is() -> None:
    """What is not the fault of single inputs is no partial failure."""
    with pytest.raises(ModelError, match="on fire"):
        requests.vectors_of(listed(2), [Failure("model_error", "on fire")], on_error="nan")


def test_one_text_has_one_vector_that_is_the_callers_own() -> None:
    """The vector of a single call may be written to: it is no view of a reply."""
    vector = requests.vector_of(embedded(np.ones((1, 4), np.float32)))
    vector += 1

    assert (vector.shape, vector.tolist()) == ((4,), [2, 2, 2, 2])


def test_a_result_without_vectors_is_the_models_fault() -> None:
    """The marker of a result that was not kept, say, is never taken for vectors that failed."""
    with pytest.raises(ModelError, match="no vectors"):
        requests.vectors_of(listed(2), [Success(None)], on_error="nan")
    with pytest.raises(ModelError, match="no vectors"):
        requests.vector_of(Success(None))


def test_a_result_is_returned_or_its_error_raised() -> None:
    """A reply becomes what the caller of a blocking function expects."""
    assert requests.result_of(Success({"a": 1})) == {"a": 1}
    assert requests.result_of(Success(None)) == {}
    with pytest.raises(ModelError):
        requests.result_of(Failure("model_error", "on fire"))


def test_looks_at_a_foreign_job_become_rarer_and_never_rare() -> None:
    """A job whose channel is somebody else's is looked for at growing pauses, at least twice a second."""
    pauses = list(itertools.islice(requests.looks(), 20))

    assert (sorted(pauses), pauses[-1]) == (pauses, 0.5)


@given(st.integers(0, 3 * INPUTS_PER_JOB))
def test_no_input_is_lost_by_chunking(count: int) -> None:
    """Whatever the length of a list, its jobs hold its texts, each once, in order."""
    texts = [str(index) for index in range(count)]

    jobs = requests.list_jobs(ASKED, texts, {}) if texts else []

    assert texts == [text for job in jobs for text in job.inputs]
    assert all(len(job.inputs) <= INPUTS_PER_JOB for job in jobs)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, True),
        ({"timeout_s": 1.0, "lane": "bulk", "cancel_abandoned": True}, True),
        ({"job_id": "j1"}, False),
        ({"keep_s": 60.0}, False),
        ({"sink": "s"}, False),
    ],
)
def test_a_reply_is_disposable_unless_others_may_ask_for_it(call: CallOptions, *, expected: bool) -> None:
    """An id, a life of the reply or a sink that a caller named is a promise; so is every id that `submit` returns."""
    long = [f"text {index}" for index in range(INPUTS_PER_JOB + 1)]

    jobs = [requests.job(ASKED, ["a"], call), *requests.list_jobs(ASKED, long, call)]

    assert [job.disposable for job in jobs] == [expected] * 3
    assert not requests.queued_job(Asked("m", "op", {}), ["a"], call).disposable
