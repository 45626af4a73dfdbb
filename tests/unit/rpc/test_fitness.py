"""What is said of a server by what it tells."""

from typing import Any

import pytest

from rpc.errors import RpcError, Unavailable
from rpc.fitness import Finding, Told, judged, refusal

WELL = Told(
    info={
        "redis_version": "7.2.4",
        "valkey_version": "9.0.0",
        "role": "master",
        "aof_enabled": "1",
        "used_memory": "1000",
        "loading": "0",
        "cluster_enabled": "0",
    },
    config={"maxmemory-policy": "noeviction", "maxmemory": "0", "appendfsync": "everysec", "timeout": "0"},
    tried={"scripts": None, "channels": None, "writes": None},
)


def told(tried: dict[str, RpcError | None] | None = None, info: Any = (), **config: str) -> Told:
    """Return what a server tells that is well but for this."""
    named = {name.replace("_", "-"): value for name, value in config.items()}
    return Told({**WELL.info, **dict(info)}, {**WELL.config, **named}, {**WELL.tried, **(tried or {})})


def worst(answer: Told) -> list[Finding]:
    """Return what is not well."""
    return [finding for finding in judged(answer) if finding.level != "ok"]


def test_a_server_that_is_well_is_told_so() -> None:
    """Nothing is wrong, nothing is advised, and no worker is refused."""
    findings = judged(WELL)

    assert worst(WELL) == []
    assert {finding.what for finding in findings} >= {"server", "maxmemory-policy", "persistence", "scripts"}
    assert not any(finding.advice for finding in findings)
    assert refusal(findings) is None


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_eviction_is_a_fault_where_memory_is_bounded(policy: str) -> None:
    """A server that drops keys when it is full is refused by name; without a bound it is only warned of."""
    (bounded,) = worst(told(maxmemory_policy=policy, maxmemory="1000000"))
    (unbounded,) = worst(told(maxmemory_policy=policy))

    assert (bounded.level, bounded.says, unbounded.level) == ("fault", policy, "warning")
    assert refusal([bounded]) is bounded
    assert refusal([unbounded]) is None


@pytest.mark.parametrize(
    ("answer", "level", "what", "says"),
    [
        (told(info={"valkey_version": "", "redis_version": "6.2.14"}.items()), "fault", "server", "6.2.14"),
        (told(maxmemory="1000"), "warning", "memory", "1,000 of 1,000 bytes"),
        (told(appendfsync="no"), "warning", "persistence", "left to the system"),
        (told(info={"aof_enabled": "0"}.items(), save="3600 1"), "warning", "persistence", "snapshots only"),
        (told(info={"aof_enabled": "0"}.items()), "warning", "persistence", "none"),
        (told(info={"aof_last_write_status": "err"}.items()), "fault", "disk", "append-only file failed"),
        (told(info={"rdb_last_bgsave_status": "err"}.items()), "fault", "disk", "snapshot failed"),
        (told(info={"role": "slave"}.items()), "fault", "role", "replica"),
        (told(info={"loading": "1"}.items()), "warning", "loading", "reading"),
        (told(info={"cluster_enabled": "1"}.items()), "warning", "cluster", "is on"),
        (told({"scripts": Unavailable("NOPERM evalsha")}), "fault", "scripts", "NOPERM evalsha"),
        (told({"writes": Unavailable("READONLY")}), "fault", "writes", "READONLY"),
        (told({"channels": Unavailable("NOPERM channel")}), "warning", "channels", "NOPERM channel"),
        (told(timeout="300"), "warning", "timeout", "300 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_weakens_the_promises_is_told(answer: Told, level: str, what: str, says: str) -> None:
    """Each thing is named, with how it is and what to do."""
    (finding,) = worst(answer)

    assert (finding.level, finding.what) == (level, what)
    assert says in finding.says
    assert finding.advice


def test_a_server_that_forbids_its_configuration_is_judged_by_what_else_it_tells() -> None:
    """Managed servers hide CONFIG: the policy stands in INFO too."""
    hidden = Told({**WELL.info, "maxmemory_policy": "volatile-lru", "maxmemory": "1000000"}, {}, WELL.tried)
    silent = Told(WELL.info, {}, WELL.tried)

    assert refusal(judged(hidden)) is not None
    assert [finding.what for finding in worst(silent)] == ["maxmemory-policy"]
