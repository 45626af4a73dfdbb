"""Servers that forbid what is needed, or evict what they were given: rows F19 and F34, and what the doctor says."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis, ResponseError

from rpc import Client, JobLost, RedisSettings
from rpc.fitness import examine, judged
from tests.answering import Answering, read_one
from tests.callers import Callers
from tests.conftest import MakeConsumer, StartWorker, settings_for
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = pytest.mark.server

UPPER = "tests.models:Upper"


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, so that consumers and callers use that one."""
    return settings_for(own_server, sweep_s=0.2)


@pytest.fixture
def raw(own_server: Server) -> Iterator["Redis"]:
    """Yield redis-py itself."""
    with Redis.from_url(own_server.url, protocol=2) as redis:
        yield redis


def user(raw: "Redis", settings: RedisSettings, *rules: str) -> RedisSettings:
    """Return the settings of a user with these rules."""
    raw.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)  # type: ignore[no-untyped-call]
    url = settings.url.get_secret_value().replace("redis://", "redis://limited:secret@")
    return RedisSettings.from_env({}, url=url, prefix=settings.prefix, sweep_s=settings.sweep_s)


def doctor(settings: RedisSettings) -> tuple[int, dict[str, dict[str, str]]]:
    """Return exit status and findings of the command."""
    line = [sys.executable, "-m", "producers", "doctor", "--json"]
    ended = subprocess.run(line, cwd=ROOT, env=environment(settings), capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    return ended.returncode, {finding["what"]: finding for finding in json.loads(ended.stdout)}


def test_a_server_that_evicts_what_it_was_given(callers: Callers, make_consumer: MakeConsumer, raw: "Redis") -> None:
    """F19: a caller whose job's keys were evicted is answered after sending it again, or told; it never hangs."""
    caller, consumer = callers.make(), make_consumer()
    call = callers.start(caller.call, "m", "op", ["called"], job_id="called", timeout_s=LONG_S)
    sent = caller.submit("m", "op", ["sent"], job_id="sent")
    result = callers.start(caller.result, "m", sent, timeout_s=LONG_S)
    read_one(consumer)
    eventually(lambda: raw.exists(consumer.keys.job("called"), consumer.keys.job("sent")) == 2)
    raw.config_set("maxmemory-policy", "volatile-lru")
    raw.config_set("maxmemory", "1")
    # any write has to make room first
    eventually(lambda: evicted(raw, consumer.keys.job("called")))
    raw.config_set("maxmemory", "0")

    with Answering(consumer):
        assert call.result(LONG_S) == {"outputs": ["called"]}
    outcome = result.exception(LONG_S)
    assert outcome is None or isinstance(outcome, JobLost)


def evicted(raw: "Redis", key: str) -> bool:
    """Return whether a key is gone, after a write."""
    # a server without anything left to evict refuses
    with contextlib.suppress(ResponseError):
        raw.set("probe", "x", px=1)
    return not raw.exists(key)


@pytest.mark.process
def test_a_worker_refuses_a_server_that_evicts(
    redis_settings: RedisSettings, raw: "Redis", start_worker: StartWorker
) -> None:
    """F19: it ends with status 2, naming the policy and what to do; it serves all the same where that is wanted."""
    raw.config_set("maxmemory-policy", "volatile-lru")
    raw.config_set("maxmemory", str(10**9))

    refused = start_worker(UPPER, settings=redis_settings, ready=False)
    assert refused.wait() == 2
    assert "maxmemory-policy is volatile-lru: CONFIG SET maxmemory-policy noeviction" in refused.log

    willing = start_worker(UPPER, settings=redis_settings, env={"PENSTOCK_SERVER_CHECK": "warn"})
    assert "server: maxmemory-policy: volatile-lru" in willing.log
    with Client(settings=redis_settings) as client:
        assert client.call("upper", "upper", ["a"], timeout_s=LONG_S)["texts"] == ["A"]
    status, findings = doctor(redis_settings)
    assert (status, findings["maxmemory-policy"]["level"]) == (1, "fault")


@pytest.mark.process
def test_a_user_without_channels(redis_settings: RedisSettings, raw: "Redis", start_worker: StartWorker) -> None:
    """F34: callers and workers are served by the sweep, and the worker and the doctor say why it is slow."""
    limited = user(raw, redis_settings, "~*", "+@all", "resetchannels")

    worker = start_worker(UPPER, settings=limited)
    with Client(settings=limited) as client:
        for number in range(3):
            assert client.call("upper", "upper", [f"a{number}"], timeout_s=LONG_S)["texts"] == [f"A{number}"]

    assert "server: channels" in worker.log
    status, findings = doctor(limited)
    assert (status, findings["channels"]["level"]) == (0, "warning")


@pytest.mark.process
def test_a_user_without_scripts(redis_settings: RedisSettings, raw: "Redis", start_worker: StartWorker) -> None:
    """F34: a worker that may not run scripts says so at its start, and the doctor calls it a fault."""
    limited = user(raw, redis_settings, "~*", "&*", "+@all", "-@scripting")

    worker = start_worker(UPPER, settings=limited, ready=False)
    line = worker.wait_for("server: scripts")

    assert "allow EVALSHA" in line
    status, findings = doctor(limited)
    assert (status, findings["scripts"]["level"]) == (1, "fault")


@pytest.mark.process
def test_a_user_who_may_ask_nothing(redis_settings: RedisSettings, raw: "Redis", start_worker: StartWorker) -> None:
    """A worker that may use neither INFO nor CONFIG says what to see to, keeps its leases, and serves."""
    limited = user(raw, redis_settings, "~*", "&*", "+@all", "-info", "-config")

    worker = start_worker(UPPER, settings=limited)
    with Client(settings=limited) as client:
        assert client.call("upper", "upper", ["a"], timeout_s=LONG_S)["texts"] == ["A"]

    eventually(lambda: raw.zcard(f"{limited.prefix}:{{upper}}:workers") == 1)
    assert "server: maxmemory-policy: not told" in worker.log
    assert "leases not renewed" not in worker.log


@pytest.mark.process
def test_a_doctor_leaves_nothing_and_finds_what_nobody_serves(redis_settings: RedisSettings, raw: "Redis") -> None:
    """A server that is well has no fault until jobs wait and no worker is alive; looking changes nothing."""
    assert doctor(redis_settings)[0] == 0
    assert raw.keys("*") == []
    with Client(settings=redis_settings) as client:
        client.submit("m", "op", ["a"])
        raw.sadd(f"{redis_settings.prefix}:models", "m")
        raw.set(f"{redis_settings.prefix}:{{m}}:result:strange", "for ever")
        told: Any = judged(client.ask(examine(redis_settings.prefix)))

    status, findings = doctor(redis_settings)
    assert (status, findings["model m"]["level"]) == (1, "fault")
    assert "1 keys" in findings["keys"]["says"]
    assert [finding.level for finding in told].count("fault") == 0


@pytest.mark.process
def test_a_doctor_that_reaches_nobody_says_so(redis_settings: RedisSettings, own_server: Server) -> None:
    """One line with the reason, and status 1."""
    own_server.kill()
    line = [sys.executable, "-m", "producers", "doctor"]
    ended = subprocess.run(line, cwd=ROOT, env=environment(redis_settings), capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("penstock: unavailable: Redis at redis://127.0.0.1")
