"""The scripts under every order of events that chance finds."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from rpc.connection import BlockingConnection
from tests.conftest import settings_for
from tests.servers import Server
from tests.statemachine import Scripts

pytestmark = pytest.mark.server

EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "300"))
"""On each server."""

STEPS = 30


def test_whatever_happens_each_job_has_one_reply(server: Server) -> None:
    """Issue 4: no order of submits, reads, losses, deaths and operators' hands loses a job or gives it two replies."""
    where = settings_for(server)
    connection = BlockingConnection(where)
    with Redis.from_url(server.url, protocol=2) as raw:
        machine = type("Here", (Scripts,), {"raw": raw, "connection": connection, "settings": where})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize="PENSTOCK_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
            ),
        )
    connection.close()
