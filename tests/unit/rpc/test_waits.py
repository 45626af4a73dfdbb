"""The book of replies a client waits for."""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pytest

from rpc.calls import PIECE_BYTES, Call, Command
from rpc.codec import encode_reply
from rpc.errors import JobLost, RpcError
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


def _answer(command: Command, keys: dict[str, bytes]) -> Any:
    if command[0] == "STRLEN":
        return len(keys.get(command[1], b""))
    if command[0] == "GETRANGE":
        return keys.get(command[1], b"")[command[2] : command[3] + 1]
    assert command[:2] == ("EVALSHA", SCRIPTS["lost"].sha)
    names = command[5 : 3 + command[2]]
    asked = zip(names[::2], names[1::2], strict=True)
    return [int(result not in keys and keys.get(job, GONE) == GONE) for result, job in asked]


class Book(Waits[str]):
    """A book that notes whom it answers, in turn."""

    def __init__(self) -> None:
        self._answers: list[tuple[str, Reply]] = []
        super().__init__(lambda handle, reply: self._answers.append((handle, reply)))

    def take(self) -> list[tuple[str, Reply]]:
        """Return who was answered since this was last called."""
        answers, self._answers[:] = list(self._answers), []
        return answers


def waiting(*handles: str, name: tuple[str, str] = NAME, now: float = 0.0) -> Book:
    """Return a book in which these handles wait for one job."""
    waits = Book()
    for handle in handles:
        waits.add(name, handle, now=now)
    return waits


def swept(waits: Book, keys: dict[str, bytes], *, now: float) -> list[tuple[str, Reply]]:
    """Return who is answered by a sweep."""
    carry_out(waits.sweep("p", now=now, quiet_s=2.0), keys)
    return waits.take()


def rounds_of(call: Call[Any], keys: dict[str, bytes]) -> Iterator[Sequence[Command]]:
    """Yield the rounds of a conversation, each before its replies are sent back."""
    replies: Any = None
    with contextlib.suppress(StopIteration):
        while True:
            commands = call.send(replies)
            yield commands
            replies = [_answer(command, keys) for command in commands]


def result_error(reply: Reply) -> Exception | None:
    """Return the error of a reply that is one."""
    return reply.error() if isinstance(reply, Failure) else None


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

    settled = waits.hear(WakeUp("j1", encode_reply(REPLY, model="m")))

    assert (settled, waits.take(), len(waits)) == (True, [("first", REPLY), ("second", REPLY)], 0)
    assert waits.hear(WakeUp("j1", encode_reply(REPLY, model="m"))) is True
    assert waits.take() == []


def test_a_reply_that_comes_along_answers_only_its_own_models_job() -> None:
    """Ids are each model's own: who waits for a job of the same id of another model is not answered by it."""
    waits = waiting("ours")
    waits.add(("other", "j1"), "theirs", now=0.0)

    answered = [waits.hear(WakeUp("j1", encode_reply(REPLY, model="other"))) for _ in range(2)]

    assert (answered, waits.take(), waits.handles()) == ([True, True], [("theirs", REPLY)], ["ours"])


@pytest.mark.parametrize("reply", [None, encode_reply(REPLY), b"rubbish"], ids=["none", "of no model", "unreadable"])
def test_a_reply_that_does_not_say_whose_it_is_has_to_be_fetched(reply: bytes | None) -> None:
    """A worker of an older version, or whoever else publishes here, can only hurry the reading of the result key."""
    waits = waiting("only")

    assert waits.hear(WakeUp("j1", reply)) is False
    assert waits.handles() == ["only"]


def test_a_wake_up_names_those_who_wait_for_its_id() -> None:
    """An id alone says what is to be fetched, and nothing of what somebody else waits for."""
    assert waiting("only").named(["j1", "somebody-elses"]) == [NAME]


def test_a_reply_nobody_can_read_is_an_error_and_no_crash() -> None:
    """A garbled reply fails the call that waits for it, and that one alone."""
    waits = waiting("only")
    carry_out(waits.collect("p", [NAME]), {"p:{m}:result:j1": b"\xc1"})
    ((_, reply),) = waits.take()

    assert isinstance(reply, Failure)
    assert reply.code == "model_error"


def test_collecting_answers_what_is_there_and_leaves_the_rest() -> None:
    """Only those whose reply is stored stop waiting."""
    waits = waiting("there")
    waits.add(("m", "j2"), "not yet", now=0.0)
    waits.add(("n", "j1"), "same id, other model", now=0.0)

    carry_out(waits.catch_up("p"), stored("m", "j1"))

    assert ([("there", REPLY)], {("m", "j2"), ("n", "j1")}) == (waits.take(), set(waits.everything()))


def test_who_stops_waiting_is_forgotten_and_the_others_are_not() -> None:
    """A caller that gives up does not take the reply from another who waits for the same job."""
    waits = waiting("patient", "impatient")

    waits.remove(NAME, "impatient")
    waits.remove(NAME, "impatient")
    waits.remove(("m", "never"), "nobody")

    waits.hear(WakeUp("j1", encode_reply(REPLY, model="m")))
    assert waits.take() == [("patient", REPLY)]


def test_nothing_is_left_behind_when_nobody_waits() -> None:
    """A book whose callers all gave up holds no memory of them."""
    waits = waiting("only")
    waits.remove(NAME, "only")

    assert (len(waits), waits.everything(), waits.handles(), waits.named(["j1"])) == (0, [], [], [])


def test_a_sweep_looks_only_at_what_has_been_quiet() -> None:
    """A wait begun just now is not asked for again."""
    waits = waiting("old")
    waits.add(("m", "j2"), "new", now=9.0)

    assert swept(waits, stored("m", "j1") | stored("m", "j2"), now=10.0) == [("old", REPLY)]


def test_a_job_is_lost_when_two_sweeps_in_a_row_find_nothing_of_it() -> None:
    """One look may fall between a job's end and its reply; the second one is a verdict."""
    waits = waiting("only")

    first = swept(waits, {}, now=10.0)
    ((handle, reply),) = swept(waits, {}, now=20.0)

    assert (first, handle, isinstance(result_error(reply), JobLost)) == ([], "only", True)


def test_a_job_whose_entry_is_gone_is_lost_although_its_id_is_known() -> None:
    """What an operator deleted is not waited for until the caller's time is up."""
    waits = waiting("only")
    job = {"p:{m}:job:j1": GONE}

    first = swept(waits, job, now=10.0)
    # the search has forgotten the id
    ((handle, reply),) = swept(waits, {}, now=12.0)

    assert (first, handle, isinstance(result_error(reply), JobLost)) == ([], "only", True)


def test_entries_are_looked_for_ever_more_rarely() -> None:
    """A search reads entries as a whole: a job that runs for an hour is searched for about ten times."""
    waits = waiting("only")
    searches = 0
    for now in range(0, 3600, 2):
        sweep = waits.sweep("p", now=float(now), quiet_s=2.0)
        rounds = rounds_of(sweep, {"p:{m}:job:j1": b"1-0"})
        searches += sum(commands[0][0] == "EVALSHA" for commands in rounds)

    assert 5 <= searches <= 12


def test_a_job_seen_in_between_is_not_lost() -> None:
    """Two misses count only if nothing was found between them."""
    waits = waiting("only")
    nothing: dict[str, bytes] = {}
    job = {"p:{m}:job:j1": b"1-0"}

    answers = [swept(waits, keys, now=10.0 * turn) for turn, keys in enumerate([nothing, job, nothing, job], start=1)]

    assert answers == [[], [], [], []]


def test_a_job_that_is_queued_or_answered_is_never_lost() -> None:
    """As long as Redis knows the job, callers wait."""
    waits = waiting("only")
    job = {"p:{m}:job:j1": b"1-0"}

    answers = [swept(waits, job, now=10.0 * turn) for turn in range(1, 5)]

    assert answers == [[], [], [], []]


LARGE = Success({"outputs": ["x" * 20 * PIECE_BYTES]})


@pytest.mark.parametrize("cut", range(8))
def test_a_conversation_cut_between_any_two_rounds_keeps_what_had_arrived(cut: int) -> None:
    """A sweep that is dropped after any of its rounds has answered whom it could, and the next one answers the rest."""
    waits = waiting("small")
    waits.add(("m", "large"), "large", now=0.0)
    waits.add(("m", "running"), "running", now=0.0)
    keys = {**stored("m", "j1"), **stored("m", "large", LARGE), "p:{m}:job:running": b"1-0"}

    for _ in islice(rounds_of(waits.sweep("p", now=10.0, quiet_s=2.0), keys), cut):
        pass
    first = waits.take()
    assert len(waits) == 3 - len(first)
    carry_out(waits.catch_up("p"), keys)

    assert dict([*first, *waits.take()]) == {"small": REPLY, "large": LARGE}


def test_an_interrupted_answer_is_given_again() -> None:
    """Somebody stopped in the middle of answering several who wait for one job takes no answer from the others."""
    answers: list[str] = []

    def put(handle: str, _: Reply) -> None:
        if handle == "second" and "second" not in answers:
            answers.append(handle)
            raise KeyboardInterrupt
        answers.append(handle)

    waits: Waits[str] = Waits(put)
    for handle in ("first", "second", "third"):
        waits.add(NAME, handle, now=0.0)
    with pytest.raises(KeyboardInterrupt):
        waits.settle(NAME, REPLY)
    waits.settle(NAME, REPLY)

    assert ({"first", "second", "third"}, 0) == (set(answers), len(waits))


@pytest.mark.parametrize("size", [1, PIECE_BYTES, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1, 70 * PIECE_BYTES])
def test_a_reply_of_any_size_is_read_whole_in_bounded_pieces(size: int) -> None:
    """No command reads more than a piece, and the pieces of a reply make up the reply."""
    waits = waiting("only")
    reply = Success({"outputs": ["x" * size]})
    keys = stored("m", "j1", reply)

    commands = [each for commands in rounds_of(waits.collect("p", [NAME]), keys) for each in commands]

    assert waits.take() == [("only", reply)]
    assert all(last - first < PIECE_BYTES for command, _, first, last in (c for c in commands if len(c) == 4))


def test_a_reply_that_is_replaced_while_it_is_read_is_read_again() -> None:
    """Pieces of two replies are never put together."""
    waits = waiting("only")
    keys = stored("m", "j1", LARGE)

    for turn, _ in enumerate(rounds_of(waits.collect("p", [NAME]), keys)):
        if turn == 1:
            keys.update(stored("m", "j1", REPLY))
    assert (waits.take(), len(waits)) == ([], 1)
    carry_out(waits.collect("p", [NAME]), keys)

    assert waits.take() == [("only", REPLY)]


def test_a_key_of_another_type_fails_its_own_wait_alone() -> None:
    """An operator's list under a result key is an error for that job, and the other replies are read."""
    waits = waiting("broken")
    waits.add(("m", "j2"), "whole", now=0.0)
    keys = stored("m", "j2")
    call = waits.collect("p", [NAME, ("m", "j2")])
    refused = RpcError("WRONGTYPE")

    commands = call.send(None)
    with contextlib.suppress(StopIteration):
        call.send([refused if ":j1" in command[1] else _answer(command, keys) for command in commands])

    answers = dict(waits.take())
    assert (answers["whole"], type(answers["broken"])) == (REPLY, Failure)
