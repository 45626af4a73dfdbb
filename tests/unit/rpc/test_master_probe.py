"""When a connection asks its server whether it still takes writes."""

from redis.exceptions import NoPermissionError, ReadOnlyError

from rpc.connection.master_probe import PROBE_EVERY_S, MasterProbe

COMMAND = ("DEL", "p:probe")


def test_a_probe_is_due_once_in_a_while() -> None:
    """A round carries the probe when one is due, and the rounds after it do not."""
    probe = MasterProbe("p", now=100.0)

    sent = [probe.commands(now) for now in (100.0, 100.0 + PROBE_EVERY_S, 100.5 + PROBE_EVERY_S)]

    assert sent == [(), (COMMAND,), ()]


def test_a_refused_probe_is_sent_again_unless_it_is_forbidden() -> None:
    """A replica is probed again after a while; a user that may not write is not."""
    probe = MasterProbe("p", now=0.0)

    probe.note(ReadOnlyError("You can't write against a read only replica."))
    refused = probe.commands(PROBE_EVERY_S)
    probe.note(NoPermissionError("this user has no permissions"))

    assert (refused, probe.commands(3 * PROBE_EVERY_S)) == ((COMMAND,), ())
