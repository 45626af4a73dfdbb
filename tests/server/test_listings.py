"""What the command line lists of entries that anybody may have written."""

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from producers import doctor, status
from producers.dead import app
from producers.place import Place
from rpc import Client, RedisSettings
from rpc.keys import LANES, Keys
from tests.conftest import ON_VALKEY, MakeConsumer

pytestmark = [pytest.mark.server, ON_VALKEY]

HOSTILE = "a\nfake\x1b[31m\x9b2J\u202e"


def listed(capsys: pytest.CaptureFixture[str], show: Callable[[], object]) -> str:
    """Return what is printed."""
    capsys.readouterr()
    show()
    return capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_text_of_callers_is_escaped_in_every_listing(
    redis_settings: RedisSettings,
    raw: "Redis",
    make_consumer: MakeConsumer,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,  # noqa: FBT001 (pytest's)
) -> None:
    """An entry, a dead job, a worker's own words and a group's name cannot begin a line or steer a terminal."""
    keys = Keys(redis_settings.prefix, "m")
    fields: dict[Any, Any] = {"op": HOSTILE, "id": HOSTILE, "payload": HOSTILE, HOSTILE: HOSTILE}
    consumer = make_consumer(HOSTILE)
    raw.xadd(keys.stream("interactive"), fields)
    consumer.read(LANES, 1, block_ms=0)
    raw.xadd(keys.dead, {**fields, "code": HOSTILE, "reason": HOSTILE, "consumer": HOSTILE, "lane": HOSTILE})
    raw.zadd(keys.workers, {HOSTILE: 1e15})
    raw.hset(keys.worker(HOSTILE), mapping={HOSTILE: HOSTILE})
    raw.pexpire(keys.worker(HOSTILE), 60_000)
    raw.xgroup_create(keys.stream("bulk"), HOSTILE, "0")
    entries: Any = raw.xrange(keys.dead)
    dead_id = entries[0][0]
    place = Place(redis_settings.url.get_secret_value(), redis_settings.prefix)
    shows: list[Callable[[], object]] = [
        lambda: status.show_status(redis_settings, (), as_json=as_json),
        lambda: status.show_jobs(redis_settings, "m", "interactive", 10, as_json=as_json),
        lambda: doctor.show(redis_settings, as_json=as_json),
        lambda: app(["list", "m", *json_flag], obj=place, standalone_mode=False),
        lambda: app(["show", "m", dead_id.decode(), *json_flag], obj=place, standalone_mode=False),
    ]
    json_flag = ["--json"] if as_json else []

    for show in shows:
        text = listed(capsys, show)
        assert "fake" in text
        assert not any(line.strip().startswith("fake") for line in text.splitlines())
        assert [char for char in text if char in "\x1b\x9b\u202e"] == []


FORBIDDEN = (
    *("config", "info", "xinfo", "xpending", "scan", "time", "zrange", "smembers", "hgetall", "hget"),
    *("script", "evalsha", "publish", "subscribe", "xadd", "set", "del", "pttl", "xlen"),
)


@pytest.mark.parametrize("command", FORBIDDEN)
def test_the_doctor_goes_on_where_a_command_is_forbidden(
    command: str, redis_settings: RedisSettings, raw: "Redis", client: Client
) -> None:
    """Each command that a server may rename or forbid leaves findings about the rest, or one typed error."""
    client.submit("m", "op", ["a"])
    rules = ("reset", "on", ">secret", "~*", "&*", "+@all", f"-{command}")
    raw.execute_command("ACL", "SETUSER", "limited", *rules)  # type: ignore[no-untyped-call]
    url = redis_settings.url.get_secret_value().replace("redis://", "redis://limited:secret@")
    limited = RedisSettings.from_env({}, url=url, prefix=redis_settings.prefix)

    findings = doctor.examined(limited)

    assert {"server", "persistence"} <= {finding.what for finding in findings}
