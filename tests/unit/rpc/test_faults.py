"""What redis-py and the server say, in this project's words."""

import pytest
from redis import exceptions as redis_errors

from rpc.calls import Tolerant
from rpc.connection.faults import NoGroup, checked, failed_over, translate, translated, unknown_scripts
from rpc.errors import QueueFull, RpcError, Unavailable
from rpc.redis_url import parse_redis_url

SERVER = parse_redis_url("redis://:swordfish@db")


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
    ours = translate(error, SERVER)

    assert expected is type(ours)
    assert str(SERVER) in str(ours)
    assert str(error) in str(ours)


REPLICA = "You can't write against a read only replica."

FAILED_OVER = [
    redis_errors.ReadOnlyError(REPLICA),
    redis_errors.ReadOnlyError(f"{REPLICA} script: 62e6aac9, on @user_script:7."),
    redis_errors.ResponseError(f"READONLY {REPLICA} script: on @user_script:1."),
    redis_errors.ResponseError(f"Error running script (call to f_1): @user_script:1: -READONLY {REPLICA}"),
    redis_errors.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
    redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write. script: on @user_script:1."),
    redis_errors.ResponseError("Error running script (call to f_1): @user_script:1: -NOREPLICAS Not enough replicas"),
    redis_errors.ResponseError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    redis_errors.MasterDownError("Link with MASTER is down"),
    redis_errors.ResponseError("LOADING Redis is loading the dataset in memory"),
    redis_errors.BusyLoadingError("Redis is loading the dataset in memory"),
    redis_errors.ClusterDownError("The cluster is down"),
    redis_errors.ResponseError("CLUSTERDOWN Hash slot not served"),
    redis_errors.TryAgainError("Multiple keys request during rehashing of slot"),
    redis_errors.ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"),
    redis_errors.ExecAbortError("Transaction discarded because of previous errors."),
    redis_errors.ResponseError("EXECABORT Transaction discarded because of: READONLY You can't write"),
]


@pytest.mark.parametrize("error", FAILED_OVER, ids=str)
def test_a_server_that_is_not_the_master_is_a_lost_connection(error: Exception) -> None:
    """The reply is `Unavailable`, which callers and workers retry, and the connection is not used again."""
    assert type(translate(error, SERVER)) is Unavailable
    assert failed_over([b"OK", error])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (redis_errors.MovedError("14438 127.0.0.1:7000"), RpcError),
        (redis_errors.AskError("14438 127.0.0.1:7001"), RpcError),
        (redis_errors.ClusterCrossSlotError("Keys in request don't hash to the same slot"), RpcError),
        (redis_errors.ResponseError("MOVED 14438 127.0.0.1:7000"), RpcError),
        (redis_errors.ResponseError("Error running script (call to f_1): @user_script:1: -CROSSSLOT Keys"), RpcError),
        (redis_errors.ClusterDownError("Hash slot not served"), Unavailable),
        (redis_errors.TryAgainError("Multiple keys request during rehashing of slot"), Unavailable),
    ],
    ids=str,
)
def test_a_cluster_is_named(error: Exception, kind: type[RpcError]) -> None:
    """A reply that only a node of a cluster gives says that clusters are not supported."""
    ours = translate(error, SERVER)

    assert type(ours) is kind
    assert str(ours).endswith("; Redis Cluster is not supported yet")


@pytest.mark.parametrize(
    "error",
    [
        redis_errors.ResponseError("NOGROUP No such key 'q' or consumer group 'workers'"),
        redis_errors.ResponseError("UNBLOCKED the stream key no longer exists"),
        redis_errors.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        redis_errors.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis_errors.ResponseError("BUSY Redis is busy running a script."),
        redis_errors.NoScriptError("No matching script."),
        redis_errors.NoPermissionError("this user has no permissions"),
        redis_errors.ExecAbortError("Transaction discarded because of: OOM command not allowed"),
        redis_errors.ResponseError("WRONGTYPE Operation against a key"),
    ],
    ids=str,
)
def test_other_error_replies_keep_the_connection(error: Exception) -> None:
    """A reply that another server of the same address would give as well costs no new connection."""
    assert not failed_over([b"OK", error])


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
    with pytest.raises(Unavailable, match=r"Redis at redis://:\*\*\*@db: .+") as raised, translated(SERVER):
        raise error

    assert raised.value.__cause__ is error


def test_the_first_error_of_a_round_is_raised() -> None:
    """A conversation does not go on with replies that are errors."""
    replies = [b"OK", redis_errors.ResponseError("NOGROUP"), redis_errors.ResponseError("WRONGTYPE")]

    with pytest.raises(NoGroup):
        checked([("A",), ("B",), ("C",)], replies, SERVER)


def test_a_tolerant_round_gets_its_errors_as_values() -> None:
    """A conversation that expects some commands to fail sees which did."""
    ok, error = checked(Tolerant([("A",), ("B",)]), [b"OK", redis_errors.ResponseError("NOGROUP")], SERVER)

    assert (ok, type(error)) == (b"OK", NoGroup)


def test_commands_that_did_not_run_for_lack_of_a_script_are_found() -> None:
    """Only these may be sent again, so they are told apart from all others."""
    replies = [b"OK", redis_errors.NoScriptError(), redis_errors.ResponseError("OOM"), redis_errors.NoScriptError()]

    assert unknown_scripts(replies) == [1, 3]
