"""What a run is summed up in: figures for people and JSON for programs, both from the history alone. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.cases import Case, cases, last
from tests.chaos.checker import Finding, check
from tests.chaos.history import Event

SHOWN = 12
"""How many findings the text shows; JSON has all."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run.

    Attributes:
        run: seed, server and seconds, as the history's beginning tells them.
        jobs: how many jobs there were, by kind.
        replies: what the jobs were answered with, by code.
        unsure: what callers were told that was no reply, by code.
        latency_ms: p50, p99 and worst, from a job's submission to its first reply.
        faults: how often each was done.
        worker_ends: how often a worker ended, by status.
        executions: how many inputs were executed, how many of these once more than needed, and by how many processes.
        delivered: how many replies relays handed over, and how many of them once more than needed.
        attempts: stored results, by how often their job had been handed out.
        left: what was left in Redis.
        findings: what is wrong.
    """

    run: Mapping[str, Any]
    jobs: Mapping[str, int]
    replies: Mapping[str, int]
    unsure: Mapping[str, int]
    latency_ms: Mapping[str, float]
    faults: Mapping[str, int]
    worker_ends: Mapping[str, int]
    executions: Mapping[str, int]
    delivered: Mapping[str, int]
    attempts: Mapping[str, int]
    left: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """The verdict."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"passed": self.passed, **asdict(self)}

    def as_text(self) -> str:
        """Return it for people."""
        rows: list[tuple[str, Mapping[str, Any]]] = [
            ("jobs", {"all": sum(self.jobs.values()), **self.jobs}),
            ("answered with", self.replies),
            ("told besides", self.unsure),
            ("latency, ms", self.latency_ms),
            ("faults", {"all": sum(self.faults.values()), **self.faults}),
            ("workers ended", self.worker_ends),
            ("executions", self.executions),
            ("handed over", self.delivered),
            ("attempts", self.attempts),
            ("left", {name: _short(value) for name, value in self.left.items()}),
        ]
        run = ", ".join(f"{name} {value}" for name, value in self.run.items())
        lines = [f"chaos: {run}"]
        lines += [f"  {name:<14} {', '.join(f'{key} {value}' for key, value in told.items())}" for name, told in rows]
        broken = Counter(finding.promise for finding in self.findings)
        lines += [f"  WRONG          {promise}: {count}" for promise, count in broken.items()]
        lines += [f"    {item.promise} {item.job}: {item.seen[:300]}" for item in self.findings[:SHOWN]]
        return "\n".join([*lines, f"  verdict        {'passed' if self.passed else 'FAILED'}"])


def _short(value: Any) -> Any:
    """Return a list as how many it holds."""
    return len(value) if isinstance(value, list) else value


def report(events: Sequence[Event]) -> Report:
    """Return the report of a history."""
    told = cases(events)
    run = {**(last(events, "begun") or {})}
    left = {**(last(events, "left") or {})}
    return Report(
        run={name: run[name] for name in ("server", "seed", "seconds") if name in run},
        jobs=_counted(case.submitted["kind"] for case in told.values()),
        replies=_counted(case.replies[0]["code"] if case.replies else "nothing" for case in told.values()),
        unsure=_counted(event["code"] for event in events if event["event"] == "unsure"),
        latency_ms=latencies([case.took_s for case in told.values() if case.took_s is not None]),
        faults=_counted(event["kind"] for event in events if event["event"] == "fault"),
        worker_ends=_counted(str(event["status"]) for event in events if event["event"] == "worker_ended"),
        executions=_executions(list(told.values()), events),
        delivered=_delivered(list(told.values())),
        attempts=_counted(attempts for case in told.values() for attempts in _attempts(case)),
        left={name: value for name, value in left.items() if name not in {"at", "event"}},
        findings=check(events),
    )


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _attempts(case: Case) -> list[str]:
    return [str(case.stored["attempts"])] if case.stored and "attempts" in case.stored else []


def _executions(told: Sequence[Case], events: Sequence[Event]) -> dict[str, int]:
    by = len({event["pid"] for event in events if event["event"] == "executed"})
    poison = sum(len(case.executed) for case in told if case.poison)
    extra = sum(case.extra for case in told if not case.poison)
    return {"all": sum(len(case.executed) for case in told), "extra": extra, "of poison": poison, "by processes": by}


def _delivered(told: Sequence[Case]) -> dict[str, int]:
    handed_over = [len(case.delivered) for case in told]
    return {"all": sum(handed_over), "extra": sum(max(0, count - 1) for count in handed_over)}


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and worst in milliseconds."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    at = {name: ordered[math.ceil(share * len(ordered)) - 1] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: round(1000 * value, 1) for name, value in {**at, "worst": ordered[-1]}.items()}
