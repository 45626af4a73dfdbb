"""`penstock doctor`, run as users run it."""

import json
import subprocess
from typing import Any

import pytest
from redis import Redis

from rpc import Client, RedisSettings
from rpc.keys import GROUP, Keys
from tests.answering import read_one
from tests.commands import penstock
from tests.conftest import MakeConsumer, StartWorker, settings_for
from tests.servers import Server

pytestmark = [pytest.mark.server, pytest.mark.process]


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, so that consumers and callers use that one."""
    return settings_for(own_server)


def found(ended: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    """Return what a run with `--json` has printed, by what it is about."""
    assert ended.stderr == ""
    return {finding["what"]: finding for finding in json.loads(ended.stdout)}


def test_a_server_that_is_well_and_served(redis_settings: RedisSettings, start_worker: StartWorker) -> None:
    """Every level is ok, also without colours; exit status 0."""
    start_worker("tests.models:Upper")

    findings = found(penstock("doctor", "--json", settings=redis_settings))
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert set(findings) >= {"server", "maxmemory-policy", "persistence", "subscriptions", "clock", "model upper"}
    table = penstock("doctor", settings=redis_settings)
    assert table.returncode == 0
    assert "1 live workers, 0 jobs" in table.stdout
    assert "\x1b" not in table.stdout


def test_nobody_serves(redis_settings: RedisSettings) -> None:
    """Without any model that is worth a warning; with a job for a model that was never served it is a fault."""
    ended = penstock("doctor", "--json", settings=redis_settings)
    assert (ended.returncode, found(ended)["models"]["level"]) == (0, "warning")

    with Client(settings=redis_settings) as client:
        client.submit("unserved", "op", ["a"])
    ended = penstock("doctor", "--json", settings=redis_settings)
    assert (ended.returncode, found(ended)["model unserved"]["level"]) == (1, "fault")


def test_jobs_astray(redis_settings: RedisSettings, own_server: Server, make_consumer: MakeConsumer) -> None:
    """A lane of which a job was handed out to a consumer that an operator deleted is named, with what to do."""
    consumer = make_consumer()
    with Client(settings=redis_settings) as client, Redis.from_url(own_server.url, protocol=2) as redis:
        client.submit("m", "op", ["a"])
        read_one(consumer)
        redis.xgroup_delconsumer(Keys(redis_settings.prefix, "m").stream("interactive"), GROUP, consumer.name)

    ended = penstock("doctor", settings=redis_settings)

    assert ended.returncode == 1
    (line,) = [line for line in ended.stdout.splitlines() if "model m, interactive" in line]
    assert line.split()[0] == "fault"
    assert "XGROUP SETID" in line


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        (("redis://", "redis://nobody:wrong@"), "invalid username-password pair"),
        (("redis://", "rediss://"), "does it speak TLS at this port?"),
    ],
    ids=["password", "tls"],
)
def test_why_it_gets_nowhere(redis_settings: RedisSettings, replaced: tuple[str, str], told: str) -> None:
    """One line says why, without the password; exit status 1."""
    url = redis_settings.url.get_secret_value().replace(*replaced)

    ended = penstock("--redis-url", url, "doctor", settings=redis_settings)

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("penstock: unavailable: ")
    assert told in ended.stderr
    assert "wrong" not in ended.stderr


def test_a_user_who_may_not_look(redis_settings: RedisSettings, own_server: Server) -> None:
    """What may not be looked at is said, beside all that may; no command ends in a traceback."""
    rules = ("+@all", "~*", "&*", "-subscribe", "-time")
    with Redis.from_url(own_server.url, protocol=2) as redis, Client(settings=redis_settings) as client:
        redis.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)
        client.submit("m", "op", ["a"])
    url = redis_settings.url.get_secret_value().replace("redis://", "redis://limited:secret@")

    ended = penstock("--redis-url", url, "doctor", "--json", settings=redis_settings)
    findings = found(ended)
    assert ended.returncode == 0
    assert {what for what, finding in findings.items() if finding["level"] == "warning"} == {"subscriptions", "models"}
    status = penstock("--redis-url", url, "status", "m", settings=redis_settings)
    assert (status.returncode, status.stderr.count("\n")) == (1, 1)
    assert "time" in status.stderr
