"""A worker as the demo and the benchmarks start it."""

from pathlib import Path

import pytest

from producers.worker_process import WorkerProcess
from rpc import Client, RedisSettings
from tests.answering import show_life
from tests.conftest import ON_VALKEY, MakeConsumer

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]


def test_a_worker_is_ready_when_it_has_said_so(
    client: Client, redis_settings: RedisSettings, make_consumer: MakeConsumer, tmp_path: Path
) -> None:
    """Its sign of life comes from another process, and on a busy machine long before what it says of itself."""
    worker = WorkerProcess(["echo"], redis_settings, tmp_path / "worker.log", {})
    try:
        show_life(make_consumer(f"here:{worker.pid}:silent", model="echo"))

        told = worker.wait_until_ready(client, "echo")

        assert (told.name.split(":")[1], told.name.endswith(":silent")) == (str(worker.pid), False)
        assert (told.weights, told.engine not in {0, worker.pid}) == ("", True)
    finally:
        worker.close()
