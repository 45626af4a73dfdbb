"""How often this process is the child of a fork: what was opened before one belongs to the parent.

Asked at every call, so it is a number to be compared, and no question to the system.
"""

import os

_forks = 0


def _count() -> None:
    global _forks  # noqa: PLW0603 (of a process there is one)
    _forks += 1


os.register_at_fork(after_in_child=_count)


def forks() -> int:
    """Return a number that is another one after each fork, in the child."""
    return _forks
