"""Which received replies are deleted, and when."""

import contextlib
from dataclasses import replace

import pytest

from rpc.errors import RpcError, Unavailable
from rpc.messages import Failure, Job, Success
from rpc.receipts import DELETED_TOGETHER, MAX_AGE_S, MAX_BYTES, Receipts

JOB = Job("m", "op", ["a"], id="j", disposable=True)
REPLY = Success({"outputs": []}, wire_bytes=100)


def received(*job_ids: str) -> Receipts:
    """Return the receipts of a client that got the replies to these jobs at time 0."""
    receipts = Receipts("p")
    for job_id in job_ids:
        receipts.add([replace(JOB, id=job_id)], [REPLY], now=0.0)
    return receipts


def deleted(receipts: Receipts) -> set[str]:
    """Return the keys that are deleted now."""
    call = receipts.delete()
    with contextlib.suppress(StopIteration):
        commands = call.send(None)
        with contextlib.suppress(StopIteration):
            call.send([len(command) - 1 for command in commands])
        return {key for command in commands for key in command[1:]}
    return set()


def test_replies_of_several_models_are_deleted_together_and_once() -> None:
    """One command for each model names every reply that was received, and the next one none of them."""
    receipts = received("j1", "j2")
    receipts.add([replace(JOB, model="n")], [Failure("model_error", "broken")], now=0.0)

    assert deleted(receipts) == {"p:{m}:result:j1", "p:{m}:result:j2", "p:{n}:result:j"}
    assert deleted(receipts) == set()


def test_a_reply_that_others_may_ask_for_stays() -> None:
    """A job whose id its caller chose keeps its reply."""
    receipts = Receipts("p")
    receipts.add([replace(JOB, disposable=False)], [REPLY], now=0.0)

    assert (receipts.due(1e9), deleted(receipts)) == (False, set())


@pytest.mark.parametrize(
    ("count", "size", "age_s", "due"),
    [
        (0, 0, 1e9, False),
        (1, 100, 0.0, False),
        (1, 100, MAX_AGE_S, True),
        (1, MAX_BYTES, 0.0, True),
        (DELETED_TOGETHER - 1, 100, 0.0, False),
        (DELETED_TOGETHER, 100, 0.0, True),
    ],
)
def test_many_large_or_old_replies_are_due(count: int, size: int, age_s: float, *, due: bool) -> None:
    """Deleting waits until there is enough to delete, but not for long."""
    receipts = Receipts("p")
    for number in range(count):
        receipts.add([replace(JOB, id=f"j{number}")], [replace(REPLY, wire_bytes=size)], now=5.0)

    assert receipts.due(5.0 + age_s) is due


def test_what_an_absent_server_did_not_delete_is_deleted_later() -> None:
    """Neither a line that breaks nor a server that fails over forgets what is still to be deleted."""
    receipts = received("j1")
    cut = receipts.delete()
    cut.send(None)
    cut.close()
    failed = receipts.delete()
    failed.send(None)
    with pytest.raises(StopIteration):
        failed.send([Unavailable("READONLY")])

    assert deleted(receipts) == {"p:{m}:result:j1"}


def test_a_server_that_forbids_deleting_is_not_asked_again_and_again() -> None:
    """Replies that may not be deleted live as long as any reply."""
    receipts = received("j1")
    call = receipts.delete()
    call.send(None)
    with pytest.raises(StopIteration):
        call.send([RpcError("NOPERM")])

    assert deleted(receipts) == set()
