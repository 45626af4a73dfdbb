"""How many replies lie on a server, and how many bytes they take."""

from dataclasses import dataclass

from rpc.calls import Call, Tolerant
from rpc.inspection import KEYS_LOOKED_AT

OVERHEAD_BYTES = 200
"""About what a server uses for a key besides its value."""


@dataclass(frozen=True, slots=True)
class KeptReplies:
    """The replies under a prefix: how many, and about how much memory they use; `whole` unless there were too many."""

    count: int
    memory_bytes: int
    whole: bool = True


def kept_replies(prefix: str) -> Call[KeptReplies]:
    """Return what the replies under a prefix take. After about `KEYS_LOOKED_AT` keys of the server it stops."""
    cursor, seen, count, size = b"0", 0, 0, 0
    while True:
        ((cursor, names),) = yield [("SCAN", cursor, "MATCH", f"{prefix}:*:result:*", "COUNT", 1000)]
        lengths = (yield Tolerant(("STRLEN", name) for name in names)) if names else []
        count += len(names)
        size += sum(length + OVERHEAD_BYTES for length in lengths if isinstance(length, int))
        seen += 1000
        if cursor == b"0" or seen >= KEYS_LOOKED_AT:
            return KeptReplies(count, size, whole=cursor == b"0")
