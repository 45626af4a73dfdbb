"""`python -m tests.chaos`: runs with faults, or the verdict on a history that an earlier run has left."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.history import read
from tests.chaos.interrupt import interrupt
from tests.chaos.report import Report, report
from tests.chaos.run import Plan, run
from tests.servers import KINDS, Kind


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and return the exit status: 1 if a promise was broken."""
    given = _line().parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    if given.check:
        reports = [report(read(given.check))]
    else:
        path: Path = given.report or Path(f"build/chaos-{given.seed}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        servers: Sequence[Kind] = KINDS if given.server == "both" else (given.server,)
        reports = [_run(Plan(server, given.seed, given.seconds), path) for server in servers]
        path.write_text(json.dumps([each.as_json() for each in reports], indent=1), "utf-8")
        path.with_suffix(".txt").write_text(_text(reports), "utf-8")
    sys.stdout.write(_text(reports))
    return 0 if all(each.passed for each in reports) else 1


def _line() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    line.add_argument("--seed", type=int, default=1, help="what all chance comes from")
    line.add_argument("--seconds", type=float, default=60.0, help="how long things go wrong, on each server")
    line.add_argument("--server", choices=[*KINDS, "both"], default="both")
    line.add_argument(
        "--report", type=Path, help="JSON, build/chaos-SEED.json by default; text and histories lie beside it"
    )
    line.add_argument("--check", type=Path, metavar="HISTORY", help="run nothing, judge this")
    return line


def _run(plan: Plan, path: Path) -> Report:
    sys.stderr.write(f"chaos on {plan.server}, seed {plan.seed}, {plan.seconds:.0f} s\n")
    history = path.with_name(f"{path.stem}.{plan.server}.jsonl").resolve()
    with tempfile.TemporaryDirectory(prefix="penstock-chaos-") as name:
        return run(plan, Path(name), history)


def _text(reports: Sequence[Report]) -> str:
    return "".join(f"{each.as_text()}\n" for each in reports)


if __name__ == "__main__":
    sys.exit(main())
