"""What `penstock doctor` finds: a server that does not keep what it is given, and jobs that nobody looks after."""

from collections.abc import Iterator
from dataclasses import asdict

from producers.status import states
from producers.tables import duration, print_json, print_table
from rpc import Client
from rpc.fitness import Finding, examine, judged
from rpc.inspection import LaneState, ModelState, lasting_keys
from rpc.settings import RedisSettings

SHOWN = 3
"""How many names of keys are shown."""


def examined(settings: RedisSettings) -> list[Finding]:
    """Return what there is to say of a server and of what lies there; raise `Unavailable` if it cannot be reached."""
    with Client(settings=settings) as client:
        found = judged(client.ask(examine(settings.prefix)))
        for state in states(client, settings.prefix, ()):
            found += served(state)
        found += lasting(client.ask(lasting_keys(settings.prefix)))
    return found


def served(state: ModelState) -> Iterator[Finding]:
    """Yield what there is to say of a model."""
    name = f"model {state.model}"
    waiting = sum(lane.waiting + lane.running for lane in state.lanes)
    if waiting and not state.workers:
        advice = "start a worker, or find out why none is alive"
        yield Finding("fault", name, f"{waiting} jobs, {_age(state.lanes)}, and no live worker", advice)
    else:
        yield Finding("ok", name, f"{len(state.workers)} live workers, {waiting} jobs")
    if state.dead:
        yield Finding("warning", name, f"{state.dead} jobs given up on", f"penstock dead list {state.model}")


def _age(lanes: tuple[LaneState, ...]) -> str:
    return f"the oldest {duration(max(lane.oldest_ms for lane in lanes))} old"


def lasting(names: list[str]) -> Iterator[Finding]:
    """Yield what there is to say of keys that would stay for ever and are not meant to."""
    if names:
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        says = f"{len(names)} keys without a life: {shown}"
        yield Finding("warning", "keys", says, "nothing of ours leaves such keys: find out who does")


def show(settings: RedisSettings, *, as_json: bool) -> bool:
    """Print what is found; return whether it holds no fault."""
    found = examined(settings)
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        rows = ((finding.level, finding.what, finding.says, finding.advice) for finding in found)
        print_table(f"{settings.address}, prefix {settings.prefix}", ("", "what", "says", "advice"), rows)
    return all(finding.level != "fault" for finding in found)
