"""A server in cluster mode: callers, workers and the doctor say that it is not supported."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from producers.doctor import examined
from rpc import RedisSettings, RpcError, Unavailable
from tests.callers import Callers
from tests.conftest import StartWorker, installed, settings_for
from tests.servers import KINDS, Server, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.server


def cluster(bus_port: int) -> dict[str, list[str]]:
    """Return the options of a node, whose bus needs a port that is not 10,000 above its own."""
    return {"cluster-enabled": ["yes"], "cluster-require-full-coverage": ["no"], "cluster-port": [str(bus_port)]}


NO_CLUSTER = "Redis Cluster is not supported yet"

LAST_SLOT = 16_383


@pytest.fixture(name="node", params=KINDS)
def _node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Yield a node of a cluster, which owns no slot."""
    kind = installed(request.param)
    with Server(kind, tmp_path / kind, options=cluster(free_port())) as server:
        yield server


def command(server: Server, *words: str) -> Any:
    """Return a server's answer to a command."""
    with Redis.from_url(server.url, protocol=2) as raw:
        return raw.execute_command(*words)


def test_callers_and_the_doctor_name_a_cluster(node: Server, tmp_path: Path) -> None:
    """A slot that nobody serves and one of another node are told as what they are, at once where it cannot pass."""
    settings = settings_for(node)
    callers = [Callers(kind, settings) for kind in ("blocking", "asyncio")]
    for caller in callers:
        with pytest.raises(Unavailable, match=NO_CLUSTER):
            caller.make().submit("m", "op", ["a"], timeout_s=0.2)

    bus_port = free_port()
    with Server(node.kind, tmp_path / "other", options=cluster(bus_port)) as other:
        command(other, "CLUSTER", "ADDSLOTSRANGE", "0", str(LAST_SLOT))
        command(node, "CLUSTER", "MEET", "127.0.0.1", str(other.port), str(bus_port))
        eventually(lambda: f"0-{LAST_SLOT}" in str(command(node, "CLUSTER", "NODES")))
        for caller in callers:
            with pytest.raises(RpcError, match=f"MOVED|{NO_CLUSTER}") as refused:
                caller.make().submit("m", "op", ["a"], timeout_s=30.0)
            assert NO_CLUSTER in str(refused.value)
            assert not isinstance(refused.value, Unavailable)
            caller.close()
        findings = {finding.what: finding for finding in examined(settings)}

    assert findings["cluster mode"].level == "fault"
    assert findings["cluster mode"].says == f"on: {NO_CLUSTER}"


@pytest.mark.process
def test_a_worker_refuses_a_cluster(node: Server, start_worker_on: StartWorker) -> None:
    """It ends with status 2 before it loads a model, and says why."""
    settings = RedisSettings.from_env({}, url=node.url)
    worker = start_worker_on("tests.models:Upper", settings=settings, ready=False)

    assert worker.wait() == 2
    assert f"the server's cluster mode is on: {NO_CLUSTER}" in worker.log
