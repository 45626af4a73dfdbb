"""The book of replies a client is waiting for. Shared by both clients; knows neither threads nor loops.

A wake-up only hurries, even where it brings the reply along: the result key is the truth. So everything waited for
is read again after each (re)subscription and, when it has been quiet for long, by a sweep, which also notices jobs
Redis has lost.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rpc import calls
from rpc.calls import Name
from rpc.codec import decode_named_reply
from rpc.deadlines import Deadline
from rpc.errors import InvalidInput, JobLost
from rpc.messages import Failure, Reply

H = TypeVar("H")

SWEEPS = 2
"""How many sweeps a job is waited for before its entry is looked for, and not only what is known of its id."""


@dataclass(frozen=True, slots=True)
class WakeUp:
    """What a client's channel is told: the id of a finished job, and its reply if that is small."""

    job_id: str
    reply: bytes | None

    @classmethod
    def of(cls, message: bytes) -> "WakeUp":
        """Read a message of the channel."""
        job_id, newline, reply = message.partition(b"\n")
        return cls(job_id.decode("ascii", "replace"), reply if newline else None)


@dataclass(frozen=True, slots=True)
class Missing(Failure):
    """The answer to who waits for a job that is not in Redis any more: no reply, but that there will be none."""

    @classmethod
    def named(cls, name: Name) -> "Missing":
        """Return it for a job."""
        model, job_id = name
        return cls(JobLost.code, f"Redis knows neither job {job_id} of {model} nor a result of it", retryable=True)


def missing(replies: Sequence[Reply], deadline: Deadline, *, now: float) -> list[int]:
    """Return the places of jobs that Redis has lost; in the time left they may be submitted again, under their ids."""
    return [] if deadline.passed(now) else [place for place, each in enumerate(replies) if isinstance(each, Missing)]


@dataclass(slots=True)
class _Wait(Generic[H]):
    handles: list[H]
    looked_at: float
    since: float
    search_after: int = SWEEPS
    missed: bool = False

    def long(self, now: float, sweep_s: float) -> bool:
        """Return whether it has been waited for long enough to be worth a search."""
        return now - self.since >= self.search_after * sweep_s


class Waits(Generic[H]):
    """What is waited for, by (model, job id); `put` gives a waiting `H` its reply, and may do so twice.

    A job leaves the book only when all who wait for it have their answer, and in one step: nothing that cuts a
    conversation, cancels a task or raises in a thread comes between the two.
    """

    def __init__(self, put: Callable[[H, Reply], None]) -> None:
        self._put = put
        self._waits: dict[Name, _Wait[H]] = {}
        self._by_id: dict[str, set[Name]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many jobs are waited for."""
        return len(self._waits)

    def add(self, name: Name, handle: H, *, now: float) -> None:
        """Note that `handle` waits for a job; several may wait for the same."""
        with self._lock:
            self._waits.setdefault(name, _Wait([], now, now)).handles.append(handle)
            self._by_id.setdefault(name[1], set()).add(name)

    def remove(self, name: Name, handle: H) -> None:
        """Forget one who waits, if it still does."""
        with self._lock:
            wait = self._waits.get(name)
            if wait is None or handle not in wait.handles:
                return
            wait.handles.remove(handle)
            if not wait.handles:
                self._forget(name)

    def _forget(self, name: Name) -> None:
        # by id first: a book left in between is mended when the job is settled again
        names = self._by_id.get(name[1], set())
        names.discard(name)
        if not names:
            self._by_id.pop(name[1], None)
        del self._waits[name]

    def named(self, job_ids: Iterable[str]) -> list[Name]:
        """Return those waited for among the ids of a wake-up."""
        with self._lock:
            return [name for job_id in job_ids for name in self._by_id.get(job_id, ())]

    def everything(self) -> list[Name]:
        """Return all that is waited for."""
        with self._lock:
            return list(self._waits)

    def handles(self) -> list[H]:
        """Return all who wait."""
        with self._lock:
            return [handle for wait in self._waits.values() for handle in wait.handles]

    def hear(self, wake_up: WakeUp) -> bool:
        """Settle the job of a wake-up by the reply that came with it; return False if it has to be fetched.

        Ids are each model's own, so a reply that does not say whose it is answers nobody by itself.
        """
        if wake_up.reply is None:
            return False
        try:
            model, reply = decode_named_reply(wake_up.reply)
        except InvalidInput:
            return False
        if model:
            self.settle((model, wake_up.job_id), reply)
        return bool(model)

    def settle(self, name: Name, reply: Reply) -> None:
        """Answer all who wait for a job, then forget it."""
        with self._lock:
            wait = self._waits.get(name)
            if wait is None:
                return
            for handle in wait.handles:
                self._put(handle, reply)
            self._forget(name)

    def collect(self, prefix: str, names: Iterable[Name]) -> calls.Call[None]:
        """Settle those of the named jobs whose replies are there, each as its reply arrives."""
        return calls.deliver(prefix, names, self.settle)

    def catch_up(self, prefix: str) -> calls.Call[None]:
        """Settle all whose replies are there."""
        found = yield from calls.survey(prefix, self.everything())
        yield from self.collect(prefix, found.answered)

    def sweep(self, prefix: str, *, now: float, quiet_s: float) -> calls.Call[None]:
        """Settle those not looked at for `quiet_s` whose replies are there; jobs found missing twice are lost."""
        with self._lock:
            quiet = [name for name, wait in self._waits.items() if now - wait.looked_at >= quiet_s]
        found = yield from calls.survey(prefix, quiet)
        yield from self.collect(prefix, found.answered)
        unanswered = [name for name in quiet if name in self._waits]
        searched = self._to_search(unanswered, now, quiet_s)
        missing = found.missing | ((yield from calls.lost(prefix, searched)) if searched else set())
        for name in self._lost(unanswered, missing, now):
            self.settle(name, Missing.named(name))

    def _to_search(self, names: Iterable[Name], now: float, sweep_s: float) -> list[Name]:
        """Return those waited for so long that their entries are to be looked for: after times that double."""
        with self._lock:
            old = [name for name in names if name in self._waits and self._waits[name].long(now, sweep_s)]
            for name in old:
                self._waits[name].search_after *= 2
            return old

    def _lost(self, looked: Iterable[Name], missing: set[Name], now: float) -> list[Name]:
        lost = []
        with self._lock:
            for name in looked:
                wait = self._waits.get(name)
                if wait is None:
                    continue
                wait.looked_at = now
                # once may be the moment between a job's end and its reply as two reads saw it
                if name in missing and wait.missed:
                    lost.append(name)
                wait.missed = name in missing
        return lost
