"""The scripts as a state machine: callers, workers, supervisors and operators in any order, with losses in between.

What must be so whatever came before is checked after each step; at the end a fresh worker has to leave nothing undone.
"""

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis import Redis

from rpc import calls, inspection, leases
from rpc.calls import Call
from rpc.connection import BlockingConnection
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Hold, Limits
from rpc.errors import InvalidInput, QueueFull
from rpc.keys import GROUP, LANES, RELEASED, Keys, Lane
from rpc.messages import Failure, Job
from rpc.parts import Part, part_field
from rpc.settings import RedisSettings
from tests.answering import reply_with

MODEL = "m"

MOST_DELIVERIES, MOST_JOBS, LEASE_MS = 3, 3, 30_000

JOBS = st.sampled_from([f"j{number}" for number in range(5)])
WORKERS = st.sampled_from(["w0", "w1"])
LANE = st.sampled_from(LANES)
PICK = st.integers(0, 20)

LASTING = ("}:interactive", "}:bulk", "}:workers", "}:config", "}:dead", ":models")
"""The ends of names of keys that are meant to stay."""

WITH_BLOBS = {"j1", "j4"}

LARGE = "x" * 3000
"""An input that travels as a blob."""

DRAINED_AFTER = 60
"""Rounds in which a fresh worker has to be done with whatever is left."""


class Scripts(RuleBasedStateMachine):
    """Everybody who speaks to one model's lanes. Subclasses say which server it is."""

    raw: "Redis"
    connection: BlockingConnection
    settings: RedisSettings
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        prefix = f"machine-{next(self.numbers)}"
        self.keys = Keys(prefix, MODEL)
        self.here = self.settings.model_copy(update={"prefix": prefix, "inline_bytes": 1000})
        self.limits = Limits(max_jobs=MOST_JOBS, lease_ms=LEASE_MS, max_deliveries=MOST_DELIVERIES)
        self.names: dict[str, str] = {}
        self.starts = itertools.count()
        # what each worker believes to have in hand, whether or not it still does
        self.beliefs: dict[str, list[Delivery]] = {}
        self.submitted: set[str] = set()
        self.deleted: set[str] = set()
        self.cancelled: set[str] = set()
        self.replies: dict[str, bytes] = {}
        first = self.worker("w0")
        first.ensure_groups()
        first.announce({"device": "cpu"})
        # chance leaves out some rules in each example: there is always something to go wrong with
        for number in range(4):
            self.queue(f"j{number}", LANES[number % 2])
        self.take("w0", 1)
        self.take("w1", 1)

    def teardown(self) -> None:
        """Let a fresh worker end what is left, and see that nothing is."""
        try:
            self.drain()
        finally:
            names = self.raw.keys(f"{self.keys.prefix}:*")
            if names:
                self.raw.unlink(*names)

    def run(self, call: Call[Any]) -> Any:
        """Carry out a conversation."""
        return self.connection.run(call)

    def worker(self, name: str) -> Consumer:
        """Return a worker under the name it has since its last start."""
        if name not in self.names:
            self.names[name] = f"{name}.{next(self.starts)}"
            self.beliefs[name] = []
        return Consumer(self.connection, self.keys, self.names[name], self.limits, resumable=True)

    def forget(self, name: str) -> None:
        """Let a worker start anew, with nothing in mind."""
        self.names.pop(name, None)
        self.beliefs.pop(name, None)

    # callers

    @rule(job_id=JOBS, lane=LANE)
    def submit(self, job_id: str, lane: Lane) -> None:
        """Queue a job, or join one; a full lane refuses."""
        self.queue(job_id, lane)

    def queue(self, job_id: str, lane: Lane) -> None:
        """Do that."""
        # one id is one job: what is sent under it is always the same
        job = Job(MODEL, "op", [LARGE if job_id in WITH_BLOBS else "a"], id=job_id, lane=lane)
        full = self.raw.xlen(self.keys.stream(lane)) >= MOST_JOBS
        known = self.raw.exists(self.keys.job(job_id), self.keys.result(job_id))
        try:
            self.run(calls.submit(self.here, [job]))
        except QueueFull:
            assert full
            assert not known
            return
        assert known or not full
        self.submitted.add(job_id)
        if not known:
            self.deleted.discard(job_id)

    @rule(job_id=JOBS)
    def cancel(self, job_id: str) -> None:
        """Cancel a job; a second time, or too late, is told."""
        outcome = self.run(calls.cancel(self.keys.prefix, MODEL, job_id))
        assert (outcome == "finished") == (job_id in self.replies)
        if outcome == "cancelled":
            self.cancelled.add(job_id)

    @rule(job_id=JOBS)
    def look_for(self, job_id: str) -> None:
        """Ask whether a job is lost: only what an operator deleted may be, and what was never there."""
        lost = self.run(calls.lost(self.keys.prefix, [(MODEL, job_id)]))
        assert not lost or job_id in self.deleted or job_id not in self.submitted

    # workers

    @rule(name=WORKERS, count=st.integers(1, 3), heard=st.booleans())
    def read(self, name: str, count: int, *, heard: bool) -> None:
        """Read entries; the reply may be lost."""
        found = self.take(name, count)
        if not heard:
            self.beliefs[name] = [delivery for delivery in self.beliefs[name] if delivery not in found]

    def take(self, name: str, count: int) -> list[Delivery]:
        """Read entries of each lane."""
        found = self.worker(name).read(LANES, count, block_ms=0)
        self.beliefs[name] += found
        return found

    @rule(name=WORKERS)
    def adopt(self, name: str) -> None:
        """Find again what was handed out in a reply that was lost, and nothing else."""
        consumer = self.worker(name)
        known = {delivery.place for delivery in self.beliefs[name]}
        found = consumer.adopt(known)
        assert not known & {delivery.place for delivery in found}
        self.beliefs[name] += found

    @rule(name=WORKERS, lane=LANE, suspect=st.booleans(), heard=st.booleans())
    def claim(self, name: str, lane: Lane, *, suspect: bool, heard: bool) -> None:
        """Take over released entries and at most one suspect; the reply may be lost."""
        claim = self.worker(name).claim(lane, 2, suspect=suspect)
        suspects = [delivery for delivery in claim.taken if delivery.left_by != RELEASED]
        assert len(suspects) <= int(suspect)
        assert all(delivery.deliveries <= MOST_DELIVERIES for delivery in claim.taken)
        assert all(delivery.deliveries >= MOST_DELIVERIES for delivery in claim.dead)
        if heard:
            self.beliefs[name] += claim.taken
            for delivery in claim.dead:
                assert self.worker(name).bury(delivery, Failure("dead_lettered", "given up"))

    def settle(self, name: str, delivery: Delivery) -> None:
        """Answer a job, owner or not, twice and differently: the first answer stays."""
        for turn in range(2):
            answer = f"{self.names[name]} {delivery.entry_id} {turn}"
            self.worker(name).settle([reply_with(delivery, {"outputs": [answer]})])
            self.the_first_reply_stays()
        self.beliefs[name].remove(delivery)

    def bury(self, name: str, delivery: Delivery) -> None:
        """Give up on a job; only its owner can."""
        owner = self.owner(delivery)
        buried = self.worker(name).bury(delivery, Failure("dead_lettered", "given up"))
        assert buried == (owner == self.names[name])
        self.beliefs[name].remove(delivery)

    def release(self, name: str, delivery: Delivery) -> None:
        """Give a job back; its delivery does not count, and only its owner can."""
        before = self.pending(delivery)
        self.worker(name).release([self.hold(delivery)])
        mine = before is not None and before[0] == self.names[name]
        given_back = (RELEASED, max(0, before[1] - 1)) if before else None
        # the server drops what an operator deleted when it is touched
        expected = (given_back if self.is_there(delivery) else None) if mine else before
        assert self.pending(delivery) == expected
        self.beliefs[name].remove(delivery)

    def put_off(self, name: str, delivery: Delivery) -> None:
        """Have a job tried again later; its delivery counts, and only its owner can."""
        before = self.pending(delivery)
        put_off = self.worker(name).retry(self.hold(delivery), delay_s=1.0)
        after = self.pending(delivery)
        assert put_off == (before is not None and before[0] == self.names[name])
        assert not self.is_there(delivery) or (before and before[1]) == (after and after[1])
        self.beliefs[name].remove(delivery)

    @rule(name=WORKERS)
    def look(self, name: str) -> None:
        """Learn what is lost and what is answered: exactly that."""
        consumer = self.worker(name)
        held = self.beliefs[name]
        seen = consumer.look([self.hold(delivery) for delivery in held])
        lost = {delivery.place for delivery in held if self.owner(delivery) != self.names[name]}
        assert lost == seen.lost
        answered = {delivery.place for delivery in held if delivery.job_id in self.replies}
        assert seen.answered == answered - lost

    def keep(self, name: str, delivery: Delivery) -> None:
        """Keep a part of a job."""
        self.worker(name).keep(str(delivery.job_id), [part_field(Part(0, 0, "part"))])

    @rule(name=WORKERS)
    def leave(self, name: str) -> None:
        """Say good-bye; what it still has stays where others find it."""
        self.worker(name).leave()
        self.forget(name)

    @rule(name=WORKERS, pick=PICK, verb=st.sampled_from(["settle", "bury", "release", "put_off", "keep"]))
    def end(self, name: str, pick: int, verb: str) -> None:
        """A worker does something about one of the jobs it believes to have."""
        held = self.beliefs.get(name, [])
        if held:
            getattr(self, verb)(name, held[pick % len(held)])

    # supervisors

    @rule(name=WORKERS)
    def renew(self, name: str) -> None:
        """Renew what a worker has, known to it or not; nobody can take it over then."""
        consumer = self.worker(name)
        held = [entry for lane in LANES for entry in self.pending_of(lane) if entry[1] == consumer.name]
        renewed = self.run(leases.renew(self.keys.prefix, [MODEL], consumer.name, lease_ms=LEASE_MS))
        assert renewed == len(held)

    @rule(name=WORKERS, known=st.booleans(), working=st.booleans())
    def bereave(self, name: str, *, known: bool, working: bool) -> None:
        """An engine dies: what it worked on is suspected, the rest is free."""
        consumer = self.worker(name)
        held = {
            (lane, entry): count
            for lane in LANES
            for entry, owner, count in self.pending_of(lane)
            if owner == consumer.name
        }
        working_on = set(itertools.islice(sorted(held), 1)) if working else set()
        released, suspects = self.run(
            leases.bereave(
                self.keys.prefix, MODEL, consumer.name, died_of="SIGKILL", working_on=working_on if known else None
            )
        )
        expected = working_on if known else set(held)
        assert (released, suspects) == (len(held) - len(expected), len(expected))
        self.forget(name)

    @rule()
    def reap(self) -> None:
        """Drop silent consumers; none that holds an entry."""
        holders = {owner for lane in LANES for _, owner, _ in self.pending_of(lane)}
        self.run(leases.reap(self.keys.prefix, MODEL, silent_ms=0))
        left = {owner for lane in LANES for _, owner, _ in self.pending_of(lane)}
        assert holders == left

    # operators, and the world

    @rule()
    def time_passes(self) -> None:
        """All leases lapse."""
        for lane in LANES:
            for entry, owner, count in self.pending_of(lane):
                self.raw.xclaim(
                    self.keys.stream(lane), GROUP, owner, 0, (entry,), idle=LEASE_MS + 1, retrycount=count, justid=True
                )

    @rule(name=WORKERS, lane=LANE)
    def take_over(self, name: str, lane: Lane) -> None:
        """All leases lapse, and a worker looks for what others left."""
        self.time_passes()
        self.claim(name, lane, suspect=True, heard=True)

    @rule()
    def forget_scripts(self) -> None:
        """The server loses the scripts."""
        self.raw.script_flush()

    @precondition(lambda self: self.raw.xlen(self.keys.dead))
    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        """Queue a dead job again, with a fresh count; one whose payload was not kept cannot be."""
        found = self.run(inspection.dead_jobs(self.keys.prefix, MODEL))
        dead = found[pick % len(found)]
        if self.raw.exists(self.keys.job(dead.job_id)):
            return
        try:
            self.run(inspection.redrive(self.keys.prefix, MODEL, dead.dead_id))
        except InvalidInput:
            assert not dead.whole
            return
        self.replies.pop(dead.job_id, None)
        self.cancelled.discard(dead.job_id)
        self.deleted.discard(dead.job_id)

    @rule()
    def purge(self) -> None:
        """Drop all dead jobs for good."""
        self.run(inspection.purge(self.keys.prefix, MODEL, []))

    @rule(lane=LANE, pick=PICK)
    def delete(self, lane: Lane, pick: int) -> None:
        """An operator deletes an entry by hand."""
        entries: Any = self.raw.xrange(self.keys.stream(lane))
        if entries:
            entry, fields = entries[pick % len(entries)]
            self.raw.xdel(self.keys.stream(lane), entry)
            self.deleted.add(fields[b"id"].decode())

    # what must be so

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every job queued has an entry or a reply; at most one entry; both only once it is cancelled."""
        entries = self.entries()
        assert len(entries) == len(set(entries))
        for job_id in self.submitted - self.deleted:
            assert job_id in entries or self.raw.exists(self.keys.result(job_id)), job_id
        for job_id in set(entries):
            if self.raw.exists(self.keys.result(job_id)):
                assert job_id in self.cancelled | self.deleted

    @invariant()
    def the_first_reply_stays(self) -> None:
        """A reply never changes."""
        for job_id in self.submitted:
            value: Any = self.raw.get(self.keys.result(job_id))
            if value is not None:
                assert self.replies.setdefault(job_id, value) == value
            else:
                assert job_id not in self.replies

    @invariant()
    def pending_is_in_the_stream(self) -> None:
        """What is in somebody's hands is there, but for what an operator deleted; counts stay in their bounds."""
        for lane in LANES:
            entries: Any = self.raw.xrange(self.keys.stream(lane))
            there = {entry.decode() for entry, _ in entries}
            pending = self.pending_of(lane)
            assert self.deleted or {entry for entry, _, _ in pending} <= there
            assert all(0 <= count <= MOST_DELIVERIES for _, _, count in pending)

    @invariant()
    def only_what_is_meant_to_stays(self) -> None:
        """Every key has a life but for those of the model; what belongs to a job goes with it."""
        entries = set(self.entries())
        names: Any = self.raw.keys(f"{self.keys.prefix}:*")
        for name in map(bytes.decode, names):
            assert name.endswith(LASTING) or self.raw.pttl(name) > 0, name
            kind, _, rest = name.partition("}:")[2].partition(":")
            if kind in {"job", "blob", "parts"}:
                assert rest.partition(":")[0] in entries | self.deleted, name

    # ways to look

    def entries(self) -> list[str]:
        """Return the job ids of all entries."""
        found: list[Any] = [self.raw.xrange(self.keys.stream(lane)) for lane in LANES]
        return [fields[b"id"].decode() for entries in found for _, fields in entries]

    def pending_of(self, lane: Lane) -> list[tuple[str, str, int]]:
        """Return entry, holder and count of what is in hands."""
        found: Any = self.raw.xpending_range(self.keys.stream(lane), GROUP, "-", "+", 1000)
        return [(item["message_id"].decode(), item["consumer"].decode(), item["times_delivered"]) for item in found]

    def pending(self, delivery: Delivery) -> tuple[str, int] | None:
        """Return holder and count of an entry, or None if it is nobody's."""
        found = {entry: (owner, count) for entry, owner, count in self.pending_of(delivery.lane)}
        return found.get(delivery.entry_id)

    def is_there(self, delivery: Delivery) -> bool:
        """Return whether the entry of a delivery is in its lane."""
        return bool(self.raw.xrange(self.keys.stream(delivery.lane), delivery.entry_id, delivery.entry_id))

    def owner(self, delivery: Delivery) -> str | None:
        """Return who holds an entry."""
        found = self.pending(delivery)
        return found[0] if found else None

    def hold(self, delivery: Delivery) -> Hold:
        """Return an entry as a worker holds it."""
        return Hold(delivery.entry_id, delivery.lane, str(delivery.job_id), delivery.blobs)

    def drain(self) -> None:
        """Have a fresh worker end everything: no job may be left, none without a reply."""
        last = Consumer(self.connection, self.keys, "last", self.limits, resumable=True)
        for _ in range(DRAINED_AFTER):
            if not self.entries() and not any(map(self.pending_of, LANES)):
                break
            self.time_passes()
            for lane in LANES:
                claim = last.claim(lane, 10, suspect=True)
                last.settle([reply_with(delivery, {"outputs": []}) for delivery in claim.taken])
                for delivery in claim.dead:
                    last.bury(delivery, Failure("dead_lettered", "given up"))
            found = last.read(LANES, 10, block_ms=0)
            last.settle([reply_with(delivery, {"outputs": []}) for delivery in found])
        assert self.entries() == []
        assert [self.pending_of(lane) for lane in LANES] == [[], []]
        for job_id in self.submitted - self.deleted:
            assert self.raw.exists(self.keys.result(job_id)), job_id
