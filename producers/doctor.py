"""What `penstock doctor` finds: a server that does not keep what it is given, and jobs that nobody looks after."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from producers.status import states
from producers.tables import duration, print_json, print_table
from rpc import Client
from rpc.connection import BlockingSubscription
from rpc.errors import RpcError, Unavailable
from rpc.fitness import PROBE, Finding, clock, examine, judged
from rpc.inspection import LaneState, ModelState, known_models, lasting_keys
from rpc.kept_replies import KeptReplies, kept_replies
from rpc.keys import Keys, reply_channel
from rpc.settings import RedisSettings
from rpc.soundness import LaneCare, lane_care, queued_models

LARGE_SHARE = 0.25
"""The share of the server's memory beyond which kept replies are worth a warning."""

SHOWN = 3
"""How many names of keys are shown."""


def examined(settings: RedisSettings) -> list[Finding]:
    """Return what there is to say of a server and of what lies there; raise `Unavailable` if it cannot be reached."""
    with Client(settings=settings) as client:
        try:
            told = client.ask(examine(settings.prefix))
        except Unavailable as error:
            raise Unavailable(f"{error}{hint(settings.address, str(error))}") from error
        found = [*judged(told), *listening(settings), *clock(told, time.time())]
        try:
            found += looked_after(client, settings.prefix)
            found += replies(client.ask(kept_replies(settings.prefix)), told.number("maxmemory"))
        except RpcError as error:
            advice = "allow this user to read what lies under the prefix, or ask as one who may"
            found.append(Finding("warning", "models", str(error), advice))
    return found


def hint(address: str, error: str) -> str:
    """Return what may be behind a connection that fails without saying why: one side speaks TLS, the other not."""
    if address.startswith("rediss:") and re.search(
        "timeout|timed out|wrong.version|reset|closed", error, re.IGNORECASE
    ):
        return " (does it speak TLS at this port?)"
    if address.startswith("redis:") and re.search("reset|closed", error, re.IGNORECASE):
        return " (does it speak TLS at this port? then its address begins with rediss:)"
    return ""


def listening(settings: RedisSettings) -> Iterator[Finding]:
    """Yield whether callers are woken when their jobs are done."""
    subscription = BlockingSubscription(settings, reply_channel(settings.prefix, PROBE))
    try:
        subscription.open()
    except RpcError as error:
        advice = "replies are found by the sweep, late: allow SUBSCRIBE and the channels (ACL +subscribe &prefix:*)"
        yield Finding("warning", "subscriptions", str(error), advice)
    else:
        yield Finding("ok", "subscriptions", "allowed")
    finally:
        subscription.close()


def looked_after(client: Client, prefix: str) -> list[Finding]:
    """Return what there is to say of the models under a prefix, and of keys that belong to none."""
    names = sorted({*client.ask(known_models(prefix)), *client.ask(queued_models(prefix))})
    found: list[Finding] = []
    for state in states(client, prefix, names):
        lanes = client.ask(lane_care(prefix, state.model, state.workers))
        found += [*served(state), *cared_for(prefix, state.model, lanes, state.workers)]
    if not names:
        found.append(Finding("warning", "models", f"none was ever served under {prefix}", "penstock worker"))
    return [*found, *lasting(client.ask(lasting_keys(prefix)))]


def served(state: ModelState) -> Iterator[Finding]:
    """Yield what there is to say of a model."""
    name = f"model {state.model}"
    waiting = sum(lane.waiting + lane.running for lane in state.lanes)
    advice = "start a worker, or find out why none is alive"
    if waiting and not state.workers:
        yield Finding("fault", name, f"{waiting} jobs, {_age(state.lanes)}, and no live worker", advice)
    elif not state.workers:
        yield Finding("warning", name, "no live worker, no jobs", advice)
    else:
        yield Finding("ok", name, f"{len(state.workers)} live workers, {waiting} jobs")
    if state.dead:
        yield Finding("warning", name, f"{state.dead} jobs given up on", f"penstock dead list {state.model}")


def _age(lanes: tuple[LaneState, ...]) -> str:
    return f"the oldest {duration(max(lane.oldest_ms for lane in lanes))} old"


def cared_for(
    prefix: str, model: str, lanes: Iterable[LaneCare], workers: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """Yield what there is to say of jobs that no worker is given or keeps, given the live workers."""
    for care in lanes:
        name, stream = f"model {model}, {care.lane}", Keys(prefix, model).stream(care.lane)
        if care.wrong:
            yield Finding("fault", name, care.wrong, f"see what {stream} is; a lane is a stream")
        if care.stray:
            advice = f"XGROUP SETID {stream} workers 0 hands the whole lane out again: what runs now runs twice"
            yield Finding("fault", name, f"{care.stray} jobs were handed out and nobody holds them", advice)
        if care.stale and workers:
            advice = "the live workers are behind with jobs that ended others, or stuck: look at their logs"
            yield Finding("warning", name, f"{care.stale} jobs of workers that are gone, not taken over", advice)
        if care.strangers:
            advice = "jobs are gone once they are done, whether or not another group has read them"
            yield Finding("warning", name, f"groups that are not ours: {', '.join(care.strangers[:SHOWN])}", advice)


def replies(kept: KeptReplies, maxmemory: int) -> Iterator[Finding]:
    """Yield what there is to say of the replies that are kept, given the most memory the server may use, 0 for any."""
    at_least = "" if kept.whole else "at least "
    says = f"{at_least}{kept.count:,} kept, about {kept.memory_bytes:,} bytes"
    if maxmemory and kept.memory_bytes > LARGE_SHARE * maxmemory:
        advice = "replies of submit, and of calls with a job_id, stay an hour: lower keep_s, or raise maxmemory"
        yield Finding("warning", "replies", f"{says} of {maxmemory:,}", advice)
    else:
        yield Finding("ok", "replies", says)


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
