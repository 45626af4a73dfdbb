"""What redis-py raises and what the server answers, as the errors of this project: one table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import exceptions as redis_errors

from rpc.calls import Round, Tolerant
from rpc.errors import QueueFull, RpcError, Unavailable
from rpc.redis_url import RedisUrl


class NoGroup(RpcError):
    """The consumer group or its stream is gone (Redis was emptied); it has to be made again."""

    code = "no_group"
    retryable = True


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an error reply means here.

    Attributes:
        kind: the error that is raised.
        reconnect: whether the server may no longer be the one that the address names. After a failover the old master
            stays alive and answers like this for ever, so the connection is closed and the address resolved again.
        is_cluster: whether only a node of a cluster answers like this.
    """

    kind: type[RpcError]
    reconnect: bool = False
    is_cluster: bool = False


_FAILED_OVER = _Meaning(Unavailable, reconnect=True)

_CLUSTER = _Meaning(RpcError, is_cluster=True)
_CLUSTER_FAILED_OVER = _Meaning(Unavailable, reconnect=True, is_cluster=True)

NO_CLUSTER = "Redis Cluster is not supported yet"

_BY_PREFIX: tuple[tuple[str, _Meaning], ...] = (
    ("NOGROUP", _Meaning(NoGroup)),
    ("UNBLOCKED the stream key", _Meaning(NoGroup)),
    ("OOM", _Meaning(QueueFull)),
    ("UNBLOCKED", _FAILED_OVER),
    ("READONLY", _FAILED_OVER),
    ("LOADING", _FAILED_OVER),
    ("MASTERDOWN", _FAILED_OVER),
    ("NOREPLICAS", _FAILED_OVER),
    ("CLUSTERDOWN", _CLUSTER_FAILED_OVER),
    ("TRYAGAIN", _CLUSTER_FAILED_OVER),
    ("MOVED", _CLUSTER),
    ("ASK", _CLUSTER),
    ("CROSSSLOT", _CLUSTER),
    ("MISCONF", _Meaning(Unavailable)),
    ("NOAUTH", _Meaning(Unavailable)),
    ("NOPERM", _Meaning(Unavailable)),
    ("BUSY Redis", _Meaning(Unavailable)),
    # a transaction that names its reason is found above
    ("EXECABORT", _FAILED_OVER),
)

_BY_CLASS: tuple[tuple[type[Exception], _Meaning], ...] = (
    (redis_errors.OutOfMemoryError, _Meaning(QueueFull)),
    (redis_errors.ReadOnlyError, _FAILED_OVER),
    (redis_errors.BusyLoadingError, _FAILED_OVER),
    (redis_errors.MasterDownError, _FAILED_OVER),
    (redis_errors.ClusterDownError, _CLUSTER_FAILED_OVER),
    (redis_errors.TryAgainError, _CLUSTER_FAILED_OVER),
    (redis_errors.AskError, _CLUSTER),
    (redis_errors.ClusterCrossSlotError, _CLUSTER),
    (redis_errors.ExecAbortError, _FAILED_OVER),
    (redis_errors.AuthenticationError, _Meaning(Unavailable)),
    (redis_errors.NoPermissionError, _Meaning(Unavailable)),
    (redis_errors.NoScriptError, _Meaning(Unavailable)),
)


def _meaning(error: Exception) -> _Meaning:
    text = str(error)
    for prefix, meaning in _BY_PREFIX:
        # redis-py strips the code from some replies and keeps the class; scripts wrap it into their own text
        if text.startswith(prefix) or any(f"{before}{prefix} " in text for before in (" ", "-", ": ")):
            return meaning
    return next((meaning for cls, meaning in _BY_CLASS if isinstance(error, cls)), _Meaning(RpcError))


def failed_over(replies: Sequence[Any]) -> bool:
    """Return whether a reply says that the server does not serve as the master any more, or not yet."""
    return any(isinstance(reply, Exception) and _meaning(reply).reconnect for reply in replies)


@contextmanager
def translated(server: RedisUrl) -> Iterator[None]:
    """Turn whatever redis-py raises about a connection into `Unavailable`."""
    try:
        yield
    except (redis_errors.RedisError, OSError) as error:
        text = str(error) or type(error).__name__
        shown = server.redacted(text)
        # a server that does not know AUTH repeats its arguments: then a traceback must not show the cause either
        raise _about(server, Unavailable, f": {shown}") from (error if shown == text else None)


def translate(error: Exception, server: RedisUrl) -> RpcError:
    """Return what an error reply of the server means here."""
    meaning = _meaning(error)
    refused = " refused a command" if meaning.kind is RpcError else ""
    cluster = f"; {NO_CLUSTER}" if meaning.is_cluster else ""
    return _about(server, meaning.kind, f"{refused}: {server.redacted(str(error))}{cluster}")


def _about(server: RedisUrl, kind: type[RpcError], text: str) -> RpcError:
    error = kind(f"Redis at {server}{text}")
    error.public = _PUBLIC.get(kind, "Redis refused a command")
    return error


_PUBLIC: dict[type[RpcError], str] = {
    Unavailable: "Redis does not answer, or does not serve now",
    QueueFull: "Redis is full",
}
"""What callers of the gateway read, who are to learn neither the host nor the user of the server."""


SCRIPT_LOADS = 5
"""How often scripts that the server has lost are sent to it before it counts as unavailable."""


def unknown_scripts(replies: Sequence[Any]) -> list[int]:
    """Return the positions of commands that did not run because the server has lost the scripts."""
    return [index for index, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]


def checked(commands: Round, replies: list[Any], server: RedisUrl) -> list[Any]:
    """Return the replies with errors translated; raise the first one unless the round is `Tolerant`."""
    for index, reply in enumerate(replies):
        if isinstance(reply, Exception):
            error = translate(reply, server)
            if not isinstance(commands, Tolerant):
                raise error
            replies[index] = error
    return replies
