"""Servers that are full or cannot write, and workers without number: rows F18, F20, F33."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, ResponseError

from rpc import Client, QueueFull, RedisSettings, Unavailable, leases
from rpc.consumer import Consumer
from rpc.keys import GROUP, Keys
from rpc.messages import HOUR_MS
from rpc.sinks import Completion
from tests.answering import age, carry_out, echo, read_one, show_life
from tests.callers import Callers
from tests.conftest import Gates, MakeConsumer, StartWorker, settings_for
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

UPPER = "tests.models:Upper"


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, so that consumers and callers use that one."""
    return settings_for(own_server, sweep_s=0.2, connect_timeout_s=0.5)


@pytest.fixture
def raw(own_server: Server) -> Iterator["Redis"]:
    """Yield redis-py itself."""
    with Redis.from_url(own_server.url, protocol=2) as redis:
        yield redis


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


def test_a_server_without_memory(
    callers: Callers, consumer: Consumer, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """F18: submits are refused by type, while workers read, renew, take over and settle, which makes room again."""
    caller, dead = callers.make(), make_consumer("dead")
    for number in range(4):
        caller.submit("m", "op", [number, "x" * 10_000], job_id=f"j{number}")
    age(raw, dead, read_one(dead), idle_ms=HOUR_MS)
    held = read_one(consumer)
    raw.config_set("maxmemory", "1")
    with pytest.raises(QueueFull):
        caller.submit("m", "op", ["refused"])

    deliveries = [held, read_one(consumer), read_one(consumer)]
    show_life(consumer)
    deliveries += consumer.claim("interactive", 10, suspect=True).taken
    consumer.settle([echo(delivery) for delivery in deliveries])
    raw.config_set("maxmemory", "0")

    results = [caller.result("m", f"j{number}", timeout_s=5.0) for number in range(4)]
    assert results == [{"outputs": [number, "x" * 10_000]} for number in range(4)]
    assert raw.xlen(consumer.keys.stream("interactive")) == 0
    assert caller.submit("m", "op", ["taken"], job_id="taken") == "taken"


@pytest.mark.process
def test_workers_that_reconnect_and_start_while_memory_is_full(
    start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis", gates: Gates
) -> None:
    """F18: a worker whose lines are cut goes on, another one starts, and a relay hands over: the lanes are drained."""
    env = {"PENSTOCK_LEASE_S": "2", "PENSTOCK_MOST_FAILURES": "1"}
    first = start_worker("tests.models:Gate", env=env)
    seen: list[str] = []
    stop = threading.Event()

    def take(completion: Completion) -> None:
        seen.append(completion.job_id)

    with Client(settings=redis_settings) as client, ThreadPoolExecutor(1) as threads:
        threads.submit(client.consume, "stored", take, models=["gate"], stop=stop)
        try:
            eventually(lambda: raw.exists(Keys(redis_settings.prefix, "gate").sink("stored")))
            for name in ("a", "b"):
                client.submit("gate", "pass", [gates.path(name)], job_id=name, sink="stored")
            eventually(gates.entered("a"))
            raw.config_set("maxmemory", "1")
            raw.client_kill_filter(_type="normal", skipme=True)
            second = start_worker("tests.models:Gate", env=env)
            gates.open("a", "b")

            eventually(lambda: sorted(seen) == ["a", "b"])
            raw.config_set("maxmemory", "0")
            assert client.call("gate", "pass", [gates.path("a")], timeout_s=LONG_S) == {"outputs": [gates.path("a")]}
        finally:
            stop.set()
    assert [each.metric("penstock_engine_restarts_total") for each in (first, second)] == [0, 0]


@pytest.mark.process
def test_a_server_that_misses_its_replicas(
    start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis", gates: Gates
) -> None:
    """F20: while it takes no writes for that, submits are tried until their time is up, and workers wait."""
    worker = start_worker("tests.models:Gate", env={"PENSTOCK_LEASE_S": "2", "PENSTOCK_MOST_FAILURES": "1"})
    with Client(settings=redis_settings) as client:
        client.submit("gate", "pass", [gates.path("a")], job_id="a")
        eventually(gates.entered("a"))
        raw.config_set("min-replicas-to-write", "1")
        gates.open("a")

        with pytest.raises(Unavailable, match="NOREPLICAS"):
            client.submit("gate", "pass", [gates.path("b")], timeout_s=0.5)
        worker.wait_for("leases not renewed")
        raw.config_set("min-replicas-to-write", "0")

        assert client.result("gate", "a", timeout_s=LONG_S) == {"outputs": [gates.path("a")]}
    assert worker.metric("penstock_engine_restarts_total") == 0


@pytest.mark.process
def test_a_worker_told_to_stop_while_the_server_is_away(
    start_worker: StartWorker, redis_settings: RedisSettings, own_server: Server, gates: Gates
) -> None:
    """F11: it gives back what it had not started as soon as it can, and does not keep it for its whole grace."""
    first = start_worker("tests.models:Gate", env={"PENSTOCK_DRAIN_GRACE_S": "50"})
    with Client(settings=redis_settings) as client:
        for name in ("a", "b"):
            client.submit("gate", "pass", [gates.path(name)], job_id=name)
        eventually(gates.entered("a"))
        eventually(lambda: first.metric("penstock_jobs_in_hand", model="gate") == 2)
        own_server.kill()
        first.terminate()
        first.wait_for("not told to Redis")
        own_server.start()
        start_worker("tests.models:Gate")
        gates.open("b")

        assert client.result("gate", "b", timeout_s=LONG_S) == {"outputs": [gates.path("b")]}
        gates.open("a")
        assert first.wait() == 0


@pytest.mark.process
def test_a_server_that_cannot_write_its_disk(
    start_worker: StartWorker, redis_settings: RedisSettings, own_server: Server, raw: "Redis", gates: Gates
) -> None:
    """F20: submits fail by type when their time is up; a worker waits with what it has, and all go on afterwards."""
    worker = start_worker(UPPER, "tests.models:Gate", env={"PENSTOCK_LEASE_S": "1"})
    with Client(settings=redis_settings) as client:
        held = client.submit("gate", "pass", [gates.path("held")])
        eventually(gates.entered("held"))
        in_the_way = Path(own_server.directory, "dump.rdb")
        in_the_way.mkdir()
        raw.config_set("save", "3600 1")
        refuse_writes(raw)
        gates.open("held")

        with pytest.raises(Unavailable, match="RDB snapshots"):
            client.submit("upper", "upper", ["refused"], timeout_s=0.5)
        worker.wait_for("leases not renewed")

        in_the_way.rmdir()
        raw.config_set("save", "")
        assert client.call("upper", "upper", ["after"], timeout_s=LONG_S)["texts"] == ["AFTER"]
        assert client.result("gate", held, timeout_s=LONG_S) == {"outputs": [gates.path("held")]}
    assert gates.journal() == ["held"]
    assert (worker.running, worker.metric("penstock_engine_restarts_total")) == (True, 0)


def refuse_writes(raw: "Redis") -> None:
    """Have the server fail to save, and wait until it refuses writes for that."""
    raw.bgsave()

    def refused() -> bool:
        try:
            raw.set("probe", "x", px=1)
        except ResponseError as error:
            return "RDB snapshots" in str(error)
        return False

    eventually(refused)


def test_a_thousand_restarts(callers: Callers, make_consumer: MakeConsumer, raw: "Redis") -> None:
    """F33: consumers of workers that are gone are dropped, those that hold jobs are kept, and no job is lost."""
    alive = make_consumer("alive")
    keys: Keys = alive.keys
    caller = callers.make()
    for number in range(10):
        caller.submit("m", "op", [number], job_id=f"j{number}")
    for number in range(1000):
        ended = Consumer(alive._connection, keys, f"ended-{number}", alive.limits)
        ended.read(["interactive"], 1, block_ms=0)
        ended.read(["bulk"], 1, block_ms=0)
    show_life(alive)
    pause = threading.Event()

    def dropped() -> int:
        pause.wait(0.01)
        return int(carry_out(alive, leases.reap(keys.prefix, "m", silent_ms=1)))

    while dropped():
        pass

    left: Any = raw.xinfo_consumers(keys.stream("interactive"), GROUP)
    assert sorted(each["name"].decode() for each in left) == [f"ended-{number}" for number in range(10)]
    assert sum(each["pending"] for each in left) == 10
    assert raw.xlen(keys.stream("interactive")) == 10
