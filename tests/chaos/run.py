"""One chaos run on one server: everything started, broken for a while, mended, looked at, and ended."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.chaos.crew import Crew
from tests.chaos.crowd import Crowd
from tests.chaos.faults import Faults
from tests.chaos.history import History, read
from tests.chaos.ledger import PATH
from tests.chaos.relays import Relays
from tests.chaos.remains import Remains
from tests.chaos.report import Report, report
from tests.chaos.stage import Stage
from tests.servers import Kind
from tests.waiting import eventually

LEASE_S = 2.0
SETTLE_S, GRACE_S, EMPTY_S = 90.0, 5.0, 10.0
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


def run(plan: Plan, directory: Path, history_path: Path) -> Report:
    """Carry out a run; return its report, and leave its history."""
    history_path.unlink(missing_ok=True)
    with contextlib.ExitStack() as running:
        history = running.enter_context(History(history_path))
        history.tell("begun", server=plan.server, seed=plan.seed, seconds=plan.seconds, keep_s=KEEP_S)
        # with everysec a kill may cost what was written while the last fsync was going on
        stage = Stage(plan.server, directory, running, fsync="always")
        ways = [stage.through(stage.ways.worker), stage.direct, stage.direct]
        crew = running.enter_context(Crew(ways, {**WORKER, PATH: str(history_path)}, history))
        callers = {"direct": stage.direct, "proxied": stage.through(stage.ways.callers)}
        running.enter_context(Relays(history, list(callers.values())))
        crowd = running.enter_context(Crowd(history, plan.seed, callers, keep_s=KEEP_S))
        Faults(history, plan.seed, stage=stage, crew=crew, crowd=crowd).run(plan.seconds)
        settle(stage, crew, crowd, history)
    return report(read(history_path))


def settle(stage: Stage, crew: Crew, crowd: Crowd, history: History) -> None:
    """Let everybody come to an end, and write down what is left then."""
    crowd.stop()
    if not crowd.wait(SETTLE_S):
        crowd.give_up()
        crowd.wait(GRACE_S)
    # what happened is judged by the history: none of these waits is a verdict
    with Redis.from_url(stage.server.master.url, protocol=2) as redis:
        remains = Remains(redis, stage.unproxied)
        for done in (crew.whole, remains.empty):
            with contextlib.suppress(AssertionError):
                eventually(done, within_s=EMPTY_S)
        remains.tell(history, strays=crew.strays())
