"""The pure part of the worker's verbs."""

from hypothesis import given
from hypothesis import strategies as st

from rpc.consumer import REPLY_BYTES_TOGETHER, SETTLED_TOGETHER, _chunks
from rpc.deliveries import Delivery, Settlement
from rpc.entries import Malformed
from rpc.messages import Job


def settlement(number: int, size: int) -> Settlement:
    """Return the end of a job with a reply of that size."""
    job = Job("m", "op", [1], id=f"j{number}")
    return Settlement(Delivery(f"{number}-0", "bulk", 1, job, ()), b"x" * size, 1)


@given(st.lists(st.sampled_from([0, 1, 1000, REPLY_BYTES_TOGETHER // 3, REPLY_BYTES_TOGETHER + 1]), max_size=200))
def test_replies_settled_together_hold_the_server_up_for_a_bounded_time(sizes: list[int]) -> None:
    """No script call carries too many replies or too many bytes, none is lost, and a giant goes alone."""
    settlements = [settlement(number, size) for number, size in enumerate(sizes)]

    chunks = _chunks(settlements)

    assert settlements == [item for chunk in chunks for item in chunk]
    for chunk in chunks:
        size = sum(len(item.reply) for item in chunk)
        assert 0 < len(chunk) <= SETTLED_TOGETHER
        assert size <= REPLY_BYTES_TOGETHER or len(chunk) == 1


def test_an_entry_tells_when_it_was_submitted_and_whom_to_answer() -> None:
    """Age is read off the entry id; an entry that is no job may still say whom to answer."""
    job = Delivery("1700000000123-4", "bulk", 1, Job("m", "op", [1], id="j1"), ())
    garbage = Malformed("no job", job_id=None, reply="", encoding="msgpack")

    assert (job.submitted_ms, job.job_id, job.suspect) == (1_700_000_000_123, "j1", False)
    assert (Delivery("1-0", "bulk", 2, garbage, ()).job_id, Delivery("1-0", "bulk", 2, garbage, ()).suspect) == (
        None,
        True,
    )
