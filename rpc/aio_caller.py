"""What every awaited call stands on: jobs queued, waited for, cancelled; two connections, and two tasks that listen."""

import asyncio
import contextlib
import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from tenacity import AsyncRetrying

from rpc import calls, requests
from rpc.aio_listener import Listener, Slot
from rpc.aio_loops import Loops
from rpc.attempts import said_before, while_away
from rpc.deadlines import Deadline
from rpc.errors import QueueFull, RpcError, Timeout, Unavailable
from rpc.inputs import sendable
from rpc.keys import check_job_id, check_model
from rpc.messages import Job, Reply
from rpc.parts import Progress, progress
from rpc.plans import Plan
from rpc.requests import Asked, CallOptions
from rpc.served import READ_S, Service, check_served, service, timeout_text
from rpc.settings import RedisSettings
from rpc.waits import missing

T = TypeVar("T")


class AsyncCaller:
    """Carries calls out over Redis from an event loop; the same names as `Caller`, awaited.

    Holds two connections however many calls are waiting; submits made in one tick of the loop travel together. Used
    from another loop, or in a forked process, it opens two more there.
    """

    def __init__(self, url: str | None = None, *, settings: RedisSettings | None = None) -> None:
        self._settings = settings or RedisSettings.from_env(url=url)
        self._prefix = self._settings.prefix
        self._loops = Loops(self._settings)
        self._submits = itertools.count()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls that still wait fail with `Unavailable`."""
        await self._loops.close()

    def __del__(self) -> None:
        """Give back what a forgotten client has open, and warn of it."""
        loops = getattr(self, "_loops", None)
        if loops is not None and loops.abandon():
            text = f"unclosed {type(self).__name__}: use it as a context manager, or close it"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    @property
    def prefix(self) -> str:
        """The first part of every key this client uses."""
        return self._prefix

    @property
    def channel(self) -> str:
        """The pub/sub channel on which this client is told of finished jobs."""
        return self._loops.channel

    @property
    def waiting(self) -> int:
        """How many jobs are waited for here now."""
        return self._loops.waiting

    async def ask(self, call: calls.Call[T], *, until: Deadline | None = None) -> T:
        """Carry out one of the conversations of `rpc.calls`, by a deadline if there is one."""
        return await self._loops.here().connection.run(call, until=until)

    def asked(self, model: str, op: str, options: Mapping[str, Any] | None = None) -> Asked:
        """Return what is asked of which model, to be answered on this client's channel: what `rpc.plans` begin with."""
        settings = self._settings
        return Asked(model, op, options or {}, self._loops.channel, settings.inline_bytes, settings.max_input_bytes)

    def _next_upload(self) -> str:
        """Return the name of the next submit, which no other client and no other submit has."""
        return f"{self._loops.channel.rpartition(':')[2]}-{next(self._submits)}"

    async def submit(
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
        await self._require_worker(model, call, deadline)
        await self._submit([job], deadline)
        return job.id

    async def result(
        self, model: str, job_id: str, *, timeout_s: float = requests.DEFAULT_TIMEOUT_S
    ) -> Mapping[str, Any]:
        """Wait for the result of a job that anybody submitted; raise its error, `JobLost` or `Timeout`."""
        name = (check_model(model), check_job_id(job_id))
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        listener = await self._listening(deadline)
        slot = listener.wait_for(name)
        try:
            for pause_s in requests.looks():
                # the job may have been submitted by somebody else, whose channel is told
                with contextlib.suppress(Unavailable):
                    await listener.look_at([name], until=deadline)
                await asyncio.wait([slot], timeout=min(pause_s, deadline.remaining_s(time.monotonic())))
                if slot.done() or deadline.passed(time.monotonic()):
                    break
            return requests.result_of(await self._await(name, slot, deadline))
        finally:
            listener.waits.remove(name, slot)

    async def cancel(
        self, model: str, job_id: str, *, timeout_s: float = requests.LOOK_TIMEOUT_S
    ) -> calls.CancelOutcome:
        """Answer a job with `Cancelled` if it is not answered yet; say what came of it."""
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        return await self._surely(lambda: calls.cancel(self._prefix, model, job_id), deadline)

    async def progress(self, model: str, job_id: str, *, timeout_s: float = requests.LOOK_TIMEOUT_S) -> Progress:
        """Return how far a job is, whoever submitted it."""
        deadline = Deadline.after(timeout_s, now=time.monotonic())
        return await self._surely(lambda: progress(self._prefix, model, job_id), deadline)

    async def carry_out(self, plan: Plan[T]) -> T:
        """Queue the jobs of a plan, wait for their replies, and return what it makes of them."""
        deadline = requests.deadline(plan.call)
        if plan.jobs:
            await self._require_worker(plan.jobs[0].model, plan.call, deadline)
        try:
            replies = await self._replies(plan.jobs, deadline)
        except (Timeout, QueueFull, Unavailable, asyncio.CancelledError):
            if plan.call.get("cancel_abandoned"):
                self._abandon(plan.jobs)
            raise
        if (listener := self._loops.here().listener) is not None:
            listener.receipts.add(plan.jobs, replies, now=time.monotonic())
        return plan.conclude(replies)

    def _abandon(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs in a task of its own: whoever abandons them may be cancelled again, and does not wait."""
        task = asyncio.create_task(self._cancel_all(jobs))
        abandoning = self._loops.here().abandoning
        abandoning.add(task)
        task.add_done_callback(abandoning.discard)

    async def _cancel_all(self, jobs: Sequence[Job]) -> None:
        # without Redis there is nobody to tell; a job that is done already stays so
        with contextlib.suppress(Unavailable):
            for job in jobs:
                await self.cancel(job.model, job.id)

    async def _replies(self, jobs: Sequence[Job], deadline: Deadline) -> list[Reply]:
        """Return the replies to jobs; those that Redis loses are submitted again, under their ids."""
        replies = await self._replies_once(jobs, deadline, again=False)
        while lost := missing(replies, deadline, now=time.monotonic()):
            found = await self._replies_once([jobs[place] for place in lost], deadline, again=True)
            for place, reply in zip(lost, found, strict=True):
                replies[place] = reply
        return replies

    async def _replies_once(self, jobs: Sequence[Job], deadline: Deadline, *, again: bool) -> list[Reply]:
        listener = await self._listening(deadline)
        names = [(job.model, job.id) for job in jobs]
        slots = [listener.wait_for(name) for name in names]
        try:
            there = await self._submit(jobs, deadline, again=again)
            if any(there):
                # what is not found now is found by the sweep
                with contextlib.suppress(Unavailable):
                    found = [name for name, done in zip(names, there, strict=True) if done]
                    await listener.look_at(found, until=deadline)
            return [await self._await(name, slot, deadline) for name, slot in zip(names, slots, strict=True)]
        finally:
            for name, slot in zip(names, slots, strict=True):
                listener.waits.remove(name, slot)

    async def _submit(self, jobs: Sequence[Job], deadline: Deadline, *, again: bool = False) -> list[bool]:
        said, upload = said_before(at_first=again), self._next_upload()
        return await self._surely(lambda: calls.submit(self._settings, jobs, again=next(said), upload=upload), deadline)

    async def _surely(self, call: Callable[[], calls.Call[T]], deadline: Deadline) -> T:
        """Carry out what may be said twice, again and again while Redis is away, until the time is up."""
        # tenacity costs a call more than its share of a busy loop, and is hardly ever needed
        try:
            return await self.ask(call(), until=deadline)
        except Unavailable:
            if deadline.passed(time.monotonic()):
                raise
        async for attempt in AsyncRetrying(**while_away(deadline.remaining_s(time.monotonic()))):
            with attempt:
                return await self.ask(call(), until=deadline)
        raise AssertionError("unreachable")

    async def _await(self, name: tuple[str, str], slot: Slot, deadline: Deadline) -> Reply:
        try:
            async with asyncio.timeout(deadline.remaining_s(time.monotonic())):
                return await slot
        except TimeoutError:
            raise Timeout(timeout_text(name, await self._service(name[0])), job_id=name[1]) from None

    async def _service(self, model: str) -> Service | None:
        """Return who serves a model, or None if the server does not say so at once."""
        with contextlib.suppress(RpcError):
            until = Deadline.after(READ_S, now=time.monotonic())
            return await self.ask(service(self._prefix, model), until=until)
        return None

    async def _require_worker(self, model: str, call: CallOptions, deadline: Deadline) -> None:
        """Raise `UnknownModel` or `Unavailable` if nobody serves the model and the call is not to wait for a worker."""
        if call.get("require_worker"):
            check_served(await self._surely(lambda: service(self._prefix, model), deadline))

    async def _listening(self, deadline: Deadline) -> Listener:
        listener = self._loops.here().listen()
        if not listener.heard.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline.remaining_s(time.monotonic())):
                    await listener.heard.wait()
        return listener
