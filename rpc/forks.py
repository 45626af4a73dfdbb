"""Which process this is: what was opened before a fork belongs to the parent.

The process id notices a fork that Python did not make, such as that of a prefork server written in C; the count notices
a child that has the process id of an ancestor.
"""

import os

_forks = 0


def _count() -> None:
    global _forks  # noqa: PLW0603 (of a process there is one)
    _forks += 1


os.register_at_fork(after_in_child=_count)


def forks() -> tuple[int, int]:
    """Return what is another value after each fork, in the child."""
    return _forks, os.getpid()
