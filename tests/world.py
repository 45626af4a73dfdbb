"""One model's lanes on a server and in theory: both must look the same after each event, and keep what is promised."""

import itertools
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, invariant
from redis import Redis

from rpc.calls import Call
from rpc.codec import encode_reply
from rpc.connection import BlockingConnection
from rpc.consumer import Consumer
from rpc.deliveries import Claim, Delivery, Limits
from rpc.keys import GROUP, LANES, Keys, Lane
from rpc.messages import Failure
from rpc.settings import RedisSettings
from tests.answering import reply_with
from tests.sightings import consumers, sighted
from tests.theory import Taken, Theory

MODEL = "m"

LIMITS = Limits(max_jobs=2, lease_ms=30_000, max_deliveries=3)

JOBS = [f"j{number}" for number in range(5)]

WITH_BLOBS = {"j1", "j4"}

MEANT_TO_STAY = ("}:interactive", "}:bulk", "}:workers", "}:config", "}:dead", ":models")

GIVEN_UP = Failure("dead_lettered", "given up")

DRAINED_AFTER = 20
"""Rounds in which a fresh worker has to be done with whatever is left: it may take one suspect of a lane in each."""


class World(RuleBasedStateMachine):
    """The lanes, who works on them, and what must be so. Subclasses say what happens, and on which server."""

    raw: "Redis"
    connection: BlockingConnection
    settings: RedisSettings
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.here = self.settings.model_copy(
            update={"prefix": f"{self.settings.prefix}-{next(self.numbers)}", "inline_bytes": 1000}
        )
        self.keys = Keys(self.here.prefix, MODEL)
        self.theory = Theory(LIMITS.max_jobs, LIMITS.max_deliveries, WITH_BLOBS)
        self.starts = itertools.count()
        self.names: dict[str, str] = {}
        # what each worker believes to have in hand, whether or not it still does
        self.beliefs: dict[str, list[Delivery]] = {}
        self.owed: set[str] = set()
        self.worker("w0").ensure_groups()
        self.worker("w0").announce({"device": "cpu"})

    def teardown(self) -> None:
        """Let a fresh worker end what is left, and see that nothing is."""
        try:
            self.drain()
        finally:
            names: Any = list(self.raw.scan_iter(f"{self.keys.prefix}:*", count=1000))
            lasting = [name.decode() for name in names if self.raw.pttl(name) == -1]
            self.raw.unlink(*names)
        assert [name for name in lasting if not name.endswith(MEANT_TO_STAY)] == []

    def run(self, call: Call[Any]) -> Any:
        """Carry out a conversation."""
        return self.connection.run(call)

    def worker(self, name: str) -> Consumer:
        """Return a worker under the name it has since its last start."""
        if name not in self.names:
            self.names[name] = f"{name}.{next(self.starts)}"
            self.beliefs[name] = []
        return Consumer(self.connection, self.keys, self.names[name], LIMITS, resumable=True)

    def forget(self, name: str) -> None:
        """Let a worker start anew, with nothing in mind."""
        del self.names[name], self.beliefs[name]

    def is_queued(self, job_id: str, lane: Lane) -> None:
        """A job has an entry of its own, and is owed a reply."""
        entry: Any = self.raw.get(self.keys.job(job_id))
        self.theory.queue(job_id, (lane, entry.decode()))
        self.owed.add(job_id)

    def claimed(self, consumer: Consumer, lane: Lane, count: int, *, suspect: bool) -> Claim:
        """Take over what theory says, with the counts it says and from whom it says."""
        claim = consumer.claim(lane, count, suspect=suspect)
        told = [
            [Taken(item.place, item.deliveries, item.left_by) for item in found] for found in (claim.taken, claim.dead)
        ]
        assert told == list(self.theory.claim(consumer.name, lane, count, suspect=suspect))
        return claim

    def time_passes(self) -> None:
        """All leases lapse."""
        for (lane, entry_id), entry in self.theory.pending().items():
            idle_ms = LIMITS.lease_ms + 1
            self.raw.xclaim(
                self.keys.stream(lane),
                GROUP,
                entry.holder,
                0,
                (entry_id,),
                idle=idle_ms,
                retrycount=entry.count,
                justid=True,
            )
        self.theory.time_passes()

    def consumers(self) -> set[str]:
        """Return the names that the server has of those who read."""
        return consumers(self.connection, self.keys)

    # what must be so

    @invariant()
    def the_server_is_what_theory_says(self) -> None:
        """Entries, holders, counts, ids, replies, blobs and parts are exactly those; no reply ever changes."""
        theory = self.theory
        seen = sighted(self.connection, self.keys, JOBS)
        assert seen.entries == {place: entry.job_id for place, entry in theory.there().items()}
        assert seen.pending == {place: (entry.holder, entry.count) for place, entry in theory.pending().items()}
        assert seen.replies == theory.replies
        assert seen.queued == {job: entry for job, (_, entry) in theory.queued.items()}
        blobs = {job for job in JOBS if self.keys.blob(job, 0) in seen.lives}
        parts = {job for job in JOBS if self.keys.parts(job) in seen.lives}
        assert (blobs, parts) == (theory.blobs, theory.parts)
        assert all(life > 0 for life in seen.lives.values())
        assert seen.passed == frozenset(), "what nobody holds is still to be read"

    @invariant()
    def no_job_is_lost_or_there_twice(self) -> None:
        """A job has one entry at most, by which its id is known; one that is owed a reply has that or an entry."""
        there = self.theory.there()
        jobs = [entry.job_id for entry in there.values()]
        assert len(jobs) == len(set(jobs))
        assert all(self.theory.queued.get(entry.job_id) == place for place, entry in there.items())
        assert self.owed <= set(jobs) | self.theory.replies.keys()

    @invariant()
    def what_belongs_to_a_job_goes_with_it(self) -> None:
        """An entry has its blobs, and nothing is left of a job without one but what an operator's deletion left."""
        jobs = {entry.job_id for entry in self.theory.there().values()}
        assert jobs & WITH_BLOBS <= self.theory.blobs
        assert self.theory.queued.keys() | self.theory.blobs | self.theory.parts <= jobs | self.theory.deleted

    @invariant()
    def nothing_is_handed_out_too_often(self) -> None:
        """No count passes the most deliveries but that of an entry which is handed over for the verdict."""
        assert all(0 <= entry.count <= LIMITS.max_deliveries + 1 for entry in self.theory.entries.values())

    def drain(self) -> None:
        """Have a fresh worker end everything: no job may be left, none without a reply."""
        last = Consumer(self.connection, self.keys, "last", LIMITS, resumable=True)
        for _ in range(DRAINED_AFTER):
            if not self.theory.entries:
                break
            self.time_passes()
            for lane in LANES:
                claim = self.claimed(last, lane, 10, suspect=True)
                self.answer(last, claim.taken)
                for delivery in claim.dead:
                    self.buried(last, delivery)
                found = last.read([lane], 10, block_ms=0)
                assert [item.place for item in found] == self.theory.read(last.name, lane, 10)
                self.answer(last, found)
        self.the_server_is_what_theory_says()
        assert self.theory.entries == {}
        assert self.owed <= self.theory.replies.keys()

    def answer(self, consumer: Consumer, deliveries: list[Delivery], said: str = "done") -> None:
        """Answer jobs."""
        settlements = [reply_with(delivery, {"outputs": [said]}) for delivery in deliveries]
        consumer.settle(settlements)
        for each in settlements:
            self.theory.settle(str(each.delivery.job_id), each.delivery.place, each.reply)

    def buried(self, consumer: Consumer, delivery: Delivery) -> None:
        """Give a job up, if that is the worker's to do."""
        buried = self.theory.bury(
            consumer.name, str(delivery.job_id), delivery.place, encode_reply(GIVEN_UP, model=MODEL)
        )
        assert consumer.bury(delivery, GIVEN_UP) == buried
