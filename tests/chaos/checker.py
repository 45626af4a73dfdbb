"""What is wrong with a history: a finding for every promise it breaks. Pure: reads events, asks nobody."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rpc.errors import BY_CODE
from tests.chaos.cargo import answer, shorten_answer
from tests.chaos.cases import Case, cases, last
from tests.chaos.history import Event

MAY_PASS = frozenset(code for code, kind in BY_CODE.items() if kind.retryable)
"""Errors that say that trying again can help."""

CLOCK_S = 0.05
"""How far a time to live, told by the server's clock, may be from the same by ours, besides its steps."""

LATE_S = 15.0
"""How long a reply that is there may take to reach a reader: longer than any fault lasts and a timeout takes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: which, of which job (or ""), and what was seen instead."""

    promise: str
    job: str
    seen: str


def check(events: Sequence[Event]) -> list[Finding]:
    """Return everything that is wrong."""
    told = cases(events)
    for case in told.values():
        case.clock_steps = [event for event in events if event["event"] == "clock_stepped"]
    left = last(events, "left")
    promises = [*PROMISES, _kept] if left and _outlasts(events, left) else PROMISES
    of_jobs = [finding for case in told.values() for promise in promises for finding in promise(case)]
    if left is None:
        return [*of_jobs, Finding("looked_at", "", "the history does not say what was left")]
    return [*of_jobs, *_buried(told, left), *_rest(left)]


def _outlasts(events: Sequence[Event], left: Event) -> bool:
    """Return whether replies are kept for longer than the run took."""
    begun = last(events, "begun")
    return begun is not None and left["at"] - begun["at"] < begun["keep_s"]


def _answered(case: Case) -> Iterator[Finding]:
    """Yield if a reader was never answered."""
    if case.unanswered or not case.replies:
        told = [event["code"] for event in case.unsure]
        readers = len(case.unanswered) or "all"
        yield Finding("answered", case.job, f"{readers} readers got no reply; callers were told {told or 'nothing'}")


def _answered_in_time(case: Case) -> Iterator[Finding]:
    """Yield if a reader waited on while another one had the reply."""
    if case.answered_late_s > LATE_S:
        yield Finding(
            "answered_in_time", case.job, f"a reader got the reply {case.answered_late_s:.1f} s after another"
        )


def _known(case: Case) -> Iterator[Finding]:
    """Yield if Redis was said to have lost it: no run loses data."""
    if any(event["code"] == "job_lost" for event in case.unsure):
        yield Finding("not_lost", case.job, "a caller was told that Redis knows nothing of it")


def _one_reply(case: Case) -> Iterator[Finding]:
    """Yield if two replies differ, be it in which execution they tell of.

    An error that says to try again is none once a caller did, not having been told of the first try.
    """
    replies = {(str(event["code"]), repr(event.get("outputs"))) for event in case.known}
    if case.tried_again:
        replies = {reply for reply in replies if reply[0] not in MAY_PASS} or replies
    if len(replies) > 1:
        yield Finding("one_reply", case.job, f"different replies: {sorted(replies)}")


def _delivered(case: Case) -> Iterator[Finding]:
    """Yield if its reply did not go to the sink it named, or went to one it did not name."""
    if bool(case.delivered) != case.submitted["sunk"]:
        seen = "nothing was handed over" if case.submitted["sunk"] else "it named no sink, and was handed over"
        yield Finding("delivered", case.job, seen)


def _kept(case: Case) -> Iterator[Finding]:
    """Yield if a reply that somebody got is not in Redis."""
    if case.replies and case.stored is None:
        yield Finding("kept", case.job, "its reply is not in Redis although its time is not up")


def _right(case: Case) -> Iterator[Finding]:
    """Yield if a result is not what the inputs make."""
    for event in case.known:
        if event["code"] != "ok":
            continue
        right = [shorten_answer(answer(cargo.value())) for cargo in case.cargo]
        if case.poison or case.trips or _digests(event) != right:
            yield Finding("right", case.job, f"{event.get('outputs')!r} is no answer to it")
            return


def _digests(event: Event) -> list[Any] | None:
    outputs = event.get("outputs")
    whole = isinstance(outputs, list) and all(isinstance(item, list) and len(item) == 2 for item in outputs)
    return [item[0] for item in outputs] if whole and outputs is not None else None


def _executed(case: Case) -> Iterator[Finding]:
    """Yield if a result tells of executions that never were."""
    for event in case.known:
        if event["code"] == "ok" and _digests(event) is not None:
            named = [case.executed.get(run) for _, run in event["outputs"]]
            if named != list(range(len(named))):
                yield Finding("executed", case.job, "a result of an execution that never was")
                return


def _deserved(case: Case) -> Iterator[Finding]:
    """Yield if an error is not one that this job can end with."""
    for event in case.known:
        wrong = _undeserved(case, event)
        if wrong:
            yield Finding(wrong, case.job, f"replied {event['code']}: {event.get('message', '')}")
            return


def _undeserved(case: Case, event: Event) -> str | None:
    """Return the promise that an error breaks, if it does."""
    code = event["code"]
    waited_s = event["at"] - case.submitted["at"]
    expected: dict[str, tuple[bool, str]] = {
        "ok": (True, ""),
        "dead_lettered": (case.poison, "innocent_lives"),
        "model_error": (case.trips, "deserved"),
        "cancelled": (bool(case.cancelling), "deserved"),
        "expired": (waited_s + case.stepped_s(event) >= case.submitted["ttl_s"] - CLOCK_S, "deserved"),
    }
    fine, promise = expected.get(code, (False, "deserved"))
    return None if fine else promise


def _cancelled(case: Case) -> Iterator[Finding]:
    """Yield if a caller was told that its job is cancelled and somebody got another reply."""
    others = {event["code"] for event in case.known} - {"cancelled"}
    if "cancelled" in case.outcomes and others:
        yield Finding("cancelled", case.job, f"cancelled, and yet replied {sorted(others)}")


def _poison_told(case: Case) -> Iterator[Finding]:
    """Yield if the caller of a poison job was not told that it is dead."""
    others = {event["code"] for event in case.known} - {"dead_lettered"}
    if case.poison and others:
        yield Finding("poison_buried", case.job, f"it kills, and was replied {sorted(others)}")


def _unbroken(case: Case) -> Iterator[Finding]:
    """Yield if a client raised what is no error of ours."""
    for error in case.broken[:1]:
        yield Finding("typed_errors", case.job, error)


PROMISES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    *(_answered, _answered_in_time, _known, _one_reply, _right, _executed, _deserved, _cancelled, _poison_told),
    *(_unbroken, _delivered),
)


def _buried(told: dict[str, Case], left: Event) -> Iterator[Finding]:
    """Yield for every poison job that is not in the dead letter, once, and every other one that is."""
    dead = [entry["job"] for entry in left["dead"]]
    for job in dict.fromkeys(dead):
        case = told.get(job)
        if case is None or not case.poison:
            yield Finding("innocent_lives", job, "it lies in the dead letter, and kills nobody")
        elif dead.count(job) > 1:
            yield Finding("poison_buried", job, f"it lies in the dead letter {dead.count(job)} times")
    for case in told.values():
        if case.poison and case.job not in dead:
            yield Finding("poison_buried", case.job, "it kills, and does not lie in the dead letter")


def _rest(left: Event) -> Iterator[Finding]:
    """Yield for everything that should be gone."""
    for lane, counts in left["lanes"].items():
        if any(counts.values()):
            yield Finding("lanes_empty", "", f"{lane} has {counts['length']} entries, {counts['pending']} pending")
    sink = left["sink"]
    if any(sink.values()):
        yield Finding("sink_empty", "", f"the sink has {sink['length']} completions, {sink['pending']} pending")
    for kind in ("lasting", "jobs", "blobs", "others", "strays"):
        names = left.get(kind, [])
        if names:
            yield Finding("nothing_leaks", "", f"{kind}: {len(names)} left, such as {names[:3]}")
