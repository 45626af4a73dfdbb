"""Engines that die, hang, hold the GIL, lose their device or fail at everything: rows F1, F2 and F7 to F10."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from rpc import Client, DeadLettered, ModelError, RedisSettings, inspection
from rpc.codec import decode_reply
from rpc.keys import GROUP, LANES, Keys
from rpc.messages import Success
from tests.conftest import Gates, StartWorker
from tests.faulty import DIRECTORY, HELD_S
from tests.waiting import LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process]

LEASE_S = 1.0

FOREVER = {"PENSTOCK_LEASE_S": "120"}
"""A lease no test waits for: what is taken over is handed over."""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return what a worker with a faulty model is told."""
    return {"PENSTOCK_LEASE_S": str(LEASE_S), DIRECTORY: str(tmp_path)}


def happened(directory: Path, name: str) -> int:
    """Return how often a model has noted something."""
    path = directory / name
    return path.stat().st_size if path.exists() else 0


def attempts(raw: "Redis", settings: RedisSettings, model: str, job_id: str) -> int:
    """Return how often an answered job was handed out."""
    value: Any = raw.get(Keys(settings.prefix, model).result(job_id))
    reply = decode_reply(value)
    assert isinstance(reply, Success)
    return reply.meta.attempts


def left(raw: "Redis", settings: RedisSettings, model: str) -> int:
    """Return how many jobs are in the lanes of a model."""
    keys = Keys(settings.prefix, model)
    return sum(int(raw.xlen(keys.stream(lane))) for lane in LANES)


def test_an_engine_killed_in_mid_batch(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """F1: the jobs of a killed engine are taken over at once, without their lease having to lapse; one reply each."""
    names = [f"g{number}" for number in range(8)]
    for name in names:
        client.submit("wide-gate", "pass", [gates.path(name)], job_id=name)
    worker = start_worker("tests.models:WideGate", env={**FOREVER, "PENSTOCK_BATCH_COST": "4"})
    keys = Keys(redis_settings.prefix, "wide-gate")
    eventually(lambda: gates.journal() and len(pending(raw, keys)) == 8)

    os.kill(worker.engine_pid, signal.SIGKILL)
    gates.open(*names)

    for name in names:
        assert client.result("wide-gate", name, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    # what merely waited in the dead engine's hands is not counted as delivered
    assert sorted(attempts(raw, redis_settings, "wide-gate", name) for name in names) == [1] * 4 + [2] * 4
    assert (worker.running, left(raw, redis_settings, "wide-gate")) == (True, 0)


def pending(raw: "Redis", keys: Keys) -> list[Any]:
    """Return what is in workers' hands."""
    found: Any = raw.xpending_range(keys.stream("interactive"), GROUP, "-", "+", 100)
    return list(found)


def test_an_engine_killed_between_the_pass_and_the_reply(
    client: Client, start_worker: StartWorker, environ: dict[str, str], tmp_path: Path
) -> None:
    """F2: work that was done and not told is done again, and told once."""
    start_worker("tests.faulty:DiesInFinish", env={**environ, **FOREVER})

    answer = client.call("dies-in-finish", "finish", ["a"], timeout_s=LONG_S)

    assert answer == {"outputs": ["a"]}
    assert (happened(tmp_path, "passes"), happened(tmp_path, "finishes")) == (2, 2)


def test_an_engine_that_holds_the_gil(
    client: Client,
    start_worker: StartWorker,
    environ: dict[str, str],
    tmp_path: Path,
    raw: "Redis",
    redis_settings: RedisSettings,
) -> None:
    """F7: C code that lets no thread run for longer than two leases costs no lease: nobody else gets the job."""
    workers = [start_worker("tests.faulty:HoldsGil", env=environ) for _ in range(2)]
    assert HELD_S > 2.5 * LEASE_S

    answer = client.call("holds-gil", "hold", ["hold"], job_id="j1", timeout_s=LONG_S)

    assert answer == {"outputs": ["hold"]}
    assert (happened(tmp_path, "held"), attempts(raw, redis_settings, "holds-gil", "j1")) == (1, 1)
    assert [worker.metric("penstock_lost_leases_total") for worker in workers] == [0, 0]
    assert [worker.metric("penstock_engine_restarts_total") for worker in workers] == [0, 0]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "always"])
def test_an_engine_that_hangs(
    client: Client, start_worker: StartWorker, environ: dict[str, str], redis_settings: RedisSettings, *, lasting: bool
) -> None:
    """F8: a call that never comes back keeps no lease: its engine is killed, its job answered or dead-lettered."""
    worker = start_worker("tests.faulty:Wedges", env={**environ, "PENSTOCK_HANG_AFTER_S": "2"})

    if lasting:
        with pytest.raises(DeadLettered, match=r"after 3 deliveries.*: no progress for 2 s"):
            client.call("wedges", "wedge", ["wedge"], timeout_s=2 * LONG_S)
    else:
        assert client.call("wedges", "wedge", ["once"], timeout_s=LONG_S) == {"outputs": ["once"]}

    assert client.call("wedges", "wedge", ["next"], timeout_s=LONG_S) == {"outputs": ["next"]}
    assert worker.metric("penstock_engine_restarts_total") == (3 if lasting else 1)
    assert len(client.ask(inspection.dead_jobs(redis_settings.prefix, "wedges"))) == lasting


def test_a_poison_job_in_a_batch_of_many(
    client: Client, start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """F9: a job that kills its engine is dead-lettered with how; the 31 others of its batch are all answered."""
    names = [f"j{number}" for number in range(32)]
    for name in names:
        client.submit("dies", "live", ["die" if name == "j9" else name], job_id=name)
    worker = start_worker("tests.models:Dies", env=FOREVER)

    for name in names:
        if name != "j9":
            assert client.result("dies", name, timeout_s=LONG_S) == {"outputs": [name]}
    with pytest.raises(DeadLettered, match=r"after 3 deliveries.*: SIGKILL"):
        client.result("dies", "j9", timeout_s=LONG_S)
    (dead,) = client.ask(inspection.dead_jobs(redis_settings.prefix, "dies"))
    assert (dead.job_id, dead.deliveries, dead.whole, "SIGKILL" in dead.reason) == ("j9", 3, True, True)
    assert (worker.running, left(raw, redis_settings, "dies")) == (True, 0)


def test_a_worker_that_fails_every_job(client: Client, start_worker: StartWorker, environ: dict[str, str]) -> None:
    """F10: it starts its engine afresh, and after engines in a row that served nobody it ends: it is no black hole."""
    limits = {"PENSTOCK_MOST_FAILED_JOBS": "3", "PENSTOCK_MOST_FAILURES": "3"}
    worker = start_worker("tests.faulty:AlwaysFails", env={**environ, **limits})
    assert client.call("always-fails", "fail", ["work"], timeout_s=LONG_S) == {"outputs": ["work"]}

    def tried(job_id: str) -> bool:
        return client.progress("always-fails", job_id).state == "finished" or not worker.running

    while worker.running:
        job_id = client.submit("always-fails", "fail", ["a"])
        eventually(partial(tried, job_id))
        if worker.running:
            with pytest.raises(ModelError, match="no luck"):
                client.result("always-fails", job_id, timeout_s=LONG_S)

    assert worker.wait() == 1
    # the first engine served a job and does not count
    assert worker.log.count("3 jobs in a row failed") == 4
    assert "engines in a row ended without serving a job" in worker.log


def test_an_engine_ends_with_its_supervisor(start_worker: StartWorker) -> None:
    """However a worker is ended, no engine stays behind that nobody watches over."""
    worker = start_worker("tests.models:Dies")
    engine = psutil.Process(worker.engine_pid)
    assert os.getpgid(engine.pid) == os.getpgid(worker.pid)

    worker.kill()

    eventually(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_a_worker_of_several_devices(
    client: Client, start_worker: StartWorker, gates: Gates, redis_settings: RedisSettings
) -> None:
    """Each device has an engine; one that dies is replaced while the other serves, and both are one worker's."""
    one_each = {"PENSTOCK_UNITS_HELD": "1", "PENSTOCK_BATCH_SIZE": "1"}
    worker = start_worker("tests.models:Gate", env={**FOREVER, **one_each}, arguments=["--devices", "cpu,cpu"])
    eventually(lambda: worker.metric("penstock_engines") == 2)
    for name in "ab":
        client.submit("gate", "pass", [gates.path(name)], job_id=name)
    eventually(gates.entered("a", "b"))
    state = inspection.model_state
    eventually(lambda: len(client.ask(state(redis_settings.prefix, "gate")).workers) == 2)
    told = client.ask(state(redis_settings.prefix, "gate")).workers

    os.kill(int(next(iter(told.values()))["pid"]), signal.SIGKILL)
    gates.open("a", "b")

    for name in "ab":
        assert client.result("gate", name, timeout_s=LONG_S) == {"outputs": [gates.path(name)]}
    eventually(lambda: worker.metric("penstock_engines") == 2)
    assert worker.metric("penstock_engine_restarts_total", device="cpu") == 1


def test_a_unit_that_does_not_fit_is_tried_again_alone(
    client: Client, start_worker: StartWorker, environ: dict[str, str], raw: "Redis", redis_settings: RedisSettings
) -> None:
    """Without memory a batch is halved; a unit alone is put off and tried again, and told its error at last."""
    worker = start_worker("tests.faulty:RunsOut", env=environ)
    names = [f"u{number}" for number in range(8)]

    assert client.call("runs-out", "fill", names, timeout_s=LONG_S) == {"outputs": names}
    assert client.call("runs-out", "fill", ["later"], job_id="j1", timeout_s=LONG_S) == {"outputs": ["later"]}
    assert attempts(raw, redis_settings, "runs-out", "j1") == 2
    with pytest.raises(ModelError, match="out of memory"):
        client.call("runs-out", "fill", ["large"], timeout_s=LONG_S)
    assert worker.metric("penstock_retries_total", model="runs-out") == 3
    assert worker.metric("penstock_engine_restarts_total") == 0


def test_an_engine_that_loses_its_device_is_replaced(
    client: Client, start_worker: StartWorker, environ: dict[str, str]
) -> None:
    """Jobs that failed because the device did are tried again by an engine started afresh."""
    worker: WorkerProcess = start_worker("tests.faulty:LosesDevice", env=environ)

    assert client.call("loses-device", "use", ["break"], timeout_s=LONG_S) == {"outputs": ["break"]}

    assert worker.metric("penstock_engine_restarts_total") == 1
    assert "another one may do better" in worker.log
