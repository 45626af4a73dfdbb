"""What every blocking call stands on: jobs queued, waited for, cancelled; two connections, one thread that listens."""

import contextlib
import itertools
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from tenacity import Retrying

from rpc import calls, requests
from rpc.attempts import said_before, while_away
from rpc.connection import BlockingConnection
from rpc.deadlines import Deadline
from rpc.errors import QueueFull, RpcError, Timeout, Unavailable
from rpc.forks import forks
from rpc.inputs import sendable
from rpc.keys import check_job_id, check_model, reply_channel
from rpc.listener import Listener, Slot
from rpc.messages import Job, Reply
from rpc.parts import Progress, progress
from rpc.plans import Plan
from rpc.requests import Asked, CallOptions
from rpc.served import READ_S, Service, check_served, service, timeout_text
from rpc.settings import RedisSettings
from rpc.waits import missing

T = TypeVar("T")

SLICE_S = 0.5
"""The longest a caller sleeps in one piece, so that a time limit raised in its thread is noticed."""


class Caller:
    """Carries calls out over Redis. Safe to share between threads, and to use again in a forked process.

    Holds two connections however many calls are waiting.
    """

    def __init__(self, url: str | None = None, *, settings: RedisSettings | None = None) -> None:
        self._settings = settings or RedisSettings.from_env(url=url)
        self._prefix = self._settings.prefix
        self._channel = reply_channel(self._prefix, uuid.uuid4().hex)
        self._starting = threading.Lock()
        self._listener: Listener | None = None
        self._connection = BlockingConnection(self._settings)
        self._forks = forks()
        self._submits = itertools.count()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close both connections; calls that still wait fail with `Unavailable`."""
        self._after_fork()
        with self._starting:
            if self._listener is not None:
                self._listener.stop()
                self._listener = None
        self._connection.close()

    def __del__(self) -> None:
        """Give back what a forgotten client has open, and warn of it."""
        connection = getattr(self, "_connection", None)
        if connection is None or self._forks != forks():
            return
        if self._listener is not None:
            self._listener.abandon()
        elif connection.is_open:
            connection.close()
        else:
            return
        text = f"unclosed {type(self).__name__}: use it as a context manager, or close it"
        warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    @property
    def prefix(self) -> str:
        """The first part of every key this client uses."""
        return self._prefix

    @property
    def channel(self) -> str:
        """The pub/sub channel on which this client is told of finished jobs."""
        return self._channel

    @property
    def waiting(self) -> int:
        """How many jobs are waited for here now."""
        return 0 if self._listener is None else len(self._listener.waits)

    def ask(self, call: calls.Call[T], *, until: Deadline | None = None) -> T:
        """Carry out one of the conversations of `rpc.calls`, by a deadline if there is one."""
        self._after_fork()
        return self._connection.run(call, until=until)

    def asked(self, model: str, op: str, options: Mapping[str, Any] | None = None) -> Asked:
        """Return what is asked of which model, to be answered on this client's channel: what `rpc.plans` begin with."""
        self._after_fork()
        settings = self._settings
        return Asked(model, op, options or {}, self._channel, settings.inline_bytes, settings.max_input_bytes)

    def _next_upload(self) -> str:
        """Return the name of the next submit, which no other client and no other submit has."""
        return f"{self._channel.rpartition(':')[2]}-{next(self._submits)}"

    def _after_fork(self) -> None:
        if self._forks != forks():
            # the parent goes on using the sockets, and its thread does not exist here
            self._forks, self._listener, self._starting = forks(), None, threading.Lock()
            self._connection = BlockingConnection(self._settings)
            self._channel = reply_channel(self._prefix, uuid.uuid4().hex)

    def submit(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Queue a job and return its id; raise `QueueFull` if the lane has no room.

        With `require_worker`, raises `UnknownModel` or `Unavailable` if nobody serves the model. The job may wait an
        hour to be started unless `timeout_s` is given.
        """
        job = requests.queued_job(Asked(model, op, options or {}), sendable(inputs), call)
        deadline = requests.deadline(call)
        self._require_worker(model, call, deadline)
        self._submit([job], deadline)
        return job.id

    def result(self, model: str, job_id: str, *, timeout_s: float = requests.DEFAULT_TIMEOUT_S) -> Mapping[str, Any]:
        """Wait for the result of a job that anybody submitted; raise its error, `JobLost` or `Timeout`."""
        name = (check_model(model), check_job_id(job_id))
        slot = Slot()
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        listener = self._listening(deadline)
        listener.waits.add(name, slot, now=time.monotonic())
        try:
            for pause_s in requests.looks():
                # the job may have been submitted by somebody else, whose channel is told
                with contextlib.suppress(Unavailable):
                    listener.look_at([name], until=deadline)
                if slot.wait(min(pause_s, deadline.remaining_s(time.monotonic()))) or deadline.passed(time.monotonic()):
                    break
            return requests.result_of(self._await(name, slot, deadline))
        finally:
            listener.waits.remove(name, slot)

    def cancel(self, model: str, job_id: str, *, timeout_s: float = requests.LOOK_TIMEOUT_S) -> calls.CancelOutcome:
        """Answer a job with `Cancelled` if it is not answered yet; say what came of it."""
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        return self._surely(lambda: calls.cancel(self._prefix, model, job_id), deadline)

    def progress(self, model: str, job_id: str, *, timeout_s: float = requests.LOOK_TIMEOUT_S) -> Progress:
        """Return how far a job is, whoever submitted it."""
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        return self._surely(lambda: progress(self._prefix, model, job_id), deadline)

    def carry_out(self, plan: Plan[T]) -> T:
        """Queue the jobs of a plan, wait for their replies, and return what it makes of them."""
        deadline = requests.deadline(plan.call)
        if plan.jobs:
            self._require_worker(plan.jobs[0].model, plan.call, deadline)
        try:
            replies = self._replies(plan.jobs, deadline)
        except (Timeout, QueueFull, Unavailable, KeyboardInterrupt, SystemExit):
            if plan.call.get("cancel_abandoned"):
                self._abandon(plan.jobs)
            raise
        if self._listener is not None:
            self._listener.receipts.add(plan.jobs, replies, now=time.monotonic())
        return plan.conclude(replies)

    def _abandon(self, jobs: Sequence[Job]) -> None:
        # without Redis there is nobody to tell; a job that is done already stays so
        at_once = Deadline.after(0.0, now=time.monotonic())
        with contextlib.suppress(Unavailable):
            for job in jobs:
                self.ask(calls.cancel(self._prefix, job.model, job.id), until=at_once)

    def _replies(self, jobs: Sequence[Job], deadline: Deadline) -> list[Reply]:
        """Return the replies to jobs; those that Redis loses are submitted again, under their ids."""
        replies = self._replies_once(jobs, deadline, again=False)
        while lost := missing(replies, deadline, now=time.monotonic()):
            found = self._replies_once([jobs[place] for place in lost], deadline, again=True)
            for place, reply in zip(lost, found, strict=True):
                replies[place] = reply
        return replies

    def _replies_once(self, jobs: Sequence[Job], deadline: Deadline, *, again: bool) -> list[Reply]:
        listener = self._listening(deadline)
        slots = [Slot() for _ in jobs]
        names = [(job.model, job.id) for job in jobs]
        for name, slot in zip(names, slots, strict=True):
            listener.waits.add(name, slot, now=time.monotonic())
        try:
            there = self._submit(jobs, deadline, again=again)
            # what is not found now is found by the sweep
            with contextlib.suppress(Unavailable):
                listener.look_at([name for name, done in zip(names, there, strict=True) if done], until=deadline)
            return [self._await(name, slot, deadline) for name, slot in zip(names, slots, strict=True)]
        finally:
            for name, slot in zip(names, slots, strict=True):
                listener.waits.remove(name, slot)

    def _submit(self, jobs: Sequence[Job], deadline: Deadline, *, again: bool = False) -> list[bool]:
        said, upload = said_before(at_first=again), self._next_upload()
        return self._surely(lambda: calls.submit(self._settings, jobs, again=next(said), upload=upload), deadline)

    def _surely(self, call: Callable[[], calls.Call[T]], deadline: Deadline) -> T:
        """Carry out what may be said twice, again and again while Redis is away, until the time is up."""
        for attempt in Retrying(**while_away(deadline.remaining_s(time.monotonic()))):
            with attempt:
                return self.ask(call(), until=deadline)
        raise AssertionError("unreachable")

    def _await(self, name: tuple[str, str], slot: Slot, deadline: Deadline) -> Reply:
        while not slot.wait(min(SLICE_S, deadline.remaining_s(time.monotonic()))):
            if deadline.passed(time.monotonic()):
                raise Timeout(timeout_text(name, self._service(name[0])), job_id=name[1])
        if slot.reply is None:
            raise AssertionError("unreachable")
        return slot.reply

    def _service(self, model: str) -> Service | None:
        """Return who serves a model, or None if the server does not say so at once."""
        with contextlib.suppress(RpcError):
            until = Deadline.after(READ_S, now=time.monotonic())
            return self.ask(service(self._prefix, model), until=until)
        return None

    def _require_worker(self, model: str, call: CallOptions, deadline: Deadline) -> None:
        """Raise `UnknownModel` or `Unavailable` if nobody serves the model and the call is not to wait for a worker."""
        if call.get("require_worker"):
            check_served(self._surely(lambda: service(self._prefix, model), deadline))

    def _listening(self, deadline: Deadline) -> Listener:
        self._after_fork()
        with self._starting:
            if self._listener is None:
                self._listener = Listener(self._settings, self._connection, self._channel)
            listener = self._listener
        listener.ready(deadline)
        return listener
