"""Whether a key that a caller chose stands for this request, or already for another."""

from rpc import keys
from rpc.calls import Call
from rpc.messages import HOUR_MS

KEPT_MS = 24 * HOUR_MS
"""How long a key stands for its request."""


def claim(prefix: str, name: str, fingerprint: str) -> Call[bool]:
    """Return whether the name stands for what the fingerprint is of, which it does from now on if it was free."""
    (earlier,) = yield [("SET", keys.idempotency(prefix, name), fingerprint, "NX", "GET", "PX", KEPT_MS)]
    return earlier is None or earlier.decode() == fingerprint
