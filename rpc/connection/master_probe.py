"""When a connection asks its server whether it still takes writes. Pure: `now` is passed in, in seconds."""

from typing import Any

from redis.exceptions import NoPermissionError

from rpc.calls import Command, Round

PROBE_EVERY_S = 2.0


class MasterProbe:
    """Adds a write without effect to a round now and then.

    A connection that only reads gets answers from a demoted master for ever, and those grow stale. A write is refused
    there, which tells the connection to resolve its address again. `DEL` of an absent key changes nothing, runs on a
    server that is full, and needs no permission that callers and workers lack.
    """

    def __init__(self, prefix: str, *, now: float) -> None:
        self._command: Command = ("DEL", f"{prefix}:probe")
        self._due_at = now + PROBE_EVERY_S
        self._allowed = True

    def commands(self, now: float) -> Round:
        """Return the command to send after a round, if it is time to."""
        if not self._allowed or now < self._due_at:
            return ()
        self._due_at = now + PROBE_EVERY_S
        return (self._command,)

    def note(self, reply: Any) -> None:
        """Take the reply; a user that may not write is not asked for it again."""
        self._allowed = not isinstance(reply, NoPermissionError)
