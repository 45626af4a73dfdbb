"""The book of replies a client waits for."""

import contextlib
from typing import Any

import pytest

from rpc.calls import Call, Command
from rpc.codec import encode_reply
from rpc.errors import JobLost
from rpc.messages import Failure, Reply, Success
from rpc.scripts import SCRIPTS
from rpc.waits import Waits, WakeUp

NAME = ("m", "j1")
GONE = b"9-9"
REPLY = Success({"outputs": [1]})


def carry_out(call: Call[Any], keys: dict[str, bytes]) -> Any:
    """Return the answer of a conversation with a server that holds these keys; the entry `GONE` is not there."""
    replies: Any = None
    while True:
        try:
            commands = call.send(replies)
        except StopIteration as done:
            return done.value
        replies = [_answer(command, keys) for command in commands]


def _answer(command: Command, keys: dict[str, bytes]) -> list[Any]:
    if command[0] == "MGET":
        return [keys.get(name) for name in command[1:]]
    assert command[:2] == ("EVALSHA", SCRIPTS["lost"].sha)
    names = command[5 : 3 + command[2]]
    asked = zip(names[::2], names[1::2], strict=True)
    return [int(result not in keys and keys.get(job, GONE) == GONE) for result, job in asked]


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

    answers = waits.hear(WakeUp("j1", encode_reply(REPLY, model="m")))

    assert (answers, len(waits)) == ([("first", REPLY), ("second", REPLY)], 0)
    assert waits.hear(WakeUp("j1", encode_reply(REPLY, model="m"))) == []


def test_a_reply_that_comes_along_answers_only_its_own_models_job() -> None:
    """Ids are each model's own: who waits for a job of the same id of another model is not answered by it."""
    waits = waiting("ours")
    waits.add(("other", "j1"), "theirs", now=0.0)

    assert waits.hear(WakeUp("j1", encode_reply(REPLY, model="other"))) == [("theirs", REPLY)]
    assert waits.hear(WakeUp("j1", encode_reply(REPLY, model="other"))) == []
    assert waits.handles() == ["ours"]


@pytest.mark.parametrize("reply", [None, encode_reply(REPLY), b"rubbish"], ids=["none", "of no model", "unreadable"])
def test_a_reply_that_does_not_say_whose_it_is_has_to_be_fetched(reply: bytes | None) -> None:
    """A worker of an older version, or whoever else publishes here, can only hurry the reading of the result key."""
    waits = waiting("only")

    assert waits.hear(WakeUp("j1", reply)) is None
    assert waits.handles() == ["only"]


def test_a_wake_up_names_those_who_wait_for_its_id() -> None:
    """An id alone says what is to be fetched, and nothing of what somebody else waits for."""
    assert waiting("only").named(["j1", "somebody-elses"]) == [NAME]


def test_a_reply_nobody_can_read_is_an_error_and_no_crash() -> None:
    """A garbled reply fails the call that waits for it, and that one alone."""
    waits = waiting("only")
    ((_, reply),) = carry_out(waits.collect("p", [NAME]), {"p:{m}:result:j1": b"\xc1"})

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

    assert waits.hear(WakeUp("j1", encode_reply(REPLY, model="m"))) == [("patient", REPLY)]


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


def test_a_job_whose_entry_is_gone_is_lost_although_its_id_is_known() -> None:
    """What an operator deleted is not waited for until the caller's time is up."""
    waits = waiting("only")
    job = {"p:{m}:job:j1": GONE}

    first = carry_out(waits.sweep("p", now=10.0, quiet_s=2.0), job)
    # the search has forgotten the id
    ((handle, reply),) = carry_out(waits.sweep("p", now=12.0, quiet_s=2.0), {})

    assert (first, handle, isinstance(reply.error(), JobLost)) == ([], "only", True)


def test_entries_are_looked_for_ever_more_rarely() -> None:
    """A search reads entries as a whole: a job that runs for an hour is searched for about ten times."""
    waits = waiting("only")
    searches = 0
    for now in range(0, 3600, 2):
        call = waits.sweep("p", now=float(now), quiet_s=2.0)
        replies: Any = None
        with contextlib.suppress(StopIteration):
            while True:
                commands = call.send(replies)
                searches += commands[0][0] == "EVALSHA"
                replies = [_answer(command, {"p:{m}:job:j1": b"1-0"}) for command in commands]

    assert 5 <= searches <= 12


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
