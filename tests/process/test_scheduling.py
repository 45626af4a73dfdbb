"""Which job runs when, and which does not run at all."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from rpc import Client, Expired, QueueFull, RedisSettings
from rpc.keys import LANES, Keys
from tests.callers import Callers
from tests.conftest import ON_VALKEY, Gates, StartWorker
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, pytest.mark.process]

GATE = "tests.models:Gate"


def closed(client: Client, gates: Gates) -> None:
    """Have the worker in the middle of a pass that ends when the gate `hold` opens."""
    client.submit("gate", "pass", [gates.path("hold")], job_id="hold")
    eventually(gates.entered("hold"))


def queued(client: Client, gates: Gates, *names: str, **options: Any) -> None:
    """Submit a job for each name, its gate open."""
    gates.open(*names)
    for name in names:
        client.submit("gate", "pass", [gates.path(name)], job_id=name, **options)


def in_hand(worker: Any) -> float:
    """Return how many jobs the worker holds."""
    count: float = worker.metric("penstock_jobs_in_hand", model="gate")
    return count


def outlived(raw: "Redis", entry: bytes, ttl_ms: int) -> Callable[[], bool]:
    """Return a look at whether an entry is older than that, by the server's clock."""
    submitted = int(entry.split(b"-")[0])

    def look() -> bool:
        seconds, micros = raw.time()
        return seconds * 1000 + micros // 1000 > submitted + ttl_ms + 1

    return look


def entry_of(raw: "Redis", keys: Keys, job_id: str) -> bytes:
    """Return the entry of a job."""
    entry: Any = raw.get(keys.job(job_id))
    assert isinstance(entry, bytes)
    return entry


def test_a_job_whose_time_passed_behind_others_is_not_run(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """Also a job the worker has read already is not started after its time; one begun in time is finished late."""
    keys = Keys(redis_settings.prefix, "gate")
    worker = start_worker(GATE)
    client.submit("gate", "pass", [gates.path("hold")], job_id="hold", timeout_s=0.3)
    eventually(gates.entered("hold"))
    queued(client, gates, "late", timeout_s=0.3)
    queued(client, gates, "in-time", timeout_s=LONG_S)
    eventually(lambda: in_hand(worker) == 3)
    eventually(outlived(raw, entry_of(raw, keys, "late"), 300))

    gates.open("hold")

    for name in ("hold", "in-time"):
        assert client.result("gate", name, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    with pytest.raises(Expired):
        client.result("gate", "late", timeout_s=LONG_S)
    assert gates.journal() == ["hold", "in-time"]
    assert worker.metric("penstock_expired_total", model="gate") == 1


def test_jobs_of_one_entry_id_in_both_lanes_are_two_jobs(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """Queued in the same millisecond, a job of each lane has the same entry id: cancelling one leaves the other."""
    keys = Keys(redis_settings.prefix, "gate")
    worker = start_worker(GATE, env={"PENSTOCK_LEASE_S": "0.4"})
    closed(client, gates)
    gates.open(*LANES)
    entry = f"{raw.time()[0] * 1000 + 3_600_000}-1"
    for lane in LANES:
        job: Any = {"id": lane, "op": "pass", "json": json.dumps({"inputs": [gates.path(lane)]})}
        raw.xadd(keys.stream(lane), job, id=entry)
        raw.set(keys.job(lane), entry, px=60_000)
    eventually(lambda: in_hand(worker) == 3)

    client.cancel("gate", "bulk")
    eventually(lambda: in_hand(worker) == 2)
    gates.open("hold")

    assert client.result("gate", "interactive", timeout_s=LONG_S)["outputs"] == [gates.path("interactive")]
    eventually(lambda: in_hand(worker) == raw.xlen(keys.stream("interactive")) == raw.xlen(keys.stream("bulk")) == 0)
    assert gates.journal() == ["hold", "interactive"]


@ON_VALKEY
def test_a_cancelled_job_is_counted_as_one(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """A job cancelled before it was begun is no success and no failure of the model."""
    worker = start_worker(GATE, env={"PENSTOCK_LEASE_S": "0.4"})
    closed(client, gates)
    queued(client, gates, "a")
    eventually(lambda: in_hand(worker) == 2)

    client.cancel("gate", "a")
    eventually(lambda: in_hand(worker) == 1)
    gates.open("hold")
    eventually(lambda: worker.metric("penstock_jobs_total", model="gate") == 2)

    assert worker.metric("penstock_jobs_total", model="gate", status="cancelled") == 1


def test_who_waits_goes_before_what_nobody_waits_for(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """Interactive jobs are run before bulk jobs that were there first; of many passes one in eight is bulk's."""
    worker = start_worker(GATE)
    closed(client, gates)
    bulk = [f"b{number}" for number in range(3)]
    interactive = [f"i{number}" for number in range(14)]
    queued(client, gates, *bulk, lane="bulk")
    queued(client, gates, *interactive)
    eventually(lambda: in_hand(worker) == 18)

    gates.open("hold")
    client.result("gate", "b2", timeout_s=LONG_S)

    ran = "".join(name[0] for name in gates.journal()[1:])
    assert (ran[:6], ran[:15].count("b")) == ("iiiiii", 2)


def test_a_job_of_many_inputs_does_not_hold_up_one_of_few(
    client: Client, start_worker: StartWorker, gates: Gates
) -> None:
    """Inputs take turns over the jobs: a single one behind a hundred is run next."""
    worker = start_worker(GATE)
    closed(client, gates)
    many = [f"m{number}" for number in range(30)]
    gates.open(*many)
    client.submit("gate", "pass", [gates.path(name) for name in many], job_id="many")
    queued(client, gates, "single")
    eventually(lambda: in_hand(worker) == 3)

    gates.open("hold")
    client.result("gate", "single", timeout_s=LONG_S)
    client.result("gate", "many", timeout_s=LONG_S)

    assert gates.journal().index("single") <= 2


def test_two_workers_share_the_jobs(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """A worker takes no more than it can start soon, so that another finds something to do."""
    env = {"PENSTOCK_UNITS_HELD": "1", "PENSTOCK_BATCH_SIZE": "1"}
    for _ in range(2):
        start_worker(GATE, env=env)
    for name in ("a", "b"):
        client.submit("gate", "pass", [gates.path(name)], job_id=name)

    eventually(gates.entered("a", "b"))

    gates.open("a", "b")
    assert [client.result("gate", name, timeout_s=LONG_S) for name in ("a", "b")] == [
        {"outputs": [gates.path(name)]} for name in ("a", "b")
    ]


@ON_VALKEY
def test_the_bound_of_the_workers_is_the_callers_bound(client: Client, start_worker: StartWorker, gates: Gates) -> None:
    """`PENSTOCK_MAX_JOBS` of the workers refuses submits beyond it, running jobs included."""
    start_worker(GATE, env={"PENSTOCK_MAX_JOBS": "3"})
    closed(client, gates)
    queued(client, gates, "a", "b")

    with pytest.raises(QueueFull, match="is full: 3 jobs"):
        queued(client, gates, "c")

    gates.open("hold")
    client.result("gate", "b", timeout_s=LONG_S)
    queued(client, gates, "c")
    assert client.result("gate", "c", timeout_s=LONG_S) == {"outputs": [gates.path("c")]}


@ON_VALKEY
def test_a_result_nobody_wants_kept_leaves_a_marker(
    client: Client, start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """With `keep_s` 0 the job is known to have ended, is not run twice, and its result is nowhere."""
    worker = start_worker("echo")
    keys = Keys(redis_settings.prefix, "echo")
    client.submit("echo", "echo", ["secret"], job_id="j1", keep_s=0.0)
    eventually(lambda: raw.exists(keys.result("j1")))

    again = client.call("echo", "echo", ["secret"], job_id="j1", timeout_s=LONG_S)

    value: Any = raw.get(keys.result("j1"))
    assert (again, b"secret" in value, raw.pttl(keys.result("j1")) > 0) == ({}, False, True)
    assert worker.metric("penstock_jobs_total", model="echo") == 1


@ON_VALKEY
def test_one_worker_serves_models_side_by_side(callers: Callers, start_worker: StartWorker, gates: Gates) -> None:
    """A model in the middle of a long pass holds up no other model of its process."""
    start_worker(GATE, "echo", "tests.models:Upper")
    caller = callers.make()
    long = callers.start(caller.call, "gate", "pass", [gates.path("hold")], timeout_s=LONG_S)
    eventually(gates.entered("hold"))

    assert caller.call("upper", "upper", ["a"], timeout_s=LONG_S) == {"texts": ["A"], "failed": []}
    assert caller.call("echo", "echo", ["a"], timeout_s=LONG_S) == {"outputs": ["a"]}

    gates.open("hold")
    assert long.result(LONG_S) == {"outputs": [gates.path("hold")]}


@ON_VALKEY
def test_units_of_many_callers_share_a_pass(callers: Callers, start_worker: StartWorker, gates: Gates) -> None:
    """What waits while a pass runs goes through the next one together, and each caller gets its own."""
    worker = start_worker("tests.models:WideGate")
    caller = callers.make()
    first = callers.start(caller.call, "wide-gate", "pass", [gates.path("hold")], timeout_s=LONG_S)
    eventually(gates.entered("hold"))
    names = [f"g{number}" for number in range(20)]
    others = [callers.start(caller.call, "wide-gate", "pass", [gates.path(name)], timeout_s=LONG_S) for name in names]
    eventually(lambda: worker.metric("penstock_jobs_in_hand", model="wide-gate") == 21)

    gates.open("hold", *names)

    assert [call.result(LONG_S) for call in (first, *others)] == [
        {"outputs": [gates.path(name)]} for name in ("hold", *names)
    ]
    assert worker.metric("penstock_batch_units_count", model="wide-gate") == 2
    assert worker.metric("penstock_batch_jobs_sum", model="wide-gate") == 21
