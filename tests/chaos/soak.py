"""`python -m tests.chaos.soak`: nothing goes wrong, for long. Do client, worker and server stay as they were?

The callers and the jobs are those of a chaos run, the same checker judges their history, and replies are kept for so
short a time that the server's memory has to come back.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.crew import Crew
from tests.chaos.crowd import Crowd
from tests.chaos.gauge import Sample, Trend, trends
from tests.chaos.history import History, read
from tests.chaos.interrupt import interrupt
from tests.chaos.ledger import PATH
from tests.chaos.relays import Relays
from tests.chaos.report import Report, report
from tests.chaos.run import settle
from tests.chaos.stage import Stage
from tests.servers import KINDS, Kind

REPORT = Path("build/soak.json")
KEEP_S = 10.0
MOST_SAMPLES, LEAST_EVERY_S = 240, 0.2
TOLD_EVERY_S = 60.0

Samples = dict[str, list[Sample]]


@dataclass(frozen=True, slots=True)
class Soaked:
    """How a soak went."""

    answers: Report
    trends: Sequence[Trend]
    samples: Samples

    @property
    def passed(self) -> bool:
        """The verdict."""
        return self.answers.passed and all(trend.flat for trend in self.trends)

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        samples = {name: [asdict(sample) for sample in taken] for name, taken in self.samples.items()}
        told = [asdict(trend) for trend in self.trends]
        return {"passed": self.passed, "trends": told, "answers": self.answers.as_json(), "samples": samples}

    def as_text(self) -> str:
        """Return it for people."""
        lines = [self.answers.as_text(), "soak: second quarter -> last quarter"]
        lines += [trend.as_text() for trend in self.trends]
        return "\n".join([*lines, f"  verdict  {'passed' if self.passed else 'FAILED'}"])


def soak(kind: Kind, seconds: float, seed: int, directory: Path, history_path: Path) -> Soaked:
    """Run the load for so long; return how it went."""
    history_path.unlink(missing_ok=True)
    with contextlib.ExitStack() as running:
        history = running.enter_context(History(history_path))
        history.tell("begun", server=kind, seed=seed, seconds=seconds, keep_s=KEEP_S)
        stage = Stage(kind, directory, running, fsync="everysec")
        crew = running.enter_context(Crew([stage.unproxied], {PATH: str(history_path)}, history))
        ways = {"direct": stage.unproxied, "direct too": stage.unproxied}
        running.enter_context(Relays(history, [stage.unproxied]))
        crowd = running.enter_context(Crowd(history, seed, ways, keep_s=KEEP_S))
        samples = _sampled({"worker": crew.berths[0].pid, "server": stage.server.master.pid}, seconds)
        settle(stage, crew, crowd, history)
    return Soaked(report(read(history_path)), trends(samples), samples)


def _sampled(others: dict[str, int], seconds: float) -> Samples:
    """Return what this process, which is the callers', and the others took, over so many seconds."""
    pause = threading.Event()
    every_s = max(LEAST_EVERY_S, seconds / MOST_SAMPLES)
    samples: Samples = {name: [] for name in ("client", *others)}
    began = told = time.monotonic()
    for number in itertools.count(1):
        pause.wait(max(0.0, began + number * every_s - time.monotonic()))
        samples["client"].append(Sample.of(os.getpid(), alone=True))
        for name, pid in others.items():
            samples[name].append(Sample.of(pid))
        now = time.monotonic()
        if now - began >= seconds:
            return samples
        if now - told >= TOLD_EVERY_S:
            told = now
            now_mb = ", ".join(f"{name} {taken[-1].resident_mb:.0f} MB" for name, taken in samples.items())
            sys.stderr.write(f"{now - began:.0f} s: {now_mb}\n")
    raise AssertionError("unreachable")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak and return the exit status: 1 if something grew or was answered wrongly."""
    line = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    line.add_argument("--minutes", type=float, default=10.0)
    line.add_argument("--seed", type=int, default=1)
    line.add_argument("--server", choices=KINDS, default="valkey")
    line.add_argument("--report", type=Path, default=REPORT, help="JSON; text and history lie beside it")
    given = line.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    given.report.parent.mkdir(parents=True, exist_ok=True)
    history = given.report.with_suffix(".jsonl").resolve()
    with tempfile.TemporaryDirectory(prefix="penstock-soak-") as name:
        told = soak(given.server, 60.0 * given.minutes, given.seed, Path(name), history)
    given.report.write_text(json.dumps(told.as_json(), indent=1), "utf-8")
    given.report.with_suffix(".txt").write_text(f"{told.as_text()}\n", "utf-8")
    sys.stdout.write(f"{told.as_text()}\n")
    return 0 if told.passed else 1


if __name__ == "__main__":
    sys.exit(main())
