"""Whether a server is fit to keep jobs: what it says of itself and allows, and what that means for the promises.

A conversation like those of `rpc.inspection`, and a pure judgement on its answers. Nothing stays behind on the server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rpc.calls import Call, Command, Tolerant, script
from rpc.errors import RpcError
from rpc.keys import LANES, Keys, reply_channel

Level = Literal["ok", "warning", "fault"]

PROBE = "doctor"
"""The name of the model, job and client under which it is tried what is allowed."""

NO_EVICTION = "noeviction"

OLDEST = (7, 0)
"""The oldest Redis with all that the scripts use; Valkey began later."""

NEARLY_FULL = 0.9

ASKED = ("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "timeout")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a server.

    Attributes:
        level: "fault" where a promise does not hold, "warning" where it is weaker, or something may get in the way.
        what: the thing, in a word.
        says: how it is.
        advice: what to do; "" where all is well.
    """

    level: Level
    what: str
    says: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a server has told.

    Attributes:
        info: the fields of INFO.
        config: what CONFIG GET gave, where that is allowed.
        tried: what was tried, and the error it met, or None.
    """

    info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    tried: Mapping[str, RpcError | None] = field(default_factory=dict)

    def of(self, name: str, in_info: str = "") -> str:
        """Return a setting, from where it is told; "" if it is told nowhere."""
        return self.config.get(name) or self.info.get(in_info or name.replace("-", "_"), "")


def examine(prefix: str) -> Call[Told]:
    """Return what a server tells, and what it allows under a prefix."""
    keys = Keys(prefix, PROBE)
    probe = keys.result(PROBE)
    lost = script("lost", (*map(keys.stream, LANES), probe, keys.job(PROBE)), ())
    trials: dict[str, Command] = {
        "scripts": lost,
        "channels": ("PUBLISH", reply_channel(prefix, PROBE), ""),
        "writes": ("SET", probe, "", "PX", 1000),
    }
    commands = [("INFO",), *(("CONFIG", "GET", name) for name in ASKED), *trials.values(), ("DEL", probe)]
    info, *rest = yield Tolerant(commands)
    if isinstance(info, RpcError):
        raise info
    configured = rest[: len(ASKED)]
    pairs = {name: reply[1].decode() for name, reply in zip(ASKED, configured, strict=True) if isinstance(reply, list)}
    outcomes = zip(trials, rest[len(ASKED) : -1], strict=True)
    tried = {name: reply if isinstance(reply, RpcError) else None for name, reply in outcomes}
    return Told(_fields(info.decode()), pairs, tried)


def _fields(info: str) -> dict[str, str]:
    lines = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}


def judged(told: Told) -> list[Finding]:
    """Return what there is to say of a server."""
    return [*_kind(told), *_memory(told), *_persistence(told), *_role(told), *_allowed(told), *_idle(told)]


def refusal(findings: list[Finding]) -> Finding | None:
    """Return why no worker should serve there: jobs and replies would be evicted."""
    evicting = (each for each in findings if (each.level, each.what) == ("fault", "maxmemory-policy"))
    return next(evicting, None)


def _kind(told: Told) -> Iterator[Finding]:
    valkey = told.info.get("valkey_version", "")
    version = told.info.get("redis_version", "")
    if valkey:
        yield Finding("ok", "server", f"Valkey {valkey}")
    elif version and tuple(map(int, version.split(".")[:2])) < OLDEST:
        yield Finding("fault", "server", f"Redis {version}", "use Redis 7.0 or newer, or Valkey")
    else:
        yield Finding("ok", "server", f"Redis {version or 'of an unknown version'}")


def _memory(told: Told) -> Iterator[Finding]:
    policy, most = told.of("maxmemory-policy"), int(told.of("maxmemory") or 0)
    if not policy:
        yield Finding("warning", "maxmemory-policy", "not told", f"see that it is {NO_EVICTION}")
    elif policy == NO_EVICTION:
        yield Finding("ok", "maxmemory-policy", policy)
    elif most:
        advice = f"CONFIG SET maxmemory-policy {NO_EVICTION}: anything else drops jobs or replies when memory runs out"
        yield Finding("fault", "maxmemory-policy", policy, advice)
    else:
        advice = f"harmless without maxmemory; set it to {NO_EVICTION} before somebody sets that"
        yield Finding("warning", "maxmemory-policy", policy, advice)
    used = int(told.info.get("used_memory", 0))
    if most and used > NEARLY_FULL * most:
        advice = "submits are refused when it is full; raise maxmemory, or add workers"
        yield Finding("warning", "memory", f"{used:,} of {most:,} bytes used", advice)


def _persistence(told: Told) -> Iterator[Finding]:
    log = told.info.get("aof_enabled", "") == "1" or told.config.get("appendonly") == "yes"
    fsync = told.config.get("appendfsync", "")
    if log and fsync == "no":
        advice = "CONFIG SET appendfsync everysec: as it is, the system decides how much a crash of the machine costs"
        yield Finding("warning", "persistence", "append-only file, fsync left to the system", advice)
    elif log:
        cost = {"always": "a crash of the machine loses nothing", "everysec": "a crash of the machine loses about 1 s"}
        yield Finding("ok", "persistence", f"append-only file; {cost.get(fsync, 'appendfsync is not told')}")
    elif told.config.get("save"):
        advice = "appendonly yes: as it is, a crash loses all jobs since the last snapshot"
        yield Finding("warning", "persistence", "snapshots only", advice)
    else:
        yield Finding("warning", "persistence", "none", "appendonly yes: as it is, a restart loses every job")
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if told.info.get(name, "ok") != "ok":
            yield Finding("fault", "disk", f"the last write of the {what} failed", "look at the server's log and disk")


def _role(told: Told) -> Iterator[Finding]:
    if told.info.get("loading", "0") != "0":
        yield Finding("warning", "loading", "the server is reading its data", "wait")
    if told.info.get("role", "master") != "master":
        yield Finding("fault", "role", "a replica, which takes no jobs", "use the address of the master")
    if told.info.get("cluster_enabled", "0") != "0":
        advice = "a client here speaks to one node; keep all models on it, or use a server without cluster mode"
        yield Finding("warning", "cluster", "cluster mode is on", advice)


def _allowed(told: Told) -> Iterator[Finding]:
    meanings: dict[str, tuple[Level, str]] = {
        "scripts": ("fault", "every change of state is a script: allow EVALSHA and SCRIPT LOAD (ACL +@scripting)"),
        "writes": ("fault", "no job can be queued or answered until this is mended"),
        "channels": (
            "warning",
            "replies are found by the sweep, late: allow the channels (ACL &prefix:*)",
        ),
    }
    for name, error in told.tried.items():
        level, advice = meanings[name]
        if error is None:
            yield Finding("ok", name, "allowed")
        else:
            yield Finding(level, name, str(error), advice)


def _idle(told: Told) -> Iterator[Finding]:
    idle_s = int(told.config.get("timeout", 0) or 0)
    if idle_s:
        advice = "timeout 0: connections that wait are cut and made again for nothing"
        yield Finding("warning", "timeout", f"idle connections are cut after {idle_s} s", advice)
