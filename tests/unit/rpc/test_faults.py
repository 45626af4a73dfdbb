"""What redis-py and the server say, in this project's words."""

import pytest
from redis import exceptions as redis_errors

from rpc.calls import Tolerant
from rpc.connection.faults import NoGroup, checked, translate, translated, unknown_scripts
from rpc.errors import QueueFull, RpcError, Unavailable

ADDRESS = "redis://:***@db"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (redis_errors.ResponseError("NOGROUP No such key 'q' or consumer group 'workers'"), NoGroup),
        (redis_errors.ResponseError("UNBLOCKED the stream key no longer exists"), NoGroup),
        (redis_errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), QueueFull),
        (redis_errors.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), QueueFull),
        (
            redis_errors.ResponseError("Error running script (call to f_1): @user_script: -OOM command not allowed"),
            QueueFull,
        ),
        (redis_errors.ReadOnlyError("You can't write against a read only replica."), Unavailable),
        (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (redis_errors.ResponseError("MISCONF Redis is configured to save RDB snapshots"), Unavailable),
        (redis_errors.MasterDownError("Link with MASTER is down"), Unavailable),
        (redis_errors.ClusterDownError("The cluster is down"), Unavailable),
        (redis_errors.NoPermissionError("this user has no permissions to run the 'evalsha' command"), Unavailable),
        (redis_errors.AuthenticationError("invalid username-password pair"), Unavailable),
        (redis_errors.ResponseError("WRONGTYPE Operation against a key"), RpcError),
    ],
)
def test_an_error_reply_means_one_thing_here(error: Exception, expected: type[RpcError]) -> None:
    """Whether redis-py keeps the code in the text or in its class, the same error comes out, with the address."""
    ours = translate(error, ADDRESS)

    assert expected is type(ours)
    assert ADDRESS in str(ours)
    assert str(error) in str(ours)


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ConnectionError("Connection refused"),
        redis_errors.TimeoutError("Timeout reading from socket"),
        redis_errors.InvalidResponse("Protocol Error"),
        ConnectionResetError("reset"),
        TimeoutError(),
        OSError("no route"),
    ],
)
def test_whatever_breaks_a_connection_is_unavailable(error: Exception) -> None:
    """Callers handle one error for a Redis that cannot be reached, and read which and why."""
    with pytest.raises(Unavailable, match=r"Redis at redis://:\*\*\*@db: .+") as raised, translated(ADDRESS):
        raise error

    assert raised.value.__cause__ is error


def test_the_first_error_of_a_round_is_raised() -> None:
    """A conversation does not go on with replies that are errors."""
    replies = [b"OK", redis_errors.ResponseError("NOGROUP"), redis_errors.ResponseError("WRONGTYPE")]

    with pytest.raises(NoGroup):
        checked([("A",), ("B",), ("C",)], replies, ADDRESS)


def test_a_tolerant_round_gets_its_errors_as_values() -> None:
    """A conversation that expects some commands to fail sees which did."""
    ok, error = checked(Tolerant([("A",), ("B",)]), [b"OK", redis_errors.ResponseError("NOGROUP")], ADDRESS)

    assert (ok, type(error)) == (b"OK", NoGroup)


def test_commands_that_did_not_run_for_lack_of_a_script_are_found() -> None:
    """Only these may be sent again, so they are told apart from all others."""
    replies = [b"OK", redis_errors.NoScriptError(), redis_errors.ResponseError("OOM"), redis_errors.NoScriptError()]

    assert unknown_scripts(replies) == [1, 3]
