"""What servers of both kinds tell and allow, and that looking leaves nothing behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from rpc import Client, RedisSettings
from rpc.fitness import Finding, examine, judged, refusal
from tests.conftest import settings_for
from tests.servers import Server
from tests.waiting import eventually

pytestmark = pytest.mark.server

Look = Callable[..., dict[str, Finding]]


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, which the test may set as it likes."""
    return settings_for(own_server)


@pytest.fixture
def raw(own_server: Server) -> Iterator["Redis"]:
    """Yield redis-py itself."""
    with Redis.from_url(own_server.url, protocol=2) as redis:
        yield redis


@pytest.fixture
def look(redis_settings: RedisSettings) -> Look:
    """Return a look at the server, by a user of that name or by the default one: what is not well, by what it is."""

    def look(user: str = "") -> dict[str, Finding]:
        url = redis_settings.url.get_secret_value()
        own = url.replace("redis://", f"redis://{user}:secret@") if user else url
        with Client(settings=RedisSettings.from_env({}, url=own, prefix=redis_settings.prefix)) as client:
            findings = judged(client.ask(examine(redis_settings.prefix)))
        return {finding.what: finding for finding in findings if finding.level != "ok"}

    return look


def test_a_server_of_the_tests_is_well_and_stays_as_it_was(look: Look, raw: "Redis") -> None:
    """Noeviction and an append-only file are all it takes; nothing is written that lasts, and nobody is woken."""
    assert look() == {}
    assert raw.dbsize() == 0


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_an_evicting_server_is_refused(look: Look, raw: "Redis", policy: str) -> None:
    """Once there is a bound; also where the configuration may not be asked."""
    raw.config_set("maxmemory-policy", policy)
    limit(raw, "~*", "&*", "+@all", "-config")
    unbounded = look()
    raw.config_set("maxmemory", "1gb")

    assert unbounded["maxmemory-policy"].level == "warning"
    assert refusal(list(unbounded.values())) is None
    for findings in (look(), look("limited")):
        unfit = refusal(list(findings.values()))
        assert unfit is not None
        assert unfit.says == policy


def test_a_full_server_is_told(look: Look, raw: "Redis") -> None:
    """That memory has run out, and that submits are refused because of it."""
    raw.config_set("maxmemory", "1")

    findings = look()

    levels = {what: finding.level for what, finding in findings.items()}
    assert levels == {"memory": "warning", "writes": "fault"}
    assert "submits are refused" in findings["writes"].advice


@pytest.mark.parametrize(("save", "says"), [("", "none"), ("3600 1", "snapshots only")])
def test_a_server_that_forgets_is_told(look: Look, raw: "Redis", save: str, says: str) -> None:
    """With no file to read from at its start, or an old one."""
    raw.config_set("appendonly", "no")
    raw.config_set("save", save)

    assert look()["persistence"].says == says


def test_what_cuts_lines_is_told(look: Look, raw: "Redis") -> None:
    """Idle connections that are cut, and listeners that are not waited for."""
    raw.config_set("timeout", "300")
    raw.config_set("client-output-buffer-limit", "pubsub 64kb 0 0")

    assert set(look()) == {"timeout", "listeners"}


def test_a_replica_takes_no_jobs(look: Look, raw: "Redis", server: Server) -> None:
    """A server that has become a replica says so, and refuses writes."""
    raw.replicaof("127.0.0.1", server.port)
    # until it has the data of its master it answers that it is loading or stale
    findings = eventually(lambda: seen if "role" in (seen := look()) else None)
    raw.replicaof("NO", "ONE")

    assert findings is not None
    assert (findings["role"].level, findings["writes"].level) == ("fault", "fault")


def test_writes_wait_for_replicas_that_are_not_there(look: Look, raw: "Redis") -> None:
    """A server that wants replicas for a write and has none refuses jobs, in its own words."""
    raw.config_set("min-replicas-to-write", "1")

    findings = look()

    assert set(findings) == {"writes"}
    assert "replicas" in findings["writes"].says


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (("+@all", "~*", "&*"), {}),
        (("+@all", "~*", "&*", "-info"), {"server": "warning"}),
        (("+@all", "~*", "&*", "-config"), {}),
        (
            ("+@all", "~*", "&*", "-info", "-config"),
            {"server": "warning", "maxmemory-policy": "warning", "persistence": "warning"},
        ),
        (("+@all", "~*", "resetchannels"), {"channels": "warning"}),
        (("+@all", "~*", "&*", "-publish"), {"channels": "warning"}),
        (("+@all", "~*", "&*", "-evalsha"), {"scripts": "fault"}),
        (("+@all", "~*", "&*", "-script|load"), {"scripts": "fault"}),
        (("+@all", "~*", "&*", "-@stream"), {"writes": "fault"}),
        (("+@all", "~somebody-else:*", "&*"), {"scripts": "fault", "writes": "fault"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_user_may_not_is_told(look: Look, raw: "Redis", rules: tuple[str, ...], told: dict[str, str]) -> None:
    """Each permission that is missing shows as what will not work without it."""
    limit(raw, *rules)

    assert {what: finding.level for what, finding in look("limited").items()} == told
    assert raw.dbsize() == 0


def limit(raw: "Redis", *rules: str) -> None:
    """Make a user `limited` with these rules."""
    told: Any = raw.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rules)  # type: ignore[no-untyped-call]
    assert told in {True, b"OK"}
