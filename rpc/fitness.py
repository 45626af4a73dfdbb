"""Whether a server is fit to keep jobs: what it says of itself and allows, and what that means for the promises.

A conversation like those of `rpc.inspection`, and a pure judgement on its answers. Nothing stays behind on the server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rpc.calls import Call, Command, Tolerant, script
from rpc.errors import QueueFull, RpcError, Unavailable
from rpc.keys import LANES, Keys, reply_channel
from rpc.scripts import SCRIPTS

Level = Literal["ok", "warning", "fault"]

PROBE = "penstock-doctor"
"""The name of the model, job and client under which it is tried what is allowed."""

NO_EVICTION = "noeviction"

OLDEST = (7, 0)
"""The oldest Redis with all that the scripts use; Valkey began later."""

REFUSED = frozenset({"maxmemory-policy", "cluster mode"})
"""Faults of a server on which no worker starts unless a setting says so."""

NEARLY_FULL = 0.9

LEAST_BUFFER = 1024 * 1024
"""A server that keeps less than this for a listener cuts it off while replies come thick and fast."""

ASKED = (
    *("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save"),
    *("timeout", "client-output-buffer-limit", "min-replicas-to-write"),
)


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
        info: the fields of INFO, where that is allowed.
        config: what CONFIG GET gave, where that is allowed.
        tried: what was tried, and the error it met, or None.
    """

    info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    tried: Mapping[str, RpcError | None] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return a setting, from where it is told; "" if it is told nowhere."""
        return self.config.get(name) or self.info.get(name.replace("-", "_"), "")

    def number(self, name: str) -> int:
        """Return the same of a number; 0 if it is told nowhere, or is none."""
        text = self.of(name)
        return int(text) if text.isdigit() else 0


def examine(prefix: str) -> Call[Told]:
    """Return what a server tells, and what it allows under a prefix.

    Raises `Unavailable` while it is reading its data, the first error if it refuses whatever it is asked.
    """
    keys = Keys(prefix, PROBE)
    probe, absent = keys.result(PROBE), keys.job(PROBE)
    trials: list[tuple[str, Command]] = [
        ("scripts", script("lost", (*map(keys.stream, LANES), probe, absent), ())),
        ("scripts", ("SCRIPT", "LOAD", SCRIPTS["lost"].text)),
        ("channels", ("PUBLISH", reply_channel(prefix, PROBE), "")),
        ("writes", ("XADD", absent, "NOMKSTREAM", "*", "", "")),
        ("writes", ("SET", probe, "", "PX", 1000)),
    ]
    settings = [("CONFIG", "GET", name) for name in ASKED]
    replies = yield Tolerant([("INFO",), *settings, *(command for _, command in trials), ("DEL", probe)])
    if all(isinstance(reply, RpcError) for reply in replies):
        raise replies[0]
    info = {} if isinstance(replies[0], RpcError) else _fields(replies[0].decode("utf-8", "replace"))
    if info.get("loading", "0") != "0":
        raise Unavailable("the server is reading its data into memory")
    configured, tried = replies[1 : 1 + len(ASKED)], replies[1 + len(ASKED) : -1]
    return Told(info, _settings(configured), _outcomes([name for name, _ in trials], tried))


def _settings(replies: Sequence[Any]) -> dict[str, str]:
    """Return what was told; a server that hides a setting answers with nothing, or with an error."""
    told = zip(ASKED, replies, strict=True)
    return {name: reply[1].decode() for name, reply in told if isinstance(reply, list) and reply[1:]}


def _outcomes(names: Sequence[str], replies: Sequence[Any]) -> dict[str, RpcError | None]:
    outcomes: dict[str, RpcError | None] = {}
    for name, reply in zip(names, replies, strict=True):
        outcomes[name] = outcomes.get(name) or (reply if isinstance(reply, RpcError) else None)
    return outcomes


def _fields(info: str) -> dict[str, str]:
    lines = (line.partition(":") for line in info.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in lines}


def judged(told: Told) -> list[Finding]:
    """Return what there is to say of a server."""
    parts = (_kind, _memory, _persistence, _disk, _role, _allowed, _lines)
    return [finding for part in parts for finding in part(told)]


def clock(told: Told, now_s: float) -> Iterator[Finding]:
    """Yield how far the server's clock is from this machine's, which nothing depends on."""
    micros = told.number("server_time_usec")
    if micros:
        ahead_s = micros / 1e6 - now_s
        side = "ahead of" if ahead_s >= 0 else "behind"
        yield Finding("ok", "clock", f"{abs(ahead_s):.1f} s {side} this machine's; only the server's counts")


def refusal(findings: list[Finding]) -> Finding | None:
    """Return why no worker should serve there: jobs and replies would be evicted, or lie on other nodes."""
    reasons = (each for each in findings if each.level == "fault" and each.what in REFUSED)
    return next(reasons, None)


def _kind(told: Told) -> Iterator[Finding]:
    valkey = told.info.get("valkey_version", "")
    version = told.info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if valkey:
        yield Finding("ok", "server", f"Valkey {valkey}")
    elif not numbers:
        yield Finding("warning", "server", "its version is not told", "see that it is Redis 7.0 or newer, or Valkey")
    elif numbers < OLDEST:
        yield Finding("fault", "server", f"Redis {version}", "use Redis 7.0 or newer, or Valkey")
    else:
        yield Finding("ok", "server", f"Redis {version}")


def _memory(told: Told) -> Iterator[Finding]:
    policy = told.of("maxmemory-policy")
    if not policy:
        yield Finding("warning", "maxmemory-policy", "not told", f"see that it is {NO_EVICTION}")
    elif policy == NO_EVICTION:
        yield Finding("ok", "maxmemory-policy", policy)
    elif told.of("maxmemory") == "0":
        advice = f"harmless without maxmemory; set it to {NO_EVICTION} before somebody sets that"
        yield Finding("warning", "maxmemory-policy", policy, advice)
    else:
        advice = f"CONFIG SET maxmemory-policy {NO_EVICTION}: anything else drops jobs or replies when memory runs out"
        yield Finding("fault", "maxmemory-policy", policy, advice)
    used, most = told.number("used_memory"), told.number("maxmemory")
    if most and used > NEARLY_FULL * most:
        advice = "submits are refused when it is full; raise maxmemory, add workers, or lower keep_s"
        yield Finding("warning", "memory", f"{used:,} of {most:,} bytes used", advice)


def _persistence(told: Told) -> Iterator[Finding]:
    log = {"1": "yes", "0": "no"}.get(told.info.get("aof_enabled", ""), told.config.get("appendonly", ""))
    fsync, points = told.config.get("appendfsync", ""), told.config.get("save")
    if log == "yes" and fsync == "no":
        advice = "CONFIG SET appendfsync everysec: as it is, the system decides how much a crash of the machine costs"
        yield Finding("warning", "persistence", "append-only file, fsync left to the system", advice)
    elif log == "yes":
        cost = {"always": "a crash of the machine loses nothing", "everysec": "a crash of the machine loses about 1 s"}
        yield Finding("ok", "persistence", f"append-only file; {cost.get(fsync, 'appendfsync is not told')}")
    elif not log:
        advice = "see that it has appendonly yes: without it a crash loses jobs"
        yield Finding("warning", "persistence", "not told", advice)
    elif points is None:
        advice = "appendonly yes: as it is, a crash loses all jobs since the last snapshot, if there are any"
        yield Finding("warning", "persistence", "no append-only file; whether there are snapshots is not told", advice)
    elif points:
        advice = "appendonly yes: as it is, a crash loses all jobs since the last snapshot"
        yield Finding("warning", "persistence", "snapshots only", advice)
    else:
        yield Finding("warning", "persistence", "none", "appendonly yes: as it is, a restart loses every job")


def _disk(told: Told) -> Iterator[Finding]:
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if told.info.get(name, "ok") != "ok":
            yield Finding("fault", "disk", f"the last write of the {what} failed", "look at the server's log and disk")


def _role(told: Told) -> Iterator[Finding]:
    replicas, least = told.number("connected_slaves"), told.number("min-replicas-to-write")
    if told.info.get("role", "master") != "master":
        yield Finding("fault", "role", "a replica, which takes no jobs", "use the address of the master")
    elif replicas:
        says = f"{replicas} replicas, of which {least} have to be there for a write: a promoted one may lack the last"
        yield Finding("ok", "role", f"master; {says}")
    if told.info.get("cluster_enabled", "0") != "0":
        says = "on: Redis Cluster is not supported yet"
        yield Finding("fault", "cluster mode", says, "use a server with cluster-enabled no")


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
        if isinstance(error, QueueFull):
            advice = "submits are refused while it is full, workers go on: raise maxmemory, or add workers"
        if error is None:
            yield Finding("ok", name, "allowed")
        else:
            yield Finding(level, name, str(error), advice)


def _lines(told: Told) -> Iterator[Finding]:
    idle_s = told.number("timeout")
    if idle_s:
        advice = "timeout 0: connections that wait are cut and made again for nothing"
        yield Finding("warning", "timeout", f"idle connections are cut after {idle_s} s", advice)
    _, _, limits = told.config.get("client-output-buffer-limit", "").partition("pubsub ")
    for limit in limits.split()[:2]:
        if limit.isdigit() and 0 < int(limit) < LEAST_BUFFER:
            advice = "client-output-buffer-limit pubsub 32mb 8mb 60: callers that are cut off find replies by the sweep"
            yield Finding("warning", "listeners", f"cut off when {int(limit):,} bytes wait for one of them", advice)
            return
