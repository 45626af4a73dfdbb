"""Workers frozen, drained and replaced, jobs cancelled, expired and outnumbered: rows F6, F11, F12, F26, F27, F29."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from rpc import Cancelled, Client, Expired, RedisSettings, inspection
from rpc.codec import decode_reply, pack
from rpc.keys import GROUP, LANES, Keys
from rpc.messages import Success
from tests.conftest import Gates, StartWorker
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, pytest.mark.process]

GATE = "tests.models:Gate"
UPPER = "tests.models:Upper"


def holders(raw: "Redis", keys: Keys) -> dict[str, int]:
    """Return how many jobs each consumer holds."""
    pending: Any = raw.xpending_range(keys.stream("interactive"), GROUP, "-", "+", 1000)
    names = [item["consumer"].decode() for item in pending]
    return {name: names.count(name) for name in names}


def served_by(raw: "Redis", keys: Keys, job_id: str) -> tuple[str, int]:
    """Return which worker answered a job, at which delivery."""
    value: Any = raw.get(keys.result(job_id))
    reply = decode_reply(value)
    assert isinstance(reply, Success)
    return reply.meta.worker, reply.meta.attempts


def left(raw: "Redis", keys: Keys) -> int:
    """Return how many jobs are in the lanes."""
    return sum(int(raw.xlen(keys.stream(lane))) for lane in LANES)


def queued(client: Client, gates: Gates, *names: str, **options: Any) -> None:
    """Submit a job for each name, its gate open."""
    gates.open(*names)
    for name in names:
        client.submit("gate", "pass", [gates.path(name)], job_id=name, **options)


def test_a_worker_frozen_for_longer_than_its_lease(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings
) -> None:
    """F6: its job is another's; come back, it learns so, dead-letters nothing, and goes on serving."""
    frozen = start_worker(GATE, env={"PENSTOCK_LEASE_S": "0.5"})
    client.submit("gate", "pass", [gates.path("a")], job_id="a")
    eventually(gates.entered("a"))
    processes = (frozen.pid, frozen.engine_pid)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    other = start_worker(GATE, env={"PENSTOCK_LEASE_S": "0.5"})
    eventually(lambda: gates.journal() == ["a", "a"])
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: frozen.metric("penstock_lost_leases_total", model="gate") == 1)

    gates.open("a")

    assert client.result("gate", "a", timeout_s=LONG_S) == {"outputs": [gates.path("a")]}
    assert client.ask(inspection.dead_jobs(redis_settings.prefix, "gate")) == []
    other.kill()
    gates.open("b")
    assert client.call("gate", "pass", [gates.path("b")], timeout_s=LONG_S) == {"outputs": [gates.path("b")]}
    assert frozen.metric("penstock_engine_restarts_total") == 0


def test_a_worker_told_to_stop_with_jobs_waiting(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """F11: after SIGTERM the running job is answered and the worker ends well; the others go elsewhere, uncounted."""
    keys = Keys(redis_settings.prefix, "gate")
    names = [f"g{number}" for number in range(5)]
    drained = start_worker(GATE)
    for name in names:
        client.submit("gate", "pass", [gates.path(name)], job_id=name)
    eventually(lambda: gates.journal() == ["g0"] and holders(raw, keys) == {drained.name: 5})
    other = start_worker(GATE)
    gates.open(*names[1:])

    drained.terminate()
    for name in names[1:]:
        assert client.result("gate", name, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    gates.open("g0")

    assert client.result("gate", "g0", timeout_s=LONG_S) == {"outputs": [gates.path("g0")]}
    assert drained.wait() == 0
    assert [served_by(raw, keys, name) for name in names] == [(drained.name, 1)] + [(other.name, 1)] * 4
    assert (sorted(gates.journal()), left(raw, keys)) == (names, 0)


def test_all_workers_replaced_one_by_one_under_load(
    client: Client, start_worker: StartWorker, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """F12: a rolling deploy loses no call and gets no answer wrong, also where callers say more than workers know.

    There is one version of the wire so far; what a newer caller may add within it is a field a worker does not know.
    """
    keys = Keys(redis_settings.prefix, "upper")
    workers = [start_worker(UPPER) for _ in range(2)]
    done = threading.Event()

    def call(number: int) -> int:
        count = 0
        while not done.is_set():
            text = f"text {number} {count}"
            assert client.call("upper", "upper", [text], timeout_s=LONG_S)["texts"] == [text.upper()]
            count += 1
        return count

    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(call, number) for number in range(8)]
        for old in workers:
            start_worker(UPPER)
            old.terminate()
            assert old.wait() == 0
        newer: Any = {"id": "newer", "op": "upper", "payload": pack({"inputs": ["a"], "options": {}}), "hue": "red"}
        raw.xadd(keys.stream("interactive"), newer)
        assert client.result("upper", "newer", timeout_s=LONG_S)["texts"] == ["A"]
        done.set()
        counts = [each.result(LONG_S) for each in calls]

    assert min(counts) > 0
    assert left(raw, keys) == 0


def test_a_job_cancelled_while_it_waits_runs_or_is_done(
    client: Client, start_worker: StartWorker, gates: Gates
) -> None:
    """F26: cancelled in the lane or in hand it never runs; between its passes it stops; once done it is too late."""
    worker = start_worker(GATE, env={"PENSTOCK_UNITS_HELD": "4", "PENSTOCK_BATCH_SIZE": "1"})
    gates.open("r2", "r3")
    client.submit("gate", "pass", [gates.path(name) for name in ("r1", "r2", "r3")], job_id="running")
    eventually(gates.entered("r1"))
    queued(client, gates, "in-hand")
    eventually(lambda: worker.metric("penstock_jobs_in_hand", model="gate") == 2)
    queued(client, gates, "in-lane")

    outcomes = [client.cancel("gate", name) for name in ("running", "in-hand", "in-lane")]
    eventually(lambda: worker.metric("penstock_jobs_in_hand", model="gate") <= 1)
    gates.open("r1")
    queued(client, gates, "after")

    assert client.result("gate", "after", timeout_s=LONG_S) == {"outputs": [gates.path("after")]}
    assert gates.journal() == ["r1", "after"]
    assert (outcomes, client.cancel("gate", "after")) == (["cancelled"] * 3, "finished")
    for name in ("running", "in-hand", "in-lane"):
        with pytest.raises(Cancelled):
            client.result("gate", name, timeout_s=5.0)


def test_a_job_whose_time_passed_before_it_was_started(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """F27: it is answered `Expired`, and leaves its lane unrun."""
    queued(client, gates, "late", timeout_s=0.001)
    queued(client, gates, "in-time", timeout_s=LONG_S)
    eventually(older(raw, Keys(redis_settings.prefix, "gate"), "late"))

    worker = start_worker(GATE)

    with pytest.raises(Expired, match="may not be started after 1 ms"):
        client.result("gate", "late", timeout_s=LONG_S)
    client.result("gate", "in-time", timeout_s=LONG_S)
    assert gates.journal() == ["in-time"]
    assert worker.metric("penstock_expired_total", model="gate") == 1


@pytest.mark.parametrize("end", ["crash", "drain"])
def test_a_job_whose_time_passed_after_it_was_started(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings, raw: "Redis", end: str
) -> None:
    """F27: it is not late any more: another engine does what is left of it when its own has crashed or is stopped."""
    first = start_worker(GATE, env={"PENSTOCK_DRAIN_GRACE_S": "0.1"})
    client.submit("gate", "pass", [gates.path("a"), gates.path("b")], job_id="long", timeout_s=0.5)
    gates.open("a")
    eventually(gates.entered("b"))
    eventually(older(raw, Keys(redis_settings.prefix, "gate"), "long", by_ms=600))

    if end == "crash":
        os.kill(first.engine_pid, signal.SIGKILL)
    else:
        start_worker(GATE)
        first.terminate()
    gates.open("b")

    assert client.result("gate", "long", timeout_s=LONG_S) == {"outputs": [gates.path("a"), gates.path("b")]}


def older(raw: "Redis", keys: Keys, job_id: str, *, by_ms: int = 2) -> Callable[[], bool]:
    """Return a look at whether a job is older than that, by the server's clock."""
    entry: Any = raw.get(keys.job(job_id))
    submitted = int(entry.split(b"-")[0])

    def look() -> bool:
        seconds, micros = raw.time()
        return seconds * 1000 + micros // 1000 > submitted + by_ms

    return look


def test_a_flooded_model_and_a_flooded_lane_starve_nobody(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """F29: behind one model's backlog another one answers at once; behind an interactive one, bulk gets its turn."""
    start_worker(GATE, UPPER, env={"PENSTOCK_BULK_EVERY": "4"})
    client.submit("gate", "pass", [gates.path("hold")], job_id="hold")
    eventually(gates.entered("hold"))
    hot = [f"hot{number:02}" for number in range(40)]
    queued(client, gates, *hot)
    queued(client, gates, "bulk", lane="bulk")

    assert client.call("upper", "upper", ["cold"], timeout_s=LONG_S)["texts"] == ["COLD"]
    assert gates.journal() == ["hold"]
    bulk = Keys(redis_settings.prefix, "gate").stream("bulk")

    def is_read() -> bool:
        pending: Any = raw.xpending(bulk, GROUP)
        return bool(pending["pending"])

    # passes are so short that a reader which has no processor would come to the lane behind many of them
    eventually(is_read)
    gates.open("hold")

    for name in ("bulk", *hot):
        assert client.result("gate", name, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    assert 1 <= gates.journal().index("bulk") <= 1 + 4
    assert sorted(name for name in gates.journal() if name.startswith("hot")) == hot
