"""Poison jobs beside long innocent ones of other models: engines, and whole workers, that die again and again."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from rpc import Client, DeadLettered, RedisSettings, inspection
from rpc.keys import GROUP, LANES, Keys
from tests.conftest import ON_VALKEY, Gates, StartWorker
from tests.faulty import DIRECTORY
from tests.waiting import LOAD_S, LONG_S, eventually
from tests.workers import WorkerProcess

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

INNOCENT = ("slow", "slower")

LONG_JOB = [f"unit {number}" for number in range(15)]

ENGINES_OF_A_WORKER = {"PENSTOCK_MOST_FAILURES": "30"}


def models(*names: str) -> list[str]:
    """Return what serves these classes."""
    return [f"tests.faulty:{name}" for name in names]


def dead(client: Client, settings: RedisSettings, model: str) -> list[tuple[str, int]]:
    """Return the jobs of a model that were given up on, and after how many deliveries."""
    found = client.ask(inspection.dead_jobs(settings.prefix, model))
    return sorted((str(job.job_id), job.deliveries) for job in found)


def at_work(raw: "Redis", settings: RedisSettings, model: str) -> bool:
    """Return whether a worker has a job of the model in its hands."""
    held: Any = [raw.xpending(Keys(settings.prefix, model).stream(lane), GROUP)["pending"] for lane in LANES]
    return any(held)


def test_poison_jobs_of_two_models_take_no_innocent_with_them(
    client: Client, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """F9: two jobs that end the engine, in a pass and in prepare, are dead-lettered, and no long job beside them."""
    for model in INNOCENT:
        client.submit(model, "take", LONG_JOB, job_id=f"{model}-1")
    for model in ("poisoned", "poisoned-in-prepare"):
        client.submit(model, "swallow", ["engine"], job_id=f"{model}-1")
    client.submit("poisoned", "swallow", ["harmless"], job_id="beside")
    env = {**ENGINES_OF_A_WORKER, "PENSTOCK_LEASE_S": "120", DIRECTORY: str(tmp_path)}
    worker = start_worker(*models("Slow", "Slower", "Poisoned", "PoisonedInPrepare"), env=env)

    for model in INNOCENT:
        assert client.result(model, f"{model}-1", timeout_s=LOAD_S) == {"outputs": LONG_JOB}
    assert client.result("poisoned", "beside", timeout_s=LOAD_S) == {"outputs": ["harmless"]}
    for model in ("poisoned", "poisoned-in-prepare"):
        with pytest.raises(DeadLettered, match=r"after 3 deliveries.*: SIGKILL"):
            client.result(model, f"{model}-1", timeout_s=LOAD_S)
        assert dead(client, redis_settings, model) == [(f"{model}-1", 3)]
    assert [dead(client, redis_settings, model) for model in INNOCENT] == [[], []]
    # three deaths each, and those in company, of which the next death is alone
    assert 6 <= worker.metric("penstock_engine_restarts_total") <= 9


def test_a_poison_job_that_ends_whole_workers_takes_no_innocent_with_it(
    client: Client, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    """F9: with the supervisor gone nothing is known: leases lapse, and still only the poison job is counted."""
    for model in INNOCENT:
        client.submit(model, "take", LONG_JOB, job_id=f"{model}-1")
    client.submit("poisoned", "swallow", ["worker"], job_id="poison")
    env = {**ENGINES_OF_A_WORKER, "PENSTOCK_LEASE_S": "1", DIRECTORY: str(tmp_path)}

    workers = 0
    while not dead(client, redis_settings, "poisoned"):
        worker = start_worker(*models("Slow", "Slower", "Poisoned"), env=env, ready=False)
        workers += 1
        eventually(lambda: not worker.running or dead(client, redis_settings, "poisoned"), within_s=LOAD_S)  # noqa: B023 (called at once)

    for model in INNOCENT:
        assert client.result(model, f"{model}-1", timeout_s=LOAD_S) == {"outputs": LONG_JOB}
    assert [dead(client, redis_settings, model) for model in INNOCENT] == [[], []]
    assert (dead(client, redis_settings, "poisoned"), workers) == ([("poison", 3)], 5)


def test_a_job_that_gets_further_each_time_is_never_given_up_on(client: Client, start_worker: StartWorker) -> None:
    """F9: units kept since the last delivery clear the count, however often engines end at a long job."""
    env = {**ENGINES_OF_A_WORKER, "PENSTOCK_LEASE_S": "120", "PENSTOCK_MAX_DELIVERIES": "2"}
    worker = start_worker(*models("Creeps"), env=env)

    answer = client.call("creeps", "take", ["one two three four"], timeout_s=LOAD_S)

    assert answer == {"outputs": [["one", "two", "three", "four"]]}
    assert worker.metric("penstock_engine_restarts_total") >= 3


def test_an_engine_of_its_own_keeps_a_crash_from_the_others(
    client: Client, start_worker: StartWorker, gates: Gates, tmp_path: Path
) -> None:
    """With an engine for each model a crash of one restarts no other and touches no pass; each is watched by itself."""
    names = ["tests.models:Gate", "tests.faulty:Poisoned", "echo"]
    env = {"PENSTOCK_LEASE_S": "120", DIRECTORY: str(tmp_path), "PENSTOCK_MOST_FAILURES": "3"}
    worker = start_worker(*names, env=env, arguments=["--engines", "per-model"], ready=False)
    eventually(lambda: worker.log.count("ready: ") == 3, within_s=LOAD_S)
    before = engines(worker)
    assert [each["models"] for each in before] == [["gate"], ["poisoned"], ["echo"]]
    client.submit("gate", "pass", [gates.path("held")], job_id="held")
    eventually(gates.entered("held"))

    client.submit("poisoned", "swallow", ["engine"])

    # three engines of this model served nobody; the others serve on
    worker.wait_for("3 engines of tests.faulty:Poisoned in a row ended")
    assert client.call("echo", "echo", ["a"], timeout_s=LONG_S) == {"outputs": ["a"]}
    gates.open("held")
    assert client.result("gate", "held", timeout_s=LONG_S) == {"outputs": [gates.path("held")]}
    assert gates.journal() == ["held"]
    after = engines(worker)
    assert [(after[place]["pid"], after[place]["restarts"]) for place in (0, 2)] == [
        (before[place]["pid"], 0) for place in (0, 2)
    ]
    assert (after[1]["ready"], after[1]["given_up"], worker.get("/readyz")[0], worker.get("/livez")[0]) == (
        *(False, True, 503, 200),
    )
    assert worker.metric("penstock_engine_restarts_total", models="tests.faulty:Poisoned") == 2
    assert worker.metric("penstock_engines", device="auto") == 2
    worker.terminate()
    assert worker.wait() == 1


def engines(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Return what a worker tells of its engines."""
    found: list[dict[str, Any]] = json.loads(worker.get("/livez")[1])["engines"]
    return found
