"""What both clients promise those who call them."""

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from redis import Redis

from rpc import (
    Cancelled,
    Client,
    Expired,
    InvalidInput,
    JobLost,
    ModelError,
    PartialFailure,
    RpcError,
    Unavailable,
)
from rpc.consumer import REPLY_BYTES_TOLD, Consumer
from rpc.keys import LANES
from rpc.messages import Failure
from tests.answering import Answering, echo, job_of, read_one, reply_with, told
from tests.callers import Callers
from tests.conftest import MakeConsumer
from tests.servers import Server, free_port
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

HALF = "\ud800"
"""Half of a character, which has no bytes."""

NEVER_S = 600.0
"""A sweep that does not come while a test runs: what is answered then was told."""


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


def failure_of(call: "Future[Any]") -> BaseException | None:
    """Return the error a call ended with."""
    return call.exception(LONG_S)


def embedded(consumer: Consumer) -> None:
    """Answer the next job as an embedding model would: with the number in each text, or an error and NaN."""
    delivery = read_one(consumer)
    texts = list(job_of(delivery).inputs)
    vectors = np.array([[float(text) if text.isdigit() else np.nan] * 2 for text in texts], np.float32)
    failed = [
        {"index": index, "code": "invalid_input", "message": "no number"}
        for index, text in enumerate(texts)
        if not text.isdigit()
    ]
    consumer.settle([reply_with(delivery, {"vectors": vectors, "truncated": [False] * len(texts), "failed": failed})])


def test_a_call_returns_the_result_of_its_job(callers: Callers, consumer: Consumer) -> None:
    """Model, op, inputs and options reach the worker, and its result the caller."""
    call = callers.start(callers.make().call, "m", "op", ["a", b"\x00", 3], {"x": True}, lane="bulk", job_id="j1")

    delivery = read_one(consumer)
    job = job_of(delivery)
    consumer.settle([echo(delivery)])

    assert (job.op, job.options, job.lane, job.id) == ("op", {"x": True}, "bulk", "j1")
    assert call.result(LONG_S) == {"outputs": ["a", b"\x00", 3]}


@pytest.mark.parametrize(
    "error", [InvalidInput("empty"), ModelError("on fire"), Expired("too late")], ids=lambda error: error.code
)
def test_a_call_raises_the_error_of_its_job(callers: Callers, consumer: Consumer, error: RpcError) -> None:
    """An error reply is raised as its class with its text."""
    call = callers.start(callers.make().call, "m", "op", ["a"])

    consumer.settle([reply_with(read_one(consumer), Failure.of(error))])

    assert (type(error), str(error)) == (type(failure_of(call)), str(failure_of(call)))


def test_calls_that_wait_together_are_not_crossed(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """Sixty-four callers share one client and two connections, and each gets its own answer."""
    others = len(raw.client_list())
    caller = callers.make(sweep_s=NEVER_S)
    stream = consumer.keys.stream("interactive")

    calls = [callers.start(caller.call, "m", "op", [number], timeout_s=LONG_S) for number in range(64)]
    eventually(lambda: raw.xlen(stream) == 64)
    connections = len(raw.client_list()) - others
    with Answering(consumer):
        answers = [call.result(LONG_S)["outputs"] for call in calls]

    assert [[number] for number in range(64)] == answers
    assert connections <= 2


def test_two_models_jobs_of_one_id_are_not_crossed(callers: Callers, make_consumer: MakeConsumer) -> None:
    """Ids are each model's own: one client that waits for both gets each its own reply, whichever comes first."""
    ours, theirs = make_consumer(model="m"), make_consumer(model="n")
    caller = callers.make(sweep_s=NEVER_S)
    calls = [callers.start(caller.call, model, "op", [model], job_id="1", timeout_s=LONG_S) for model in ("m", "n")]
    first, second = read_one(ours), read_one(theirs)

    theirs.settle([echo(second)])
    assert calls[1].result(LONG_S) == {"outputs": ["n"]}
    ours.settle([echo(first)])
    assert calls[0].result(LONG_S) == {"outputs": ["m"]}


@pytest.mark.parametrize(
    ("method", "given"),
    [("call", ("m", HALF, ["a"])), ("result", ("m", HALF)), ("cancel", (HALF, "j1"))],
    ids=["op", "job id", "model"],
)
def test_what_no_key_or_field_can_hold_fails_its_own_call_alone(
    callers: Callers, consumer: Consumer, method: str, given: tuple[Any, ...]
) -> None:
    """By name and at once; the client serves others on, and later calls."""
    caller = callers.make()
    waiting = callers.start(caller.call, "m", "op", ["a"])

    with pytest.raises(RpcError, match="is not 1 to 128 of the characters"):
        getattr(caller, method)(*given)
    consumer.settle([echo(read_one(consumer))])
    assert waiting.result(LONG_S) == {"outputs": ["a"]}


def test_the_result_of_somebody_elses_job_can_be_waited_for(callers: Callers, consumer: Consumer) -> None:
    """Who knows the id gets the result, also when it comes only after the asking, and as often as asked."""
    submitter, asker = callers.make(), callers.make(sweep_s=NEVER_S)
    submitter.submit("m", "op", ["a"], job_id="j1")
    waiting = callers.start(asker.result, "m", "j1", timeout_s=LONG_S)

    consumer.settle([echo(read_one(consumer))])

    assert [waiting.result(LONG_S), asker.result("m", "j1", timeout_s=5.0)] == [{"outputs": ["a"]}] * 2


def test_two_who_wait_for_one_job_are_both_answered(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """The same id from two clients is one job and two answers."""
    calls = [
        callers.start(caller.call, "m", "op", ["a"], job_id="j1", timeout_s=LONG_S)
        for caller in (callers.make(sweep_s=0.1), callers.make(sweep_s=0.1))
    ]
    eventually(lambda: raw.exists(consumer.keys.job("j1")))

    consumer.settle([echo(read_one(consumer))])

    assert [call.result(LONG_S) for call in calls] == [{"outputs": ["a"]}] * 2
    assert consumer.read(LANES, 1, block_ms=0) == []


def test_a_wake_up_that_was_lost_is_made_up_for_by_the_sweep(callers: Callers, consumer: Consumer) -> None:
    """A reply whose announcement went elsewhere is found by looking."""
    call = callers.start(callers.make(sweep_s=0.1).call, "m", "op", ["a"])

    consumer.settle([echo(told(read_one(consumer), "nobody"))])

    assert call.result(LONG_S) == {"outputs": ["a"]}


def test_a_reply_too_large_to_be_told_along_is_fetched(callers: Callers, consumer: Consumer) -> None:
    """The size of a reply makes no difference to its caller."""
    text = "x" * (2 * REPLY_BYTES_TOLD)
    call = callers.start(callers.make(sweep_s=NEVER_S).call, "m", "op", [text])

    consumer.settle([echo(read_one(consumer))])

    assert call.result(LONG_S) == {"outputs": [text]}


def test_a_listener_that_was_cut_off_listens_again(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """A reply that came while nobody listened is found as soon as somebody does."""
    call = callers.start(callers.make(sweep_s=NEVER_S).call, "m", "op", ["a"])
    delivery = read_one(consumer)

    raw.client_kill_filter(_type="pubsub")
    consumer.settle([echo(delivery)])

    assert call.result(LONG_S) == {"outputs": ["a"]}


def test_a_connection_that_was_cut_is_opened_again(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """A client whose connections were all killed goes on as if nothing had happened."""
    caller = callers.make()
    with Answering(consumer):
        before = caller.call("m", "op", ["before"], timeout_s=LONG_S)
    raw.client_kill_filter(_type="normal", skipme=True)
    raw.client_kill_filter(_type="pubsub")

    with pytest.raises(Unavailable):
        consumer.server_ms()
    with Answering(consumer):
        after = caller.call("m", "op", ["after"], timeout_s=LONG_S)

    assert [before, after] == [{"outputs": ["before"]}, {"outputs": ["after"]}]


def test_scripts_the_server_has_forgotten_are_loaded_again(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """`SCRIPT FLUSH`, or a restart, is not noticed by callers or workers."""
    caller = callers.make()
    answers = []
    for number in range(3):
        raw.script_flush()
        call = callers.start(caller.call, "m", "op", [number], timeout_s=LONG_S)
        delivery = read_one(consumer)
        raw.script_flush()
        consumer.settle([echo(delivery)])
        answers.append(call.result(LONG_S))

    assert answers == [{"outputs": [0]}, {"outputs": [1]}, {"outputs": [2]}]


def test_a_cancelled_job_is_answered_at_once(callers: Callers, consumer: Consumer) -> None:
    """Whoever waits for a job that somebody cancels is told, without a worker and without a sweep."""
    caller = callers.make(sweep_s=NEVER_S)
    call = callers.start(caller.call, "m", "op", ["a"], job_id="j1", timeout_s=LONG_S)
    read_one(consumer)

    assert callers.make().cancel("m", "j1") == "cancelled"
    assert isinstance(failure_of(call), Cancelled)


def test_cancelling_says_what_came_of_it(callers: Callers, consumer: Consumer) -> None:
    """A job can be cancelled once, not after its end, and not if there is none."""
    caller = callers.make()
    for name in ("waiting", "done"):
        caller.submit("m", "op", [name], job_id=name, lane="bulk" if name == "waiting" else "interactive")
    consumer.settle([echo(read_one(consumer, ["interactive"]))])

    outcomes = [caller.cancel("m", name) for name in ("waiting", "waiting", "done", "never")]

    assert outcomes == ["cancelled", "finished", "finished", "unknown"]


def test_a_worker_that_finishes_a_cancelled_job_changes_nothing(callers: Callers, consumer: Consumer) -> None:
    """Cancelled stays cancelled, and the job leaves its lane."""
    caller = callers.make()
    caller.submit("m", "op", ["a"], job_id="j1")
    delivery = read_one(consumer)
    caller.cancel("m", "j1")
    consumer.settle([echo(delivery)])

    with pytest.raises(Cancelled):
        caller.result("m", "j1", timeout_s=5.0)


def test_a_job_redis_has_lost_is_told_to_its_caller(callers: Callers, consumer: Consumer, raw: "Redis") -> None:
    """When Redis has neither job nor reply, who waits by its id is told, and does not wait for its timeout."""
    caller = callers.make(sweep_s=0.1)
    call = callers.start(caller.result, "m", caller.submit("m", "op", ["a"]), timeout_s=LONG_S)
    read_one(consumer)

    raw.delete(*raw.scan_iter(match=f"{callers.settings.prefix}:*"))

    assert isinstance(failure_of(call), JobLost)


def test_the_result_of_a_job_nobody_knows_is_lost(callers: Callers) -> None:
    """Asking for what was never submitted, or has expired, ends with a verdict."""
    with pytest.raises(JobLost):
        callers.make(sweep_s=0.05).result("m", "never", timeout_s=LONG_S)


def test_closing_a_client_ends_its_calls(callers: Callers, consumer: Consumer) -> None:
    """Nobody waits on a client that is closed."""
    caller = callers.make()
    calls = [callers.start(caller.call, "m", "op", [number], timeout_s=LONG_S) for number in range(3)]
    for _ in calls:
        read_one(consumer)

    caller.close()

    assert [type(failure_of(call)) for call in calls] == [Unavailable] * 3


def test_a_client_may_be_closed_unused_and_twice(callers: Callers) -> None:
    """Closing what was never opened is no error."""
    caller = callers.make()
    caller.close()
    caller.close()


def test_without_a_server_a_call_fails_within_its_time(callers: Callers) -> None:
    """A Redis that is not there is `Unavailable`, with its address and without its password."""
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    settings = callers.settings.from_env({}, url=url, connect_timeout_s=0.2)

    with pytest.raises(Unavailable, match=r"Redis at redis://user:\*\*\*@127\.0\.0\.1") as failed:
        callers.make(settings).call("m", "op", ["a"], timeout_s=0.3)

    assert "secret" not in str(failed.value)


def test_one_text_has_one_vector(callers: Callers, consumer: Consumer) -> None:
    """`embed_text` asks for a normalised vector unless told otherwise and returns it as float32 (d,)."""
    caller = callers.make()
    call = callers.start(caller.embed_text, "7", model="m", normalize=False)
    delivery = read_one(consumer)
    vectors = np.array([[7, 7]], np.float32)
    consumer.settle([reply_with(delivery, {"vectors": vectors, "truncated": [False], "failed": []})])

    assert (job_of(delivery).op, job_of(delivery).options) == ("embed_text", {"normalize": False})
    assert (call.result(LONG_S).dtype, call.result(LONG_S).tolist()) == (np.float32, [7, 7])


def test_the_rows_of_a_long_list_come_in_its_order(callers: Callers, consumer: Consumer) -> None:
    """A list of several jobs, answered in any order, is one matrix."""
    call = callers.start(callers.make().embed_texts, [str(number) for number in range(600)], model="m")
    deliveries = [read_one(consumer) for _ in range(3)]
    for delivery in reversed(deliveries):
        numbers = np.array([[float(text)] for text in job_of(delivery).inputs], np.float32)
        consumer.settle([reply_with(delivery, {"vectors": numbers, "truncated": [], "failed": []})])

    assert list(range(600)) == call.result(LONG_S)[:, 0].tolist()


def test_texts_that_failed_are_told_or_left_as_nan(callers: Callers, consumer: Consumer) -> None:
    """Those that succeeded are never lost, whichever way the others are told."""
    caller = callers.make()
    strict = callers.start(caller.embed_texts, ["1", "x"], model="m")
    embedded(consumer)
    lenient = callers.start(caller.embed_texts, ["1", "x"], model="m", on_error="nan")
    embedded(consumer)

    partial = failure_of(strict)
    assert isinstance(partial, PartialFailure)
    assert (partial.vectors[0].tolist(), list(partial.failed)) == ([1, 1], [1])
    assert np.isnan(lenient.result(LONG_S)).any(axis=1).tolist() == [False, True]


def test_an_empty_list_has_no_vectors(callers: Callers) -> None:
    """Nothing asked for is nothing sent and nothing returned, and no error."""
    assert callers.make().embed_texts([], model="m").shape[0] == 0


def test_a_text_in_place_of_a_list_is_refused_at_once(callers: Callers) -> None:
    """A wrong type is told where the caller's code is, without a worker."""
    texts: Any = "one text"
    with pytest.raises(InvalidInput):
        callers.make().embed_texts(texts, model="m")


@pytest.mark.parametrize("texts", [[3], [b"a"], [None]])
def test_a_list_without_any_text_is_refused_at_once_by_index(callers: Callers, texts: Any) -> None:
    """What is no text fails alone and by its index; nothing is sent where nothing else is in the list."""
    with pytest.raises(PartialFailure, match="the first at 0"):
        callers.make().embed_texts(texts, model="m")


def test_the_client_finds_redis_by_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Client()` uses `REDIS_URL`; a URL given goes before it."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with Client(server.url) as given:
        assert given.cancel("m", "never") == "unknown"
    monkeypatch.setenv("REDIS_URL", server.url)
    with Client() as found:
        assert found.cancel("m", "never") == "unknown"
