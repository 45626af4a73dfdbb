"""The book of replies a client waits for."""

from typing import Any

import pytest

from rpc.calls import Call
from rpc.codec import encode_reply
from rpc.errors import JobLost
from rpc.messages import Failure, Reply, Success
from rpc.waits import Waits, WakeUp

NAME = ("m", "j1")
REPLY = Success({"outputs": [1]})


def carry_out(call: Call[Any], keys: dict[str, bytes]) -> Any:
    """Return the answer of a conversation with a server that holds these keys and knows MGET alone."""
    replies: Any = None
    while True:
        try:
            commands = call.send(replies)
        except StopIteration as done:
            return done.value
        replies = [[keys.get(name) for name in command[1:]] for command in commands if command[0] == "MGET"]


def waiting(*handles: str, name: tuple[str, str] = NAME, now: float = 0.0) -> Waits[str]:
    """Return a book in which these handles wait for one job."""
    waits: Waits[str] = Waits()
    for handle in handles:
        waits.add(name, handle, now=now)
    return waits


def stored(model: str, job_id: str, reply: Reply = REPLY) -> dict[str, bytes]:
    """Return what a server holds that has the reply to a job."""
    return {f"p:{{{model}}}:result:{job_id}": encode_reply(reply)}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"a", WakeUp("a", None)),
        (b"a\n\x81\xa1v\x0a", WakeUp("a", b"\x81\xa1v\x0a")),
        (b"", WakeUp("", None)),
        (b"\xff\xfe", WakeUp("\ufffd\ufffd", None)),
    ],
    ids=["an id", "with its reply", "empty", "garbage"],
)
def test_what_a_channel_says_is_read(message: bytes, expected: WakeUp) -> None:
    """A wake-up names an id, and may bring its reply; nobody can break a client by publishing to it."""
    assert expected == WakeUp.of(message)


def test_a_reply_that_comes_along_answers_all_who_wait_for_it_once() -> None:
    """Two who wait for the same job both get its reply, and then nobody waits."""
    waits = waiting("first", "second")

    answers = waits.hear(WakeUp("j1", encode_reply(REPLY)))

    assert (answers, len(waits)) == ([("first", REPLY), ("second", REPLY)], 0)
    assert waits.hear(WakeUp("j1", encode_reply(REPLY))) == []


def test_a_wake_up_without_a_reply_answers_nobody_yet() -> None:
    """An id alone only hurries the reading of the result key."""
    waits = waiting("only")

    assert waits.hear(WakeUp("j1", None)) == []
    assert waits.named(["j1", "somebody-elses"]) == [NAME]


def test_a_reply_nobody_can_read_is_an_error_and_no_crash() -> None:
    """A garbled reply fails the call that waits for it, and that one alone."""
    ((_, reply),) = waiting("only").hear(WakeUp("j1", b"\xc1"))

    assert isinstance(reply, Failure)
    assert reply.code == "model_error"


def test_collecting_answers_what_is_there_and_leaves_the_rest() -> None:
    """Only those whose reply is stored stop waiting."""
    waits = waiting("there")
    waits.add(("m", "j2"), "not yet", now=0.0)
    waits.add(("n", "j1"), "same id, other model", now=0.0)

    answers = carry_out(waits.collect("p", waits.everything()), stored("m", "j1"))

    assert ([("there", REPLY)], {("m", "j2"), ("n", "j1")}) == (answers, set(waits.everything()))


def test_who_stops_waiting_is_forgotten_and_the_others_are_not() -> None:
    """A caller that gives up does not take the reply from another who waits for the same job."""
    waits = waiting("patient", "impatient")

    waits.remove(NAME, "impatient")
    waits.remove(NAME, "impatient")
    waits.remove(("m", "never"), "nobody")

    assert waits.hear(WakeUp("j1", encode_reply(REPLY))) == [("patient", REPLY)]


def test_nothing_is_left_behind_when_nobody_waits() -> None:
    """A book whose callers all gave up holds no memory of them."""
    waits = waiting("only")
    waits.remove(NAME, "only")

    assert (len(waits), waits.everything(), waits.handles(), waits.named(["j1"])) == (0, [], [], [])


def test_a_sweep_looks_only_at_what_has_been_quiet() -> None:
    """A wait begun just now is not asked for again."""
    waits = waiting("old")
    waits.add(("m", "j2"), "new", now=9.0)

    answers = carry_out(waits.sweep("p", now=10.0, quiet_s=2.0), stored("m", "j1") | stored("m", "j2"))

    assert answers == [("old", REPLY)]


def test_a_job_is_lost_when_two_sweeps_in_a_row_find_nothing_of_it() -> None:
    """One look may fall between a job's end and its reply; the second one is a verdict."""
    waits = waiting("only")

    first = carry_out(waits.sweep("p", now=10.0, quiet_s=2.0), {})
    ((handle, reply),) = carry_out(waits.sweep("p", now=20.0, quiet_s=2.0), {})

    assert (first, handle, isinstance(reply.error(), JobLost)) == ([], "only", True)


def test_a_job_seen_in_between_is_not_lost() -> None:
    """Two misses count only if nothing was found between them."""
    waits = waiting("only")
    nothing: dict[str, bytes] = {}
    job = {"p:{m}:job:j1": b"1-0"}

    answers = [
        carry_out(waits.sweep("p", now=10.0 * turn, quiet_s=2.0), keys)
        for turn, keys in enumerate([nothing, job, nothing, job], start=1)
    ]

    assert answers == [[], [], [], []]


def test_a_job_that_is_queued_or_answered_is_never_lost() -> None:
    """As long as Redis knows the job, callers wait."""
    waits = waiting("only")
    job = {"p:{m}:job:j1": b"1-0"}

    answers = [carry_out(waits.sweep("p", now=10.0 * turn, quiet_s=2.0), job) for turn in range(1, 5)]

    assert answers == [[], [], [], []]
