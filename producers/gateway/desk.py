"""Carries plans of `rpc.plans` out for HTTP requests: who is called, until when, under which id, and for whom.

A caller who disconnects has its jobs cancelled, unless it named an `Idempotency-Key`: then it means to come back.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request

from producers.gateway import idempotency, problems
from producers.gateway.directory import Directory
from producers.gateway.headers import timeout_s, timings
from producers.gateway.leaving import Gone, while_connected
from producers.gateway.metrics import Metrics
from producers.gateway.owners import stored_id
from producers.gateway.problems import ABSENT, BROKEN, Problem, Refused
from producers.gateway.scaling import EVERY, ScaleFromZero
from producers.gateway.settings import GatewaySettings
from rpc import AsyncClient, RedisSettings
from rpc.calls import fetch, submit
from rpc.errors import Timeout, Unavailable
from rpc.idempotency import claim
from rpc.inspection import ModelState
from rpc.keys import check_lane, check_model
from rpc.messages import Job, Reply, Success
from rpc.plans import Plan
from rpc.requests import DEFAULT_TIMEOUT_S, CallOptions

T = TypeVar("T")

FAMILIES = ("whisper", "siglip", "bge-m3", "yunet")
"""Models that have routes of their own, and those that a worker serves unless told otherwise."""

HEAVY_BYTES = 1024 * 1024
"""Larger inputs travel on a connection of their own, so that small calls never wait behind them."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """What came of a plan, and the headers that tell where the time went."""

    value: T
    headers: Mapping[str, str]


class Desk:
    """What all routes share; one for each gateway."""

    def __init__(self, settings: GatewaySettings, redis: RedisSettings) -> None:
        self.settings = settings
        self.redis = redis
        self.light = AsyncClient(settings=redis)
        self.heavy = AsyncClient(settings=redis)
        self.scaling = ScaleFromZero(frozenset(settings.scale_from_zero))
        self.directory = Directory(self.light, redis.prefix, stalled_s=settings.stalled_s, scaling=self.scaling)
        self.metrics = Metrics(self.directory)
        self._expected = {*FAMILIES, *settings.model_aliases.values()}

    async def close(self) -> None:
        """Close the connections."""
        await self.light.close()
        await self.heavy.close()

    def client(self, size: int) -> AsyncClient:
        """Return the client for inputs of so many bytes."""
        return self.heavy if size > HEAVY_BYTES else self.light

    async def served(self, given: str, op: str) -> str:
        """Return the model meant by a name, which serves the op now, or is started for what waits.

        Raises `Refused` if there is none.
        """
        state = await self.find(given)
        if state.workers and not state.offers(op):
            raise Refused(Problem(404, "model_not_found", f"{state.model} does not offer {op}", ABSENT, "model"))
        return state.model

    async def find(self, alias: str) -> ModelState:
        """Return what is known of the model meant by a name, which is served now, or started for what waits.

        Raises `Refused` if it is neither: with 503 for a model that a worker may begin to serve soon. That is one that
        was served before, or that this gateway has a route or an alias for, and any while no worker has served a model.
        """
        name = check_model(self.settings.model_aliases.get(alias, alias))
        state = await self.directory.find(name)
        if state is not None and state.workers:
            return state
        if self.scaling.covers(name, known=state is not None):
            return state or ModelState(name, (), 0, {})
        if state is not None or name in self._expected or not self.directory.known:
            text = f"no worker serves {name} now"
            raise Refused(Problem(503, "no_worker", text, BROKEN, "model", problems.RETRY_AFTER_S))
        text = f"the model {name!r} is not known here; GET /v1/models tells which are"
        raise Refused(Problem(404, "model_not_found", text, ABSENT, "model"))

    def listed(self) -> list[ModelState]:
        """Return what is known of the models that are served now, or started for what waits."""
        known = {state.model: state for state in self.directory.states()}
        named = {name: ModelState(name, (), 0, {}) for name in self.scaling.models if name != EVERY}
        every = sorted({**named, **known}.values(), key=lambda state: state.model)
        return [
            state for state in every if state.workers or self.scaling.covers(state.model, known=state.model in known)
        ]

    def options(self, request: Request, *, default_s: float = DEFAULT_TIMEOUT_S) -> CallOptions:
        """Return how a request wants its jobs carried out."""
        call = CallOptions(timeout_s=timeout_s(request, default_s), cancel_abandoned=True)
        if lane := request.headers.get("x-penstock-lane"):
            call["lane"] = check_lane(lane)
        if name := idempotency.name_of(request):
            call["job_id"] = stored_id(request, idempotency.job_id(name))
            call["cancel_abandoned"] = False
        return call

    async def claim(self, request: Request, jobs: Sequence[Job], content: Sequence[bytes]) -> None:
        """Note which request the `Idempotency-Key` stands for, if one is named; equal `content` makes equal requests.

        To be asked when nothing else can be wrong. Raises `Refused` if the key was used for other content before.
        """
        name = idempotency.name_of(request)
        if name is None:
            return
        # what cannot be sent is refused before its key stands for it; nothing is sent here
        next(submit(self.redis, jobs))
        # a recording takes a while
        fingerprint = await asyncio.to_thread(idempotency.fingerprint, [jobs[0].model.encode(), *content])
        if not await self.light.ask(claim(self.redis.prefix, name, fingerprint)):
            text = "this Idempotency-Key was used for another request"
            raise Refused(Problem(422, "idempotency_key_reused", text, param="Idempotency-Key"))

    async def answer(self, request: Request, plan: Plan[T], *, content: Sequence[bytes]) -> Answered[T]:
        """Carry a plan out for as long as its caller is there; raise what the model's side said went wrong.

        Of what has an `Idempotency-Key`, equal `content` makes equal requests.
        """
        await self.claim(request, plan.jobs, content)
        told: list[Reply] = []

        def answer(replies: Sequence[Reply]) -> T:
            _check_kept(replies)
            told.extend(replies)
            return plan.answer(replies)

        first = plan.jobs[0]
        model = first.model
        # the one the plan was begun with: another is not told of its replies
        client = self.heavy if first.reply == self.heavy.channel else self.light
        with self.metrics.measured(model), while_connected(request):
            value = await client.carry_out(Plan(plan.jobs, plan.call, answer))
        self.metrics.batched(model, told)
        return Answered(value, timings(told))

    async def answer_within(
        self, request: Request, model: str, job_id: str, wait_s: float, *, cancels: bool
    ) -> Answered[Mapping[str, Any]] | None:
        """Wait so long for the result of a job that is queued; None if it takes longer. Raises the job's error.

        With `cancels`, the job is cancelled if its caller leaves meanwhile.
        """
        try:
            # what takes longer has not ended
            with self.metrics.measured(model, unless=(Timeout,)), while_connected(request):
                value = await self.light.result(model, job_id, timeout_s=wait_s)
        except Timeout:
            return None
        except Gone:
            if cancels:
                await self._cancel(model, job_id)
            raise
        told = await self._kept(model, job_id)
        _check_kept(told)
        self.metrics.batched(model, told)
        return Answered(value, timings(told))

    async def _cancel(self, model: str, job_id: str) -> None:
        # without Redis there is nobody to tell
        with contextlib.suppress(Unavailable):
            await self.light.cancel(model, job_id)

    async def _kept(self, model: str, job_id: str) -> list[Reply]:
        """Return the reply to a job once more, for what it says of itself; none if it is not kept."""
        with contextlib.suppress(Unavailable):
            return list((await self.light.ask(fetch(self.redis.prefix, [(model, job_id)]))).values())
        return []


def _check_kept(replies: Sequence[Reply]) -> None:
    """Raise `Refused` if a job succeeded whose result was not kept: its caller joined it, and has nothing to read."""
    if any(isinstance(reply, Success) and reply.result is None for reply in replies):
        text = "the job is done, and its result was not kept: it was first submitted with keep_s 0"
        raise Refused(Problem(410, "result_not_kept", text))


def desk_of(request: Request) -> Desk:
    """Return the desk of the gateway a request came to."""
    desk: Desk = request.app.state.desk
    return desk
