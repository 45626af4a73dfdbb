"""The errors users see, and how they cross the wire."""

import pytest

import rpc
from rpc.errors import BY_CODE, ModelError, RpcError, from_code
from rpc.messages import Failure

CODES = {
    "InvalidInput": "invalid_input",
    "UnknownModel": "unknown_model",
    "QueueFull": "queue_full",
    "Timeout": "timeout",
    "Expired": "expired",
    "Cancelled": "cancelled",
    "ModelError": "model_error",
    "DeadLettered": "dead_lettered",
    "JobLost": "job_lost",
    "Unavailable": "unavailable",
}


def test_the_codes_are_the_contract() -> None:
    """A code that callers branch on keeps its spelling and its class."""
    assert {kind.__name__: code for code, kind in BY_CODE.items()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_every_error_is_public(name: str) -> None:
    """Whoever catches an error imports it from `rpc`."""
    assert issubclass(getattr(rpc, name), rpc.RpcError)
    assert name in rpc.__all__


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=lambda kind: kind.code)
def test_an_error_reply_raises_the_class_it_was_made_of(kind: type[RpcError]) -> None:
    """An error keeps class, text and whether it may be retried on its way over the wire."""
    failure = Failure.of(kind("what happened"))

    error = failure.error()

    assert (kind, "what happened", kind.retryable) == (type(error), str(error), failure.retryable)


def test_the_code_of_a_newer_version_is_not_hidden() -> None:
    """A code this version does not know becomes a `ModelError` that names it."""
    error = from_code("too_hot", "cool it")

    assert (ModelError, "too_hot: cool it") == (type(error), str(error))


def test_who_has_to_act_is_told() -> None:
    """Callers are blamed for what they sent and did, nobody for time that passed, servers for the rest."""
    blamed = {kind.__name__: kind.fault for kind in BY_CODE.values() if kind.fault != "server"}

    assert blamed == {
        "InvalidInput": "caller",
        "UnknownModel": "caller",
        "Cancelled": "caller",
        "Timeout": "nobody",
        "Expired": "nobody",
    }


def test_what_may_be_sent_again_is_told() -> None:
    """Only errors that the same job may escape next time are retryable."""
    again = {kind.__name__ for kind in BY_CODE.values() if kind.retryable}

    assert again == {"QueueFull", "Timeout", "Expired", "JobLost", "Unavailable"}


def test_errors_carry_what_the_caller_needs_next() -> None:
    """A full queue says when to come back, a timeout which job goes on, a partial failure what there is."""
    partial = rpc.PartialFailure("1 of 2", vectors=[1.0], failed={1: rpc.InvalidInput("empty")})

    assert rpc.QueueFull("full").retry_after_s > 0
    assert rpc.Timeout("late", job_id="j1").job_id == "j1"
    assert (partial.vectors, list(partial.failed)) == ([1.0], [1])
