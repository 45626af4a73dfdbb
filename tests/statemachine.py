"""The scripts as a state machine: callers, workers, supervisors and operators in any order, with losses in between.

Each event is told to the server and to `tests.theory`, which has to answer the same.
"""

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from rpc import calls, inspection, leases
from rpc.codec import encode_reply
from rpc.deliveries import Delivery, Hold
from rpc.errors import Cancelled, Expired, InvalidInput, ModelError, QueueFull
from rpc.keys import LANES, Lane
from rpc.messages import Failure, Job
from rpc.parts import Part, part_field
from tests.answering import reply_with
from tests.theory import FREE
from tests.world import JOBS, LIMITS, MODEL, WITH_BLOBS, World

JOB = st.sampled_from(JOBS)
WORKERS = st.sampled_from(["w0", "w1", "w2"])
LANE = st.sampled_from(LANES)
PICK = st.integers(0, 20)
ENDINGS = st.sampled_from(["settle", "fail", "bury", "release", "put_off", "keep"])

LARGE = "x" * 3000
"""An input that travels as a blob."""


def held(delivery: Delivery, *, begun: bool = False) -> Hold:
    """Return an entry as a worker holds it."""
    count = delivery.deliveries if delivery.suspect else None
    return Hold(delivery.entry_id, delivery.lane, str(delivery.job_id), delivery.blobs, begun, count)


def cancelled(job_id: str) -> bytes:
    """Return the reply to a job that was cancelled."""
    return encode_reply(Failure.of(Cancelled(f"job {job_id} was cancelled")), model=MODEL)


class Scripts(World):
    """All that can happen. Subclasses say on which server."""

    @initialize()
    def begin(self) -> None:
        """Have something to go wrong with from the start: chance leaves out some rules in each example."""
        for job_id, lane in zip(JOBS, LANES * 2, strict=False):
            self.submit(job_id, lane)
        for name in ("w0", "w1"):
            self.read(name, 1, heard=True)

    # callers

    @rule(job_id=JOB, lane=LANE, again=st.booleans())
    def submit(self, job_id: str, lane: Lane, *, again: bool = False) -> None:
        """Queue a job, or join one; a full lane refuses. The first try, another one, or a call said again."""
        # one id is one job: what is sent under it is always the same
        job = Job(MODEL, "op", [LARGE if job_id in WITH_BLOBS else "a"], id=job_id, lane=lane)
        expected = self.theory.submit(job_id, lane, again=again)
        try:
            (done,) = self.run(calls.submit(self.here, [job], again=again))
            assert done == (expected == "done")
        except QueueFull:
            assert expected == "full"
        else:
            assert expected != "full"
        if expected == "queued":
            self.is_queued(job_id, lane)

    @rule(job_id=JOB)
    def cancel(self, job_id: str) -> None:
        """Cancel a job, which lasts as long as its id is known; a second time, or too late, is told."""
        outcome = self.run(calls.cancel(self.keys.prefix, MODEL, job_id))
        assert outcome == self.theory.cancel(job_id, cancelled(job_id))
        if outcome == "cancelled":
            assert self.raw.pttl(self.keys.result(job_id)) >= self.raw.pttl(self.keys.job(job_id)) - 1000

    @rule(job_id=JOB)
    def ask_for_lost(self, job_id: str) -> None:
        """Ask whether a job is lost: only what an operator deleted may be, what was never there, what is forgotten."""
        lost = self.run(calls.lost(self.keys.prefix, [(MODEL, job_id)]))
        assert bool(lost) == self.theory.lost(job_id)
        assert not lost or job_id not in self.owed

    # workers

    @rule(name=WORKERS, count=st.integers(1, 3), heard=st.booleans())
    def read(self, name: str, count: int, *, heard: bool) -> None:
        """Read what waits, the oldest first; the reply may be lost."""
        consumer = self.worker(name)
        found = consumer.read(LANES, count, block_ms=0)
        expected = [place for lane in LANES for place in self.theory.read(consumer.name, lane, count)]
        assert [delivery.place for delivery in found] == expected
        if heard:
            self.beliefs[name] += found

    @rule(name=WORKERS)
    def adopt(self, name: str) -> None:
        """Find again what was handed out in a reply that was lost, and nothing else."""
        consumer = self.worker(name)
        known = {delivery.place for delivery in self.beliefs[name]}
        found = consumer.adopt(known)
        told = tuple(sorted(delivery.place for delivery in each) for each in (found.taken, found.dead))
        assert told == self.theory.adopt(consumer.name, known)
        self.beliefs[name] += found.taken
        for delivery in found.dead:
            self.bury(name, delivery)

    @rule(name=WORKERS, lane=LANE, suspect=st.booleans(), heard=st.booleans())
    def claim(self, name: str, lane: Lane, *, suspect: bool, heard: bool) -> None:
        """Take over what was given back and at most one suspect; the reply may be lost."""
        claim = self.claimed(self.worker(name), lane, 2, suspect=suspect)
        assert len([item for item in claim.taken if item.left_by not in FREE]) <= int(suspect)
        assert all(item.deliveries <= LIMITS.max_deliveries for item in claim.taken)
        if heard:
            known = {delivery.place for delivery in self.beliefs[name]}
            self.beliefs[name] += [delivery for delivery in claim.taken if delivery.place not in known]
            for delivery in claim.dead:
                self.bury(name, delivery)

    @rule(name=WORKERS, pick=PICK, ending=ENDINGS, knows=st.booleans())
    def end(self, name: str, pick: int, ending: str, *, knows: bool) -> None:
        """A worker does something about one of the jobs it believes to have; it may not hear that it is done."""
        held = self.beliefs.get(name, [])
        if held:
            delivery = held[pick % len(held)]
            getattr(self, ending)(name, delivery)
            if knows and ending != "keep":
                held.remove(delivery)

    def settle(self, name: str, delivery: Delivery) -> None:
        """Answer a job, owner or not, twice and differently: the first answer stays."""
        for turn in range(2):
            self.answer(self.worker(name), [delivery], f"{self.names[name]} {delivery.entry_id} {turn}")

    def fail(self, name: str, delivery: Delivery) -> None:
        """Answer a job with an error; only its holder can, and once."""
        consumer = self.worker(name)
        kind = Expired if delivery.entry_id.endswith("0") else ModelError
        failed = reply_with(delivery, Failure.of(kind(delivery.entry_id)))
        for _ in range(2):
            consumer.settle([failed])
            self.theory.fail(consumer.name, str(delivery.job_id), delivery.place, failed.reply)

    def bury(self, name: str, delivery: Delivery) -> None:
        """Give up on a job; only its holder can."""
        self.buried(self.worker(name), delivery)

    def release(self, name: str, delivery: Delivery) -> None:
        """Give a job back, its delivery uncounted; only its holder can."""
        consumer, hold = self.worker(name), held(delivery, begun=delivery.begun)
        consumer.release([hold])
        self.theory.release(consumer.name, delivery.place, begun=hold.begun, count=hold.count)

    @precondition(lambda self: any(self.beliefs.values()))
    @rule(name=WORKERS, pick=PICK, at_work=st.booleans())
    def work_on_suspect(self, name: str, pick: int, *, at_work: bool) -> None:
        """A suspect's delivery is counted before it is worked on, and not any more afterwards; only its holder can."""
        consumer = self.worker(name)
        suspects = [delivery for delivery in self.beliefs[name] if delivery.suspect]
        if suspects:
            delivery = suspects[pick % len(suspects)]
            count = max(1, delivery.deliveries) + 1 if at_work else delivery.deliveries
            for _ in range(2):
                expected = self.theory.set_count(consumer.name, delivery.place, count)
                assert consumer.count(delivery.place, count) == expected

    def put_off(self, name: str, delivery: Delivery) -> None:
        """Have a job tried again later, its delivery counted; only its holder can."""
        consumer = self.worker(name)
        put_off = self.theory.put_off(consumer.name, delivery.place, delivery.deliveries)
        assert consumer.retry(delivery, delay_s=20.0) == put_off

    def keep(self, name: str, delivery: Delivery) -> None:
        """Keep a part of a job that is not settled."""
        self.worker(name).keep(str(delivery.job_id), [part_field(Part(0, 0, "part"))])
        self.theory.keep(str(delivery.job_id))

    @rule(name=WORKERS)
    def look(self, name: str) -> None:
        """Learn what is lost and what is answered: exactly that."""
        consumer = self.worker(name)
        beliefs = self.beliefs[name]
        seen = consumer.look([held(delivery) for delivery in beliefs])
        lost = {delivery.place for delivery in beliefs if not self.theory.owns(consumer.name, delivery.place)}
        answered = {delivery.place for delivery in beliefs if delivery.job_id in self.theory.replies}
        assert seen.lost == lost
        assert seen.answered == answered - lost

    @rule(name=WORKERS)
    def leave(self, name: str) -> None:
        """Say good-bye; what it still has stays where others find it."""
        consumer = self.worker(name)
        consumer.leave()
        assert (consumer.name in self.consumers()) <= bool(self.theory.held_by(consumer.name))
        self.forget(name)

    @rule(name=WORKERS, other=WORKERS, pick=PICK, ending=ENDINGS, ended=st.booleans())
    def come_back_late(self, name: str, other: str, pick: int, ending: str, *, ended: bool) -> None:
        """A worker does something about a job that another has taken over, and may have answered, meanwhile."""
        beliefs = self.beliefs.get(name, [])
        if beliefs and name != other:
            delivery = beliefs[pick % len(beliefs)]
            self.take_over(other, delivery.lane)
            if ended:
                taken = [each for each in self.beliefs[other] if each.place == delivery.place]
                self.answer(self.worker(other), taken, "by another")
            getattr(self, ending)(name, delivery)

    # supervisors

    @rule(name=WORKERS)
    def renew(self, name: str) -> None:
        """Renew what a worker has, known to it or not; nobody can take it over then."""
        consumer = self.worker(name)
        renewed = self.run(leases.renew(self.keys.prefix, [MODEL], consumer.name, lease_ms=LIMITS.lease_ms))
        assert renewed == self.theory.renew(consumer.name)

    @rule(
        name=WORKERS, known=st.booleans(), working=st.integers(0, 2), died_of=st.sampled_from(["SIGKILL", "status 1"])
    )
    def bereave(self, name: str, *, known: bool, working: int, died_of: str) -> None:
        """An engine dies: what it worked on is suspected, the rest is free; told twice it is the same."""
        consumer = self.worker(name)
        at = set(itertools.islice(self.theory.held_by(consumer.name), working)) if known else None
        alone = working == 1 and known
        for _ in range(2):
            call = leases.bereave(self.keys.prefix, MODEL, consumer.name, died_of=died_of, working_on=at, alone=alone)
            assert self.run(call) == self.theory.bereave(consumer.name, died_of, at, alone=alone)
        assert consumer.name not in self.consumers()
        self.forget(name)

    @rule()
    def reap(self) -> None:
        """Drop whom nothing was heard of: just those are left who hold something or live."""
        alive: Any = self.raw.zrange(self.keys.workers, 0, -1)
        holders = {entry.holder for entry in self.theory.pending().values()}
        expected = self.consumers() & (holders | {name.decode() for name in alive})
        self.run(leases.reap(self.keys.prefix, MODEL, silent_ms=0))
        assert self.consumers() == expected >= holders

    # operators, and the world

    @rule()
    def wait(self) -> None:
        """All leases lapse."""
        self.time_passes()

    @rule(name=WORKERS, lane=LANE)
    def take_over(self, name: str, lane: Lane) -> None:
        """All leases lapse, and a worker looks for what others left."""
        self.time_passes()
        self.claim(name, lane, suspect=True, heard=True)

    @rule()
    def forget_scripts(self) -> None:
        """The server loses the scripts."""
        self.raw.script_flush()

    @rule(job_id=JOB)
    def forget_reply(self, job_id: str) -> None:
        """The time of a reply is up; that of a cancelled job is not before that of its id."""
        waits = self.theory.queued.get(job_id) in self.theory.there()
        if not (waits and self.theory.replies.get(job_id) == cancelled(job_id)):
            self.raw.delete(self.keys.result(job_id))
            self.theory.forget(job_id)
            if not waits:
                self.owed.discard(job_id)

    @precondition(lambda self: self.theory.dead)
    @rule(pick=PICK)
    def redrive(self, pick: int) -> None:
        """Queue a dead job again, or join it; one whose payload was not kept cannot be."""
        found = self.run(inspection.dead_jobs(self.keys.prefix, MODEL))
        assert sorted(dead.job_id for dead in found) == sorted(self.theory.dead)
        dead = found[pick % len(found)]
        try:
            assert self.run(inspection.redrive(self.keys.prefix, MODEL, dead.dead_id)) == dead.job_id
        except InvalidInput:
            assert not dead.whole
            return
        if self.theory.redrive(dead.job_id) == "queued":
            self.is_queued(dead.job_id, dead.lane)

    @rule()
    def purge(self) -> None:
        """Drop all dead jobs for good."""
        assert self.run(inspection.purge(self.keys.prefix, MODEL, [])) == len(self.theory.dead)
        self.theory.dead.clear()

    @rule(pick=PICK, ending=ENDINGS)
    def queue_again(self, pick: int, ending: str) -> None:
        """An operator deletes an entry in hand, its caller sends the job again, and who held it ends it."""
        held_now = [place for place, entry in self.theory.there().items() if entry.holder]
        if held_now:
            place = held_now[pick % len(held_now)]
            job_id = self.theory.entries[place].job_id
            self.delete(place[0], list(self.theory.there(place[0])).index(place))
            self.ask_for_lost(job_id)
            self.submit(job_id, place[0])
            for name, beliefs in self.beliefs.items():
                for delivery in [each for each in beliefs if each.place == place]:
                    getattr(self, ending)(name, delivery)

    @rule(lane=LANE, pick=PICK)
    def delete(self, lane: Lane, pick: int) -> None:
        """An operator deletes an entry by hand; nobody owes its job a reply any more."""
        places = list(self.theory.there(lane))
        if places:
            place = places[pick % len(places)]
            self.raw.xdel(self.keys.stream(lane), place[1])
            job_id = self.theory.entries[place].job_id
            self.theory.delete(place)
            if job_id not in self.theory.replies:
                self.owed.discard(job_id)
