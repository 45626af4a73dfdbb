"""What redis-py raises and what the server answers, as the errors of this project: one table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import exceptions as redis_errors

from rpc.calls import Round, Tolerant
from rpc.errors import QueueFull, RpcError, Unavailable


class NoGroup(RpcError):
    """The consumer group or its stream is gone (Redis was emptied); it has to be made again."""

    code = "no_group"
    retryable = True


_BY_PREFIX: tuple[tuple[str, type[RpcError]], ...] = (
    ("NOGROUP", NoGroup),
    ("UNBLOCKED", NoGroup),
    ("OOM", QueueFull),
    ("READONLY", Unavailable),
    ("LOADING", Unavailable),
    ("MASTERDOWN", Unavailable),
    ("CLUSTERDOWN", Unavailable),
    ("MISCONF", Unavailable),
    ("NOAUTH", Unavailable),
    ("NOPERM", Unavailable),
    ("NOREPLICAS", Unavailable),
    ("TRYAGAIN", Unavailable),
    ("BUSY Redis", Unavailable),
)


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn whatever redis-py raises about a connection into `Unavailable`."""
    try:
        yield
    except (redis_errors.RedisError, OSError) as error:
        raise Unavailable(f"Redis at {address}: {str(error) or type(error).__name__}") from error


def translate(error: Exception, address: str) -> RpcError:
    """Return what an error reply of the server means here."""
    text = str(error)
    for prefix, kind in _BY_PREFIX:
        # redis-py strips the code from some replies and keeps the class; scripts wrap it into their own text
        if text.startswith(prefix) or f" {prefix} " in text or f"-{prefix} " in text:
            return kind(f"Redis at {address}: {text}")
    for cls, kind in _BY_CLASS:
        if isinstance(error, cls):
            return kind(f"Redis at {address}: {text}")
    return RpcError(f"Redis at {address} refused a command: {text}")


_BY_CLASS: tuple[tuple[type[Exception], type[RpcError]], ...] = (
    (redis_errors.OutOfMemoryError, QueueFull),
    (redis_errors.ReadOnlyError, Unavailable),
    (redis_errors.BusyLoadingError, Unavailable),
    (redis_errors.AuthenticationError, Unavailable),
    (redis_errors.NoPermissionError, Unavailable),
    (redis_errors.NoScriptError, Unavailable),
    (redis_errors.MasterDownError, Unavailable),
    (redis_errors.ClusterDownError, Unavailable),
)


SCRIPT_LOADS = 5
"""How often scripts that the server has lost are sent to it before it counts as unavailable."""


def unknown_scripts(replies: Sequence[Any]) -> list[int]:
    """Return the positions of commands that did not run because the server has lost the scripts."""
    return [index for index, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]


def checked(commands: Round, replies: list[Any], address: str) -> list[Any]:
    """Return the replies with errors translated; raise the first one unless the round is `Tolerant`."""
    for index, reply in enumerate(replies):
        if isinstance(reply, Exception):
            error = translate(reply, address)
            if not isinstance(commands, Tolerant):
                raise error
            replies[index] = error
    return replies
