"""Files of this machine, opened below a root and nowhere else, whoever moves links about meanwhile."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from rpc.errors import InvalidInput, Unavailable

# a directory need not be listed to be passed through
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# without waiting for the other end of what has turned into a pipe
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def read(root: str, path: str, *, most_bytes: int) -> bytes:
    """Return the bytes of a regular file at a path, relative or absolute, that lies under the root behind all links.

    Raises:
        InvalidInput: it lies elsewhere, is not there, no regular file, not permitted, or larger than `most_bytes`.
        Unavailable: the disk cannot be read now.
    """
    try:
        top = os.path.realpath(root)
        descriptor = opened(top, resolved(top, path))
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if size > most_bytes:
                raise InvalidInput(f"it has {size} bytes, over the limit of {most_bytes}")
            # as much as it has now, however it grows
            return file.read(size)
    except OSError as error:
        raise _told(error) from None


def resolved(top: str, path: str) -> Sequence[str]:
    """Return the names that lead from the root, itself without links, to a file; raise `InvalidInput` if none do."""
    # what is not there outside is not told apart from what is
    place = Path(os.path.realpath(Path(top) / path))
    if Path(top) not in place.parents:
        raise InvalidInput("it does not lie under the directory that files are opened in")
    return place.relative_to(top).parts


def opened(top: str, names: Sequence[str]) -> int:
    """Return a descriptor of the regular file at the end of the names.

    Each is opened from the one before, so that a link put there since they were resolved is not followed.
    """
    directory = os.open(top, _PASS)
    try:
        for name in names[:-1]:
            above, directory = directory, os.open(name, _PASS, dir_fd=directory)
            os.close(above)
        # first without opening it: to open a device may do something
        _check_regular(os.stat(names[-1], dir_fd=directory, follow_symlinks=False))
        descriptor = os.open(names[-1], _READ, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        _check_regular(os.fstat(descriptor))
    except InvalidInput:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput("it is no regular file")


def _told(error: OSError) -> InvalidInput | Unavailable:
    if error.errno in _NOT_THERE:
        return InvalidInput("it is not there")
    if isinstance(error, PermissionError):
        return InvalidInput("the worker has no permission to read it")
    return Unavailable(f"it cannot be read now: {error.strerror}")
