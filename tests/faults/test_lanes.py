"""Lanes that are flooded, fed with large jobs, or lose entries to an operator's hand: rows F28, F31, F32."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from rpc import Client, InvalidInput, JobLost, QueueFull, RedisSettings
from rpc.deliveries import Limits
from rpc.keys import GROUP, LANES, Keys
from tests.answering import Answering, job_of
from tests.callers import Callers
from tests.conftest import Gates, MakeConsumer, StartWorker
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

BOUND = 20

CALLERS, EACH = 50, 4

LARGE = b"\xff\xd8" + bytes(10_000_000)

PING_P99_S = 0.25


def test_a_burst_of_ten_times_the_bound(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """F28: fifty callers at once never exceed the bound, and are told; what is queued is read in the order queued."""
    consumer = make_consumer(limits=replace(Limits(), max_jobs=BOUND))
    consumer.announce({"device": "cpu"})
    start = threading.Barrier(CALLERS)
    stream = consumer.keys.stream("interactive")
    lengths: list[Any] = []
    pauses: list[float] = []

    def submit(number: int) -> list[str]:
        queued = []
        with Client(settings=redis_settings) as caller:
            start.wait(20.0)
            for turn in range(EACH):
                try:
                    queued.append(caller.submit("m", "op", [number], job_id=f"{number}.{turn}"))
                except QueueFull as full:
                    pauses.append(full.retry_after_s)
                lengths.append(raw.xlen(stream))
        return queued

    with ThreadPoolExecutor(CALLERS) as threads:
        queued = [job_id for each in threads.map(submit, range(CALLERS)) for job_id in each]

    entries: Any = raw.xrange(stream)
    in_order = [fields[b"id"].decode() for _, fields in entries]
    read = [job_of(delivery).id for delivery in consumer.read(LANES, 10 * BOUND, block_ms=0)]
    assert (len(queued), max(lengths), sorted(in_order)) == (BOUND, BOUND, sorted(queued))
    assert read == in_order
    assert (len(pauses), min(pauses) > 0) == (CALLERS * EACH - BOUND, True)


@pytest.mark.bound
def test_large_jobs_among_small_ones(
    callers: Callers, redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """F31: over the cap nothing is sent; below it ten megabytes hold nobody up for long, nor the server."""
    caller = callers.make(redis_settings.model_copy(update={"max_input_bytes": 11_000_000}))
    with pytest.raises(InvalidInput, match="over the limit of 11000000"):
        caller.call("m", "op", [bytes(11_000_001)], timeout_s=LONG_S)
    with pytest.raises(InvalidInput, match="is over the limit of 8388608"):
        caller.call("m", "op", [list(bytes(100_000))] * 100, timeout_s=LONG_S)
    assert raw.xlen(Keys(redis_settings.prefix, "m").stream("interactive")) == 0
    pings: list[float] = []
    with Answering(make_consumer(), lambda job, inputs: {"outputs": [len(each) for each in inputs], "id": job.id}):
        calls = [callers.start(caller.call, "m", "op", [LARGE], timeout_s=LONG_S) for _ in range(6)]
        calls += [callers.start(caller.call, "m", "op", ["x" * 1000], timeout_s=LONG_S) for _ in range(60)]
        while not all(call.done() for call in calls):
            before = time.monotonic()
            raw.ping()
            pings.append(time.monotonic() - before)
        sizes = [call.result()["outputs"] for call in calls]

    assert sizes == [[len(LARGE)]] * 6 + [[1000]] * 60
    assert sorted(pings)[int(0.99 * len(pings))] < PING_P99_S


@pytest.mark.process
@pytest.mark.parametrize(("callers", "how"), [("blocking", "XDEL"), ("asyncio", "XTRIM")], indirect=["callers"])
def test_entries_that_an_operator_deletes(
    callers: Callers, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings, how: str
) -> None:
    """F32: what waited is sent again or told as lost, what a dead worker held is dropped, and workers go on."""
    client = callers.make(sweep_s=0.2)
    keys = Keys(redis_settings.prefix, "gate")
    stream = keys.stream("interactive")
    settings = {"PENSTOCK_LEASE_S": "1", "PENSTOCK_UNITS_HELD": "1", "PENSTOCK_BATCH_SIZE": "1"}
    killed = start_worker("tests.models:Gate", env=settings)
    client.submit("gate", "pass", [gates.path("dangling")], job_id="dangling")
    eventually(gates.entered("dangling"))
    killed.kill()
    with ThreadPoolExecutor(2) as threads:
        lost = client.submit("gate", "pass", [gates.path("lost")], job_id="lost")
        call = threads.submit(client.call, "gate", "pass", [gates.path("called")], job_id="called", timeout_s=LONG_S)
        eventually(lambda: raw.xlen(stream) == 3)
        waiting = threads.submit(client.result, "gate", lost, timeout_s=LONG_S)

        if how == "XDEL":
            entries: Any = raw.xrange(stream)
            raw.xdel(stream, *(entry for entry, _ in entries))
        else:
            raw.xtrim(stream, maxlen=0)
        worker = start_worker("tests.models:Gate", env=settings)
        gates.open("called", "dangling", "after")

        assert isinstance(waiting.exception(LONG_S), JobLost)
        assert call.result(LONG_S) == {"outputs": [gates.path("called")]}
    assert client.call("gate", "pass", [gates.path("after")], timeout_s=LONG_S) == {"outputs": [gates.path("after")]}
    eventually(lambda: raw.xpending(stream, GROUP)["pending"] == 0)
    assert (worker.running, worker.metric("penstock_engine_restarts_total")) == (True, 0)
