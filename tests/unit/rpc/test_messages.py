"""Jobs and replies as values."""

from typing import Any

import pytest

from rpc.errors import Expired, InvalidInput, RpcError, UnknownModel
from rpc.messages import HOUR_MS, MOST_TOLD, MOST_URL_CHARS, Failure, Job, Reference, new_job_id


def test_a_job_needs_only_model_op_and_inputs() -> None:
    """What is left out is what the protocol says: an hour to start, an hour to keep, the interactive lane."""
    job = Job("echo", "echo", ["a"])

    assert (job.ttl_ms, job.keep_ms, job.lane, job.reply, job.encoding) == (
        HOUR_MS,
        HOUR_MS,
        "interactive",
        "",
        "msgpack",
    )


def test_ids_are_made_up_and_never_twice() -> None:
    """A thousand jobs have a thousand ids."""
    assert len({Job("m", "op", [1]).id for _ in range(500)} | {new_job_id() for _ in range(500)}) == 1000


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"model": "a:b"}, UnknownModel), ({"id": "a b"}, InvalidInput), ({"lane": "express"}, InvalidInput)],
    ids=["model", "id", "lane"],
)
def test_a_job_with_a_name_no_key_can_be_made_of_does_not_exist(wrong: dict[str, Any], error: type[RpcError]) -> None:
    """Malformed names are refused where the job is made, before anything is sent."""
    with pytest.raises(error):
        Job(**{"model": "m", "op": "op", "inputs": [1], **wrong})


def test_a_failure_is_what_the_wire_says_of_an_error() -> None:
    """Code, text and retryability are taken from the error."""
    assert Failure("expired", "too late", retryable=True) == Failure.of(Expired("too late"))


def test_a_failure_is_told_in_few_words() -> None:
    """What is said of an error may be the caller's own words, but not by the megabyte."""
    assert Failure.of(InvalidInput("x" * 10**6)).message == "x" * MOST_TOLD


@pytest.mark.parametrize(
    "wrong", [None, 3, b"file:a", "", "file:" + "a" * MOST_URL_CHARS], ids=lambda wrong: str(wrong)[:10]
)
def test_a_reference_is_a_url_of_bearable_length(wrong: Any) -> None:
    """Anything else is refused where it is made."""
    with pytest.raises(InvalidInput, match="a reference"):
        Reference(wrong)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("file:talks/a b.wav", "file:talks/a b.wav"),
        ("s3://videos/me@home.wav", "s3://videos/me@home.wav"),
        ("https://h:9000/a?X-Signature=hidden@x", "https://h:9000/a"),
        ("https://h/a#hidden", "https://h/a"),
        ("s3://me:hidden@videos/a", "s3://***@videos/a"),
        ("s3://hidden@videos/a", "s3://***@videos/a"),
        ("s3://me:hid/den@videos/a", "s3://***@videos/a"),
        ("simplecache::s3://me:hidden@videos/a", "simplecache::s3://***@videos/a"),
        ("file:" + "a" * 500, "file:" + "a" * 195 + "..."),
    ],
)
def test_a_reference_shows_no_secrets(url: str, shown: str) -> None:
    """Neither query nor user and password, and not without end; what travels is whole."""
    reference = Reference(url)

    assert (shown, f"Reference({shown!r})", url) == (str(reference), repr(reference), reference.url)
