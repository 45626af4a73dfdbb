"""What is said of a server by what it tells."""

from collections.abc import Mapping
from typing import Any

import pytest

from rpc.calls import Command
from rpc.errors import QueueFull, RpcError, Unavailable
from rpc.fitness import Finding, Told, clock, examine, judged, refusal

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


def buffers(pubsub: str) -> str:
    """Return the limits of output buffers as a server tells them."""
    return f"normal 0 0 0 slave 268435456 67108864 60 pubsub {pubsub}"


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
        (told(info={"aof_enabled": "0"}.items(), save=""), "warning", "persistence", "none"),
        (told(info={"aof_enabled": "0"}.items()), "warning", "persistence", "whether there are snapshots is not told"),
        (told(info={"aof_enabled": ""}.items()), "warning", "persistence", "not told"),
        (told(info={"valkey_version": "", "redis_version": "unstable"}.items()), "warning", "server", "not told"),
        (told(info={"aof_last_write_status": "err"}.items()), "fault", "disk", "append-only file failed"),
        (told(info={"rdb_last_bgsave_status": "err"}.items()), "fault", "disk", "snapshot failed"),
        (told(info={"role": "slave"}.items()), "fault", "role", "replica"),
        (told(info={"cluster_enabled": "1"}.items()), "fault", "cluster mode", "not supported yet"),
        (told({"scripts": Unavailable("NOPERM evalsha")}), "fault", "scripts", "NOPERM evalsha"),
        (told({"writes": Unavailable("READONLY")}), "fault", "writes", "READONLY"),
        (told({"channels": Unavailable("NOPERM channel")}), "warning", "channels", "NOPERM channel"),
        (told({"writes": QueueFull("OOM")}), "fault", "writes", "OOM"),
        (told(timeout="300"), "warning", "timeout", "300 s"),
        (told(client_output_buffer_limit=buffers("65536 0 0")), "warning", "listeners", "65,536 bytes"),
        (told(client_output_buffer_limit=buffers("33554432 80000 60")), "warning", "listeners", "80,000 bytes"),
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


def test_a_policy_is_harmless_only_where_memory_is_known_to_be_unbounded() -> None:
    """A server that tells its policy but no bound may have one."""
    (finding,) = worst(Told(WELL.info, {"maxmemory-policy": "allkeys-lru"}, WELL.tried))

    assert refusal([finding]) is finding


def test_a_server_that_tells_nothing_is_no_reason_to_refuse() -> None:
    """Where neither INFO nor CONFIG may be asked, it is said what to see to."""
    findings = judged(Told(tried=WELL.tried))

    assert {finding.what for finding in findings if finding.level == "warning"} == {
        *("server", "maxmemory-policy", "persistence")
    }
    assert all(finding.advice for finding in findings if finding.level != "ok")
    assert refusal(findings) is None


def test_listeners_with_room_are_well() -> None:
    """The limits that servers come with are wide enough, and so are none."""
    for pubsub in ("33554432 8388608 60", "0 0 0"):
        assert worst(told(client_output_buffer_limit=buffers(pubsub))) == []


def test_replicas_are_told_and_what_they_may_lack() -> None:
    """How many there are, and how many have to be there for a write; none is no fault."""
    answer = told(info={"connected_slaves": "2"}.items(), min_replicas_to_write="1")
    (finding,) = [finding for finding in judged(answer) if finding.what == "role"]

    assert finding.level == "ok"
    assert "2 replicas, of which 1 have to be there" in finding.says


@pytest.mark.parametrize(("now_s", "says"), [(990.0, "10.0 s ahead of"), (1003.5, "3.5 s behind")])
def test_clocks_apart_are_told_and_are_no_matter(now_s: float, says: str) -> None:
    """Only the server's clock counts; where it is not told there is nothing to say."""
    (finding,) = clock(told(info={"server_time_usec": "1000000000"}.items()), now_s)

    assert (finding.level, finding.says.partition(" this")[0]) == ("ok", says)
    assert list(clock(WELL, now_s)) == []


FORBIDDEN = Unavailable("NOPERM")


def conversed(answers: Mapping[str, Any], other: Any) -> Told:
    """Return what a server has told that answers these commands so, and all others otherwise."""
    call = examine("p")
    commands: list[Command] = list(next(call))
    replies = [answers.get(" ".join(map(str, command[:3])), answers.get(command[0], other)) for command in commands]
    with pytest.raises(StopIteration) as ended:
        call.send(replies)
    answer: Told = ended.value.value
    return answer


def test_what_a_server_hides_is_not_told() -> None:
    """A setting may be answered with nothing, with an error, or with its value."""
    answers = {
        "INFO": b"# Server\r\nredis_version:7.2.0\r\n",
        "CONFIG GET maxmemory": [b"maxmemory", b"0"],
        "CONFIG GET save": [],
    }
    answer = conversed(answers, FORBIDDEN)

    assert answer.info == {"redis_version": "7.2.0"}
    assert answer.config == {"maxmemory": "0"}
    assert answer.tried == {"scripts": FORBIDDEN, "channels": FORBIDDEN, "writes": FORBIDDEN}


@pytest.mark.parametrize("command", ["EVALSHA", "SCRIPT"])
def test_scripts_have_to_be_run_and_loaded(command: str) -> None:
    """A user who may run scripts but not load them is well only until the server forgets them."""
    assert conversed({"INFO": b"", command: FORBIDDEN}, []).tried["scripts"] is FORBIDDEN


@pytest.mark.parametrize("command", ["XADD", "SET"])
def test_streams_and_strings_have_to_be_written(command: str) -> None:
    """A user who may write only one of them can queue nothing."""
    assert conversed({"INFO": b"", command: FORBIDDEN}, []).tried["writes"] is FORBIDDEN


@pytest.mark.parametrize(
    ("info", "other"), [(b"loading:1\r\n", Unavailable("LOADING")), (FORBIDDEN, FORBIDDEN)], ids=["loading", "barred"]
)
def test_a_server_that_does_not_serve_yet_is_judged_later(info: Any, other: Any) -> None:
    """While it reads its data, or refuses everything, nothing can be said of it."""
    call = examine("p")
    commands: list[Command] = list(next(call))

    with pytest.raises(Unavailable):
        call.send([info, *[other] * (len(commands) - 1)])
