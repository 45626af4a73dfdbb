"""What the supervisor says to Redis for its engines, one thing after the other, and what fails of it."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inference_worker.supervisor.engine_process import EngineProcess
from inference_worker.supervisor.leases import Death, Leases
from rpc.connection import BlockingConnection
from rpc.errors import RpcError, Unavailable
from rpc.settings import RedisSettings


class Line(BlockingConnection):
    """A connection that notes the conversations it carries out, by name; some of them fail."""

    def __init__(self, failing: dict[str, Exception]) -> None:
        self.failing = failing
        self.said: list[str] = []

    def run(self, call: Any, **until: Any) -> Any:
        """Note it, and fail if it is to."""
        del until
        said = call.__name__
        if said == "bereave":
            said += f" {call.gi_frame.f_locals['consumer']}"
        self.said.append(said)
        if error := self.failing.get(said):
            raise error
        return 0, 0


def leases(**failing: Exception) -> tuple[Leases, Line]:
    """Return the leases of an engine that serves, beside two that have died, and the line they are told over."""
    engine = cast("EngineProcess", SimpleNamespace(ready=True, models=["m"], name="alive", stuck_since=lambda: None))
    made = Leases(RedisSettings.from_env({}), lambda: [engine], lease_s=30.0, hang_after_s=300.0)
    line = Line({said.replace("_", " "): error for said, error in failing.items()})
    made._connection = line
    made.bereaved([Death("m", name, "SIGKILL", None) for name in ("first", "second")])
    return made, line


def test_leases_are_renewed_before_anything_else() -> None:
    """What a dead engine held comes after the leases of those that live; what is done is not done again."""
    made, line = leases()

    assert [made._round(), made._round()] == [True, True]
    assert line.said == ["renew", "bereave first", "bereave second", "reap", "renew"]


@pytest.mark.parametrize("error", [RpcError("no"), KeyError("a bug")], ids=["server", "bug"])
def test_what_fails_is_named_and_keeps_nothing_else_from_being_done(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """One engine's jobs that cannot be handed over hold up no others, and are tried again."""
    made, line = leases(bereave_first=error)

    assert not made._round()
    assert line.said == ["renew", "bereave first", "bereave second", "reap"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["jobs of first not handed over"]
    line.failing.clear()
    assert made._round()
    assert line.said[4:] == ["renew", "bereave first"]


def test_a_server_that_is_away_is_asked_for_one_thing(caplog: pytest.LogCaptureFixture) -> None:
    """Each more would wait as long for the same server; it is told what could not be done."""
    made, line = leases(renew=Unavailable("away"))

    assert not made._round()
    assert line.said == ["renew"]
    assert [record.getMessage() for record in caplog.records] == ["leases not renewed: away"]


def test_a_supervisor_is_fresh_only_after_a_renewal_has_reached_redis() -> None:
    """Neither a round without a ready engine nor one that failed counts: nothing has been heard of Redis."""
    made, line = leases(renew=Unavailable("away"))
    loading = Leases(RedisSettings.from_env({}), list, lease_s=30.0, hang_after_s=300.0)
    loading._connection = Line({})

    rounds = made._round(), loading._round()
    before = made.fresh(time.monotonic()), loading.fresh(time.monotonic())
    line.failing.clear()
    made._round()

    assert (rounds, before) == ((False, True), (False, False))
    assert made.fresh(time.monotonic())
    assert not made.fresh(time.monotonic() + 31.0)
