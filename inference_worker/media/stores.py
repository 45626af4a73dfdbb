"""Files of stores, S3 and the like, through fsspec: the only room that knows it.

Only filesystems that run on fsspec's event loop are used: what they do can be ended when its time is up.
"""

import errno
import io
from collections.abc import Awaitable, Callable
from typing import Any

import fsspec
from fsspec.asyn import sync

from inference_worker.addresses import WEB, Address
from rpc.errors import InvalidInput, RpcError, Unavailable

_REFUSED = frozenset({errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM, errno.EMSGSIZE, errno.ENOSYS, errno.EREMCHG})
"""What a store says of a request it will not carry out later either."""

NOT_THERE = "it is not there"
NOT_PERMITTED = "the store does not permit the worker to read it"
REFUSED = "the store refuses to give it"

_TOLD: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((FileNotFoundError, IsADirectoryError, NotADirectoryError), NOT_THERE),
    (PermissionError, NOT_PERMITTED),
    (ValueError, REFUSED),
)

_GONE = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 402, 403, 407, 451})
_PASSING = frozenset({408, 421, 423, 425, 429})
_OK, _REDIRECTIONS, _SERVERS_FAULT = 200, range(300, 400), 500


class Store:
    """The filesystem of one scheme, with the options that fsspec's own configuration gives it."""

    def __init__(self, scheme: str) -> None:
        """Find the filesystem; raise `ValueError` if its library is missing, or if it cannot be used."""
        try:
            kind = fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            extra = '; pip install "penstock[s3]" brings it' if scheme in {"s3", "s3a", *WEB} else ""
            raise ValueError(f"{scheme}://: {error}{extra}") from error
        if not kind.async_impl:
            raise ValueError(f"{scheme}://: what its library does cannot be ended when its time is up")
        self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False)
        self._fetch = _from_web if scheme in WEB else _from_bucket

    def read(self, address: Address, *, most_bytes: int, timeout_s: float) -> bytes:
        """Return the bytes of a file.

        Raises:
            InvalidInput: it is not there, not permitted, no file, somewhere else, or larger than `most_bytes`.
            Unavailable: the store cannot be reached, fails, or takes longer than `timeout_s`.
        """
        try:
            found: bytes = sync(
                self._files.loop, self._fetch, self._files, address.url, most_bytes=most_bytes, timeout=timeout_s
            )
        except Exception as error:  # noqa: BLE001 (libraries raise what they like; `judged` knows them)
            raise judged(error, timeout_s) from None
        return found


def judged(error: Exception, timeout_s: float) -> RpcError:
    """Return what an error of a store means, in words that hold nothing of the request."""
    if isinstance(error, RpcError):
        return error
    told = next((told for kinds, told in _TOLD if isinstance(error, kinds)), None)
    if told is None and getattr(error, "errno", None) in _REFUSED:
        told = REFUSED
    if told is not None:
        return InvalidInput(told)
    if isinstance(error, TimeoutError):
        return Unavailable(f"the store did not give it within {timeout_s:g} s")
    return Unavailable(f"the store cannot be reached or fails: {type(error).__name__}")


async def _from_bucket(files: Any, url: str, *, most_bytes: int) -> bytes:
    path = files._strip_protocol(url)  # noqa: SLF001 (fsspec documents it, and its coroutines, for use like this)
    about = await files._info(path)  # noqa: SLF001 (see above)
    size = about.get("size")
    if about.get("type") != "file" or size is None:
        raise InvalidInput("it is no file")
    _check_size(size, most_bytes)
    if not size:
        return b""
    found: bytes = await files._cat_file(path, start=0, end=size + 1)  # noqa: SLF001 (see above)
    if len(found) != size:
        raise Unavailable("it was replaced while it was read")
    return found


async def _from_web(files: Any, url: str, *, most_bytes: int) -> bytes:
    into = _Bounded(most_bytes)
    # a redirection would lead to where no prefix was looked at
    await files._get_file(url, into, allow_redirects=False, raise_for_status=_judge(most_bytes))  # noqa: SLF001 (see above)
    return into.getvalue()


class _Bounded(io.BytesIO):
    """What was read so far, up to a limit."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def write(self, some: Any) -> int:
        """Take some more; raise `InvalidInput` if that is too much."""
        _check_size(self.tell() + len(some), self._most_bytes)
        return super().write(some)


def _judge(most_bytes: int) -> Callable[[Any], Awaitable[None]]:
    async def check(response: Any) -> None:
        error = _by_status(response.status)
        if error is not None:
            response.close()
            raise error
        _check_size(response.content_length or 0, most_bytes)

    return check


def _by_status(status: int) -> RpcError | None:
    if status == _OK:
        return None
    if status in _GONE:
        return InvalidInput(NOT_THERE)
    if status in _FORBIDDEN:
        return InvalidInput(NOT_PERMITTED)
    if status in _PASSING or status >= _SERVERS_FAULT:
        return Unavailable(f"the store answers {status}")
    led = ", which is not followed" if status in _REDIRECTIONS else ""
    return InvalidInput(f"the store answers {status}{led}")


def _check_size(size: int, most_bytes: int) -> None:
    if size > most_bytes:
        raise InvalidInput(f"it has {size} bytes or more, over the limit of {most_bytes}")
