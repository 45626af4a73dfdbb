"""One chaos run on one server: everything started, broken for a while, mended, looked at, and ended."""

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from rpc import RedisSettings
from tests.chaos.crew import Crew
from tests.chaos.crowd import Crowd
from tests.chaos.errands import INLINE_BYTES
from tests.chaos.faults import Faults
from tests.chaos.history import History, read
from tests.chaos.ledger import PATH
from tests.chaos.relays import Relays
from tests.chaos.remains import Remains
from tests.chaos.report import Report, report
from tests.proxy import Proxy
from tests.servers import Kind, Server
from tests.waiting import eventually

LEASE_S = 2.0
SETTLE_S, GRACE_S, EMPTY_S = 40.0, 5.0, 10.0
"""How long callers have for the jobs they are at, then for giving up; and how long lanes may take to be empty."""

KEEP_S = 3600.0
"""How long replies are kept: longer than a run, so that at its end each can be held against what callers got."""

WORKER = {"PENSTOCK_LEASE_S": str(LEASE_S), "PENSTOCK_DRAIN_GRACE_S": "3"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    server: Kind
    seed: int
    seconds: float


class Stage:
    """The server of a run and the ways to it."""

    def __init__(self, kind: Kind, directory: Path, running: contextlib.ExitStack, *, fsync: str) -> None:
        self.server = running.enter_context(Server(kind, directory, fsync=fsync))
        self.callers_proxy = running.enter_context(Proxy(self.server))
        self.worker_proxy = running.enter_context(Proxy(self.server))
        self._prefix = f"chaos-{uuid.uuid4().hex[:8]}"
        self.direct = self._settings(self.server.url, socket_timeout_s=5.0)

    def _settings(self, url: str, *, socket_timeout_s: float) -> RedisSettings:
        given = {"socket_timeout_s": socket_timeout_s, "inline_bytes": INLINE_BYTES, "sweep_s": 1.0}
        return RedisSettings.from_env({}, url=url, prefix=self._prefix, **given)

    def through(self, proxy: Proxy) -> RedisSettings:
        """Return settings of somebody impatient behind a proxy."""
        return self._settings(proxy.url, socket_timeout_s=1.0)


def run(plan: Plan, directory: Path, history_path: Path) -> Report:
    """Carry out a run; return its report, and leave its history."""
    history_path.unlink(missing_ok=True)
    with contextlib.ExitStack() as running:
        history = running.enter_context(History(history_path))
        history.tell("begun", server=plan.server, seed=plan.seed, seconds=plan.seconds, keep_s=KEEP_S)
        # with everysec a kill may cost what was written while the last fsync was going on
        stage = Stage(plan.server, directory, running, fsync="always")
        ways = [stage.through(stage.worker_proxy), stage.direct, stage.direct]
        crew = running.enter_context(Crew(ways, {**WORKER, PATH: str(history_path)}, history))
        callers = {"direct": stage.direct, "proxied": stage.through(stage.callers_proxy)}
        running.enter_context(Relays(history, list(callers.values())))
        crowd = running.enter_context(Crowd(history, plan.seed, callers, keep_s=KEEP_S))
        entrances = (stage.callers_proxy, stage.worker_proxy)
        Faults(history, plan.seed, server=stage.server, crew=crew, crowd=crowd, entrances=entrances).run(plan.seconds)
        settle(stage, crew, crowd, history)
    return report(read(history_path))


def settle(stage: Stage, crew: Crew, crowd: Crowd, history: History) -> None:
    """Let everybody come to an end, and write down what is left then."""
    crowd.stop()
    if not crowd.wait(SETTLE_S):
        crowd.give_up()
        crowd.wait(GRACE_S)
    # what happened is judged by the history: none of these waits is a verdict
    with Redis.from_url(stage.server.url, protocol=2) as redis:
        remains = Remains(redis, stage.direct)
        for done in (crew.whole, remains.empty):
            with contextlib.suppress(AssertionError):
                eventually(done, within_s=EMPTY_S)
        remains.tell(history, strays=crew.strays())
