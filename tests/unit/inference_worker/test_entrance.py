"""A look at the server before jobs are entrusted to it."""

import logging
from typing import Any

import pytest

from inference_worker.supervisor import entrance
from inference_worker.supervisor.entrance import Entrance
from rpc.connection import BlockingConnection
from rpc.errors import Unavailable
from rpc.fitness import Finding, Told
from rpc.settings import RedisSettings

EVICTS = Told(config={"maxmemory-policy": "allkeys-lru", "maxmemory": "1000000"})


class Line(BlockingConnection):
    """A connection to a server that comes after a while, and evicts."""

    def __init__(self, away: int) -> None:
        self.away = away

    def run(self, call: Any, **until: Any) -> Any:
        """Return what it tells, once it is there."""
        del call, until
        self.away -= 1
        if self.away >= 0:
            raise Unavailable("away")
        return EVICTS

    def close(self) -> None:
        """Have nothing to close."""


def test_a_server_that_comes_later_is_looked_at_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is examined once, as soon as it is there; that it is not there is said once."""
    monkeypatch.setattr(entrance, "LOOK_AGAIN_S", 0.0)
    unfit: list[Finding] = []
    made = Entrance(RedisSettings.from_env({}), unfit.append)
    made._connection = Line(away=3)
    with caplog.at_level(logging.WARNING):
        made.run()
        made.run()

    assert [finding.what for finding in unfit] == ["maxmemory-policy"]
    assert [record.getMessage() for record in caplog.records].count("server not examined yet: away") == 1
