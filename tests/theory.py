"""What the lanes of a model must be after each event, worked out without a server.

It says what the heads of the scripts promise, in the plainest way: every entry, who holds it, how often it was handed
out, and every key that belongs to a job.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from rpc.codec import decode_reply
from rpc.deliveries import Place
from rpc.keys import BEGUN, DIED, PUT_OFF, RELEASED, SUSPECT, Lane
from rpc.messages import Failure

FREE = (RELEASED, BEGUN)


def may_pass(reply: bytes) -> bool:
    """Return whether a reply says that trying again can help."""
    told = decode_reply(reply)
    return isinstance(told, Failure) and told.retryable


@dataclass(slots=True)
class Entry:
    """A stream entry.

    Attributes:
        holder: who it was handed to; "" while it waits.
        lapsed: whether its lease has.
        deleted: whether an operator did away with it while somebody held it.
    """

    job_id: str
    holder: str = ""
    count: int = 0
    lapsed: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """An entry that was taken over: its count from now on, and who had it."""

    place: Place
    count: int
    left_by: str


@dataclass(slots=True)
class Theory:
    """The lanes of one model, and the keys of its jobs; `large` are the jobs that have a blob."""

    most_jobs: int
    most_deliveries: int
    large: Collection[str]
    entries: dict[Place, Entry] = field(default_factory=dict)
    queued: dict[str, Place] = field(default_factory=dict)
    replies: dict[str, bytes] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    dead: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def there(self, lane: Lane | None = None) -> dict[Place, Entry]:
        """Return the entries that are in their streams, the oldest of a lane first."""
        return {place: entry for place, entry in self._of(lane) if not entry.deleted}

    def pending(self, lane: Lane | None = None) -> dict[Place, Entry]:
        """Return what is in somebody's hands, whether or not it is in its stream."""
        return {place: entry for place, entry in self._of(lane) if entry.holder}

    def held_by(self, holder: str) -> dict[Place, Entry]:
        """Return what is in the hands of one."""
        return {place: entry for place, entry in self.pending().items() if entry.holder == holder}

    def _of(self, lane: Lane | None) -> Iterator[tuple[Place, Entry]]:
        return ((place, entry) for place, entry in self.entries.items() if lane in {None, place[0]})

    def owns(self, holder: str, place: Place) -> bool:
        """Return whether an entry is in the hands of one."""
        return place in self.held_by(holder)

    # callers

    def submit(self, job_id: str, lane: Lane, *, again: bool) -> str:
        """Return what comes of a submit; `queue` must follow "queued"."""
        outcome = "queued"
        if job_id in self.replies and (job_id in self.queued or again or not may_pass(self.replies[job_id])):
            outcome = "done"
        elif job_id in self.queued:
            outcome = "joined"
        elif len(self.there(lane)) >= self.most_jobs:
            outcome = "full"
        if job_id in self.large and outcome == "queued":
            self.blobs.add(job_id)
        return outcome

    def queue(self, job_id: str, place: Place) -> None:
        """A job has a new entry, and no reply: what it had said that trying again can help."""
        self.entries[place] = Entry(job_id)
        self.replies.pop(job_id, None)
        self.queued[job_id] = place
        self.deleted.discard(job_id)

    def cancel(self, job_id: str, reply: bytes) -> str:
        """Return what comes of a cancellation."""
        if job_id in self.replies:
            return "finished"
        if job_id not in self.queued:
            return "unknown"
        self.replies[job_id] = reply
        return "cancelled"

    def lost(self, job_id: str) -> bool:
        """Return whether a job is lost; then its id is free."""
        lost = job_id not in self.replies and self.queued.get(job_id) not in self.there()
        if lost:
            self.queued.pop(job_id, None)
        return lost

    # workers

    def read(self, holder: str, lane: Lane, count: int) -> list[Place]:
        """Hand out what waits."""
        waiting = [place for place, entry in self.there(lane).items() if not entry.holder][:count]
        for place in waiting:
            self._hand(place, holder, 1)
        return waiting

    def _hand(self, place: Place, holder: str, count: int, *, lapsed: bool = False) -> None:
        """Change hands, by a command that makes the server drop what was deleted."""
        entry = self.entries[place]
        if entry.deleted:
            del self.entries[place]
        entry.holder, entry.count, entry.lapsed = holder, count, lapsed

    def adopt(self, holder: str, known: Collection[Place]) -> tuple[list[Place], list[Place]]:
        """Return what one holds and does not know of: jobs, and what it was given for the verdict."""
        found = self._dropped_if_deleted(sorted(self.held_by(holder).keys() - known))
        dead = [place for place in found if self.entries[place].count > self.most_deliveries]
        return [place for place in found if place not in dead], dead

    def claim(self, holder: str, lane: Lane, count: int, *, suspect: bool) -> tuple[list[Taken], list[Taken]]:
        """Hand over what was given back, one suspect, and the dead; return what is taken, and the dead."""
        held = self.pending(lane).items()
        free = [place for name in FREE for place, entry in held if entry.holder == name][:count]
        taken, dead = [], []
        for place in self._dropped_if_deleted(free):
            if self.entries[place].count >= self.most_deliveries:
                dead.append(self._give_up(place, holder))
            else:
                taken.append(self._take(place, holder, self.entries[place].count + 1))
        lapsed = [place for place, entry in held if entry.lapsed and entry.holder not in {*FREE, holder}]
        for place in self._dropped_if_deleted(lapsed):
            count = self.entries[place].count
            if count > self.most_deliveries:
                dead.append(self._give_up(place, holder))
            elif suspect:
                # of what was handed out once nothing is known
                taken.append(self._take(place, holder, 0 if count == 1 else count))
                suspect = False
        return taken, dead

    def _dropped_if_deleted(self, places: list[Place]) -> list[Place]:
        for place in places:
            if self.entries[place].deleted:
                del self.entries[place]
        return [place for place in places if place in self.entries]

    def _take(self, place: Place, holder: str, count: int) -> Taken:
        taken = Taken(place, count, self.entries[place].holder)
        self._hand(place, holder, taken.count)
        return taken

    def _give_up(self, place: Place, holder: str) -> Taken:
        """Hand an entry over for the verdict, which its count says until it is spoken."""
        dead = Taken(place, self.most_deliveries, self.entries[place].holder)
        self._hand(place, holder, self.most_deliveries + 1)
        return dead

    def settle(self, job_id: str, place: Place, reply: bytes) -> None:
        """Answer a job for good, whoever does; what belongs to a later entry of the same job stays."""
        self._end(job_id, place)
        self.replies.setdefault(job_id, reply)

    def fail(self, holder: str, job_id: str, place: Place, reply: bytes) -> None:
        """Answer a job with an error: its holder's to do, and not of a job that has a later entry."""
        if self.owns(holder, place) and self._end(job_id, place):
            self.replies.setdefault(job_id, reply)

    def _end(self, job_id: str, place: Place) -> bool:
        """Take an entry away, and what belongs to its job unless that has another entry by now."""
        self.entries.pop(place, None)
        last = self.queued.get(job_id, place) == place
        if last:
            self.queued.pop(job_id, None)
            self.blobs.discard(job_id)
            self.parts.discard(job_id)
        return last

    def bury(self, holder: str, job_id: str, place: Place, reply: bytes) -> bool:
        """Give a job up, if it is in one's hands; return whether it was."""
        if not self.owns(holder, place):
            return False
        if self._end(job_id, place):
            self.replies.setdefault(job_id, reply)
        self.dead.append(job_id)
        return True

    def release(self, holder: str, place: Place, *, begun: bool, count: int | None) -> None:
        """Give an entry back uncounted, if it is in one's hands; `count` is that of a suspect, which stays one."""
        if self.owns(holder, place):
            if count is None:
                self._hand(place, BEGUN if begun else RELEASED, max(0, self.entries[place].count - 1), lapsed=True)
            else:
                self._hand(place, SUSPECT, count, lapsed=True)

    def set_count(self, holder: str, place: Place, count: int) -> bool:
        """Count an entry's deliveries, if it is in one's hands; return whether it was."""
        owned = self.owns(holder, place)
        if owned:
            self._hand(place, holder, count)
        return owned

    def put_off(self, holder: str, place: Place, count: int) -> bool:
        """Put an entry off, if it is in one's hands by that delivery, and count it; return whether it was."""
        owned = self.owns(holder, place) and self.entries[place].count == count
        if owned:
            self._hand(place, PUT_OFF, max(1, count) + 1)
        return owned

    def keep(self, job_id: str) -> None:
        """Keep a part of a job that is queued."""
        if job_id in self.queued:
            self.parts.add(job_id)

    # supervisors

    def renew(self, holder: str) -> int:
        """Renew what one holds; return how much."""
        held = self.held_by(holder)
        for place, entry in held.items():
            self._hand(place, holder, entry.count)
        return len(held)

    def bereave(
        self, holder: str, died_of: str, working_on: Collection[Place] | None, *, alone: bool
    ) -> tuple[int, int]:
        """Hand what one held to nobody; return how much is free, and how much is suspected."""
        held = self.held_by(holder)
        suspects = 0
        for place, entry in held.items():
            if working_on is None or place in working_on:
                counted = alone and entry.count == 1
                self._hand(place, DIED + died_of, 2 if counted else entry.count, lapsed=True)
            elif entry.count == 1:
                self._hand(place, BEGUN, 0, lapsed=True)
                continue
            else:
                self._hand(place, SUSPECT, entry.count, lapsed=True)
            suspects += 1
        return len(held) - suspects, suspects

    # operators, and the world

    def redrive(self, job_id: str) -> str:
        """Take a job out of the dead letter; return what comes of it; `queue` must follow "queued"."""
        self.dead.remove(job_id)
        if self.queued.get(job_id) in self.there():
            return "joined"
        self.replies.pop(job_id, None)
        return "queued"

    def delete(self, place: Place) -> None:
        """An entry is deleted by hand: what waits is gone, what is held stays with its holder as a bare id."""
        entry = self.entries[place]
        self.deleted.add(entry.job_id)
        if entry.holder:
            entry.deleted = True
        else:
            del self.entries[place]

    def forget(self, job_id: str) -> None:
        """The time of a reply is up."""
        self.replies.pop(job_id, None)

    def time_passes(self) -> None:
        """All leases lapse."""
        for place, entry in self.pending().items():
            self._hand(place, entry.holder, entry.count, lapsed=True)
