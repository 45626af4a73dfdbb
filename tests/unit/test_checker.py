"""The checker of chaos histories: it passes a good one, and names whatever is wrong with a bad one. No server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.cargo import Cargo, answer, shorten
from tests.chaos.checker import check
from tests.chaos.errands import Errands
from tests.chaos.history import Event, History, read
from tests.chaos.report import latencies, report

TTL_S = 60.0

SUNK = "sunk"
"""The job whose reply goes to a sink too."""


def found(events: list[Event]) -> list[tuple[str, str]]:
    """Return the promises a history breaks, and of which jobs."""
    return sorted({(finding.promise, finding.job) for finding in check(events)})


def submitted(at: float, job: str, *moods: str, kind: str = "plain") -> Event:
    """Return the submission of a job with an input of each mood."""
    cargo = [[mood, 50, False] for mood in moods]
    told = {"job": job, "kind": kind, "lane": "bulk", "ttl_s": TTL_S, "cargo": cargo, "sunk": job == SUNK}
    return {"at": at, "event": "submitted", "by": "asyncio, direct", **told}


def executed(at: float, job: str, index: int, run: str) -> Event:
    """Return an execution."""
    return {"at": at, "event": "executed", "job": job, "index": index, "run": run, "pid": 1}


def replied(at: float, job: str, code: str, *runs: str, event: str = "replied") -> Event:
    """Return a reply: an error, or the right result of these executions."""
    outputs = [[answer(Cargo(job, index, size=50).value()), run] for index, run in enumerate(runs)]
    told = {"outputs": outputs, "attempts": 1} if code == "ok" else {}
    return {"at": at, "event": event, "job": job, "code": code, "by": "asyncio, direct", **told}


def delivered(at: float, job: str, code: str, *runs: str) -> Event:
    """Return a reply as a relay handed it over."""
    return replied(at, job, code, *runs, event="delivered")


def stored(at: float, job: str, code: str, *runs: str) -> Event:
    """Return the reply that was found in Redis."""
    return replied(at, job, code, *runs, event="stored")


LEFT: Event = {
    "at": 90.0,
    "event": "left",
    "lanes": {"interactive": {"length": 0, "pending": 0}, "bulk": {"length": 0, "pending": 0}},
    "sink": {"length": 0, "pending": 0},
    "dead": [{"job": "poison", "code": "dead_lettered", "deliveries": 3}],
    "lasting": [],
    "jobs": [],
    "blobs": [],
    "others": [],
    "strays": [],
    "consumers": {"interactive": 3, "bulk": 3},
}


def good() -> list[Event]:
    """Return a history with something of everything that may happen."""
    return [
        {"at": 0.0, "event": "begun", "server": "valkey", "seed": 1, "seconds": 60.0, "keep_s": 900.0},
        submitted(1.0, "one", "plain", "plain", kind="several"),
        submitted(1.0, "poison", "kills", kind="poison"),
        submitted(1.0, "trips", "trips", kind="trips"),
        submitted(1.0, "gone", "plain", kind="cancelled"),
        submitted(1.0, SUNK, "plain"),
        {"at": 1.1, "event": "fault", "kind": "kill_worker", "berth": 0},
        executed(1.2, "one", 0, "r0"),
        executed(1.2, "one", 1, "r1"),
        executed(1.2, "poison", 0, "p0"),
        {"at": 1.3, "event": "worker_ended", "berth": 0, "pid": 7, "status": -9},
        executed(3.3, "one", 0, "r2"),
        executed(3.3, "one", 1, "r3"),
        {"at": 3.4, "event": "unsure", "job": "one", "by": "asyncio, direct", "code": "timeout", "queued": False},
        replied(3.5, "one", "ok", "r2", "r3"),
        replied(3.6, "one", "ok", "r2", "r3"),
        {"at": 3.7, "event": "cancelling", "job": "gone", "by": "asyncio, direct"},
        {"at": 3.7, "event": "cancelled", "job": "gone", "by": "asyncio, direct", "outcome": "cancelled"},
        replied(3.8, "gone", "cancelled"),
        replied(3.8, "trips", "model_error"),
        executed(3.8, SUNK, 0, "s0"),
        replied(3.8, SUNK, "ok", "s0"),
        delivered(4.0, SUNK, "ok", "s0"),
        delivered(6.0, SUNK, "ok", "s0"),
        executed(5.0, "poison", 0, "p1"),
        executed(8.0, "poison", 0, "p2"),
        replied(11.0, "poison", "dead_lettered"),
        stored(80.0, "one", "ok", "r2", "r3"),
        stored(80.0, "gone", "cancelled"),
        stored(80.0, SUNK, "ok", "s0"),
        stored(80.0, "trips", "model_error"),
        stored(80.0, "poison", "dead_lettered"),
        LEFT,
    ]


def without(events: list[Event], **fields: str) -> list[Event]:
    """Return the events that do not have all these fields."""
    return [event for event in events if not fields.items() <= event.items()]


def left(**changed: Any) -> list[Event]:
    """Return the good history, with something else left in Redis."""
    return [*good()[:-1], {**LEFT, **changed}]


def test_a_good_history_passes() -> None:
    """Redeliveries, a caller's own time-out, a cancelled, a failing and a poison job are all as they may be."""
    assert check(good()) == []


def test_a_lost_job_is_found() -> None:
    """A job that nobody was ever answered, and one that Redis was said not to know, are named."""
    unanswered = without(without(good(), event="replied", job="one"), event="stored", job="one")
    lost: Event = {"at": 3.0, "event": "unsure", "job": "one", "by": "x", "code": "job_lost", "queued": True}

    assert found(unanswered) == [("answered", "one")]
    assert found([*good(), lost]) == [("not_lost", "one")]


def waiting(at: float, job: str, reader: int) -> Event:
    """Return the moment at which a reader begins to wait."""
    return {"at": at, "event": "waiting", "job": job, "by": "asyncio, direct", "reader": reader}


def test_a_reader_without_a_reply_is_found() -> None:
    """A job is unanswered if one of its readers was never answered, even if another one was."""
    answered = {**replied(3.5, "one", "ok", "r2", "r3"), "reader": 1}
    events = [*good(), waiting(1.0, "one", 1), waiting(1.0, "one", 2), answered]

    assert found(events) == [("answered", "one")]
    assert found([*events, {**answered, "at": 4.0, "reader": 2}]) == []


@pytest.mark.parametrize(("began", "ended", "late"), [(1.0, 18.0, False), (1.0, 19.0, True), (10.0, 19.0, False)])
def test_a_reader_that_waits_for_a_reply_that_is_there_is_found(began: float, ended: float, *, late: bool) -> None:
    """A reply reaches a reader within 15 s of the first reader, or of the moment at which it began to wait."""
    answered = {**replied(ended, "one", "ok", "r2", "r3"), "reader": 2}

    assert found([*good(), waiting(began, "one", 2), answered]) == ([("answered_in_time", "one")] if late else [])


def test_a_duplicate_reply_is_found() -> None:
    """Two right answers of two executions are one too many, whether callers got both or Redis holds the other."""
    assert found([*good(), replied(4.0, "one", "ok", "r0", "r1")]) == [("one_reply", "one")]
    other = [*without(good(), event="stored", job="one"), stored(80.0, "one", "ok", "r0", "r1")]
    assert found(other) == [("one_reply", "one")]


@pytest.mark.parametrize("queued", [False, True])
def test_a_late_job_runs_after_all_only_if_it_was_tried_again(*, queued: bool) -> None:
    """A caller that sent it once more has the second reply; one that did not has had two."""
    job = {**submitted(1.0, "late", "plain"), "ttl_s": 0.5}
    unsure = {"at": 1.5, "event": "unsure", "job": "late", "by": "x", "code": "unavailable", "queued": queued}
    late = delivered(2.0, "late", "expired")
    end = [executed(3.0, "late", 0, "r9"), replied(3.5, "late", "ok", "r9"), stored(80.0, "late", "ok", "r9")]

    wrong = found([*good()[:-1], {**job, "sunk": True}, unsure, late, *end, good()[-1]])

    assert wrong == ([("one_reply", "late")] if queued else [])


def test_a_wrong_answer_is_found() -> None:
    """An answer that is not what the input makes, one in the wrong order, and one to what must fail are named."""
    swapped = replied(3.5, "one", "ok", "r2", "r3")
    swapped["outputs"] = swapped["outputs"][::-1]
    other = replied(3.5, "one", "ok", "r2", "r3")
    other["outputs"][0][0] = "0" * 24
    bare = without(without(good(), event="replied", job="one"), event="stored", job="one")

    assert ("right", "one") in found([*bare, swapped])
    assert ("right", "one") in found([*bare, other])
    assert ("right", "one") in found([*bare, {**other, "outputs": None}])
    assert ("right", "trips") in found([*good(), replied(4.0, "trips", "ok", "r9")])


def test_a_result_without_an_execution_is_found() -> None:
    """A right result that names an execution which the model never wrote down is named."""
    assert found(without(good(), event="executed", job="one", run="r3")) == [("executed", "one")]


def test_an_innocent_in_the_dead_letter_is_found() -> None:
    """A job that kills nobody must not be given up on: neither its entry nor its reply goes unseen."""
    entry = {"job": "one", "code": "dead_lettered", "deliveries": 3}
    told = [*without(without(good(), event="replied", job="trips"), event="stored", job="trips")]
    told += [replied(9.0, "trips", "dead_lettered"), stored(80.0, "trips", "dead_lettered")]

    assert found(left(dead=[*LEFT["dead"], entry])) == [("innocent_lives", "one")]
    assert found(told) == [("innocent_lives", "trips")]


def test_a_poison_job_that_was_not_buried_is_found() -> None:
    """A job that kills has to lie in the dead letter, once, and its caller has to be told so."""
    entry = LEFT["dead"][0]
    told = without(without(good(), event="replied", job="poison"), event="stored", job="poison")

    assert found(left(dead=[])) == [("poison_buried", "poison")]
    assert found(left(dead=[entry, entry])) == [("poison_buried", "poison")]
    assert ("poison_buried", "poison") in found([*told, replied(9.0, "poison", "model_error")])


@pytest.mark.parametrize("counts", [{"length": 1, "pending": 0}, {"length": 0, "pending": 2}])
def test_a_rest_in_a_stream_is_found(counts: dict[str, int]) -> None:
    """An entry that is left in a lane, or in somebody's hands, is named."""
    lanes = {**LEFT["lanes"], "bulk": counts}

    (finding,) = check(left(lanes=lanes))

    assert finding.promise == "lanes_empty"
    assert finding.seen == f"bulk has {counts['length']} entries, {counts['pending']} pending"


@pytest.mark.parametrize("kind", ["lasting", "jobs", "blobs", "others", "strays"])
def test_what_leaks_is_found(kind: str) -> None:
    """Keys that stay for ever, keys of jobs that are done, and processes nobody owns are named."""
    (finding,) = check(left(**{kind: ["x"]}))

    assert (finding.promise, finding.seen) == ("nothing_leaks", f"{kind}: 1 left, such as ['x']")


@pytest.mark.parametrize("code", ["model_error", "cancelled", "expired", "invalid_input", "unknown_model"])
def test_an_error_nobody_asked_for_is_found(code: str) -> None:
    """A good job may end with none of the errors that others may end with."""
    bare = without(without(good(), event="replied", job="one"), event="stored", job="one")

    assert found([*bare, replied(3.5, "one", code), stored(80.0, "one", code)]) == [("deserved", "one")]


def test_a_job_may_expire_once_its_time_is_up() -> None:
    """`expired` is an answer from the end of the time to live on."""
    bare = without(without(good(), event="replied", job="one"), event="stored", job="one")
    late = 1.0 + TTL_S

    assert found([*bare, replied(late, "one", "expired"), stored(late, "one", "expired")]) == []


@pytest.mark.parametrize(("by_s", "deserved"), [(58.0, True), (40.0, False), (-58.0, False)])
def test_a_job_may_expire_early_if_the_clock_stepped_forth(by_s: float, *, deserved: bool) -> None:
    """The server's clock decides about `expired`: its steps forth count towards the time to live."""
    bare = without(without(good(), event="replied", job="one"), event="stored", job="one")
    step: Event = {"at": 2.0, "event": "clock_stepped", "by_s": by_s}

    events = [*bare, step, replied(3.5, "one", "expired"), stored(3.5, "one", "expired")]

    assert found(events) == ([] if deserved else [("deserved", "one")])


def test_a_long_answer_is_judged_by_its_digest() -> None:
    """The history keeps a long answer as its length and digest: another one of the same length is wrong."""
    cargo = Cargo("broad", 0, "wide", 50)
    right = shorten([[answer(cargo.value()), "b0"]])
    wrong = shorten([[answer(cargo.value())[:-1] + "x", "b0"]])
    job = [submitted(1.0, "broad", "wide", kind="wide"), executed(2.0, "broad", 0, "b0")]

    def ended(outputs: Any) -> list[tuple[str, str]]:
        reply = {**replied(3.0, "broad", "ok"), "outputs": outputs}
        return found([*good()[:-1], *job, reply, {**reply, "event": "stored"}, good()[-1]])

    assert ended(right) == []
    assert ended(wrong) == [("right", "broad")]


def test_a_cancelled_job_that_was_answered_is_found() -> None:
    """Who was told that its job is cancelled must not get a result of it."""
    bare = without(without(good(), event="replied", job="gone"), event="stored", job="gone")
    told = [*bare, executed(3.0, "gone", 0, "g0"), replied(3.9, "gone", "ok", "g0"), stored(80.0, "gone", "ok", "g0")]

    assert found(told) == [("cancelled", "gone")]


def test_a_reply_that_was_not_handed_over_is_found() -> None:
    """A job that named a sink has its reply there, once at least and the one that stands; another job has none."""
    assert found(without(good(), event="delivered")) == [("delivered", SUNK)]
    assert found([*good(), delivered(7.0, "gone", "cancelled")]) == [("delivered", "gone")]
    assert found([*good(), delivered(7.0, SUNK, "model_error")]) == [("deserved", SUNK), ("one_reply", SUNK)]
    assert found(left(sink={"length": 2, "pending": 1})) == [("sink_empty", "")]


def test_a_reply_that_was_not_kept_is_found() -> None:
    """A reply stays in Redis for as long as was asked."""
    brief: Event = {"at": 0.0, "event": "begun", "keep_s": 30.0}
    lacking = without(good(), event="stored", job="trips")

    assert found(lacking) == [("kept", "trips")]
    assert found([brief, *without(lacking, event="begun")]) == []


def test_an_error_of_no_type_of_ours_is_found() -> None:
    """Whatever else a client raises is a finding."""
    broken: Event = {"at": 4.0, "event": "broken", "job": "one", "by": "x", "error": "KeyError(1)"}

    assert found([*good(), broken]) == [("typed_errors", "one")]


def test_a_history_that_was_cut_off_does_not_pass() -> None:
    """A run that did not get to look at what was left has no verdict, and that is no good one."""
    assert found(good()[:-1]) == [("looked_at", "")]


def test_a_history_is_read_as_it_was_told(tmp_path: Path) -> None:
    """What several writers told one file comes back in the order it happened."""
    path = tmp_path / "history.jsonl"
    with History(path) as one, History(path) as other:
        one.tell("begun", seed=1)
        other.tell("executed", job="one", run="r0")
        one.tell("left")

    events = read(path)

    assert [event["event"] for event in events] == ["begun", "executed", "left"]
    assert events == sorted(events, key=lambda event: event["at"])


def test_a_report_counts_what_happened() -> None:
    """The report tells jobs, replies, faults, executions beyond the needed ones, latencies and the verdict."""
    told = report(good())

    assert told.passed
    assert told.run == {"server": "valkey", "seed": 1, "seconds": 60.0}
    assert told.replies == {"cancelled": 1, "dead_lettered": 1, "model_error": 1, "ok": 2}
    assert told.faults == {"kill_worker": 1}
    assert told.delivered == {"all": 2, "extra": 1}
    assert told.executions == {"all": 8, "extra": 2, "of poison": 3, "by processes": 1}
    assert told.latency_ms == {"p50": 2800.0, "p99": 10000.0, "worst": 10000.0}
    assert json.loads(json.dumps(told.as_json()))["passed"] is True
    assert told.as_text().splitlines()[-1] == "  verdict        passed"


def test_a_report_of_a_bad_history_says_what_is_wrong() -> None:
    """The text names every broken promise with a job that shows it, and ends with the verdict."""
    lines = report(without(good(), event="stored", job="trips")).as_text().splitlines()

    assert "  WRONG          kept: 1" in lines
    assert lines[-1] == "  verdict        FAILED"


def test_percentiles_are_values_that_were_measured() -> None:
    """p50 and p99 are the smallest latencies that so many jobs kept."""
    assert latencies([index / 1000 for index in range(1, 101)]) == {"p50": 50.0, "p99": 99.0, "worst": 100.0}
    assert latencies([]) == {}


def test_the_same_seed_draws_the_same_jobs() -> None:
    """What callers ask for depends on the seed and the caller and on nothing else, and inputs say whose they are."""
    one, same, other = (Errands(seed, 3) for seed in (7, 7, 8))
    drawn = [one.draw() for _ in range(200)]

    assert drawn == [same.draw() for _ in range(200)]
    assert drawn != [other.draw() for _ in range(200)]
    assert len({errand.job for errand in drawn}) == 200
    for errand in drawn:
        for cargo in errand.cargo:
            assert Cargo.of(cargo.value()) == cargo


def test_poison_is_in_every_poison_job() -> None:
    """A job that is to kill does, whatever else is in it."""
    poison = Errands(1, 0).poison()

    assert [cargo.mood for cargo in poison.cargo].count("kills") == 1
