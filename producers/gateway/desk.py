"""Carries plans of `rpc.plans` out for HTTP requests: who is called, until when, under which id, and for whom.

A caller who disconnects has its jobs cancelled, unless it named an `Idempotency-Key`: then it means to come back.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request

from producers.gateway import problems
from producers.gateway.directory import Directory, offers
from producers.gateway.metrics import Metrics
from producers.gateway.problems import ABSENT, BROKEN, Problem, Refused
from producers.gateway.settings import GatewaySettings
from rpc import AsyncClient, RedisSettings
from rpc.errors import InvalidInput
from rpc.idempotency import claim
from rpc.keys import check_lane, check_model
from rpc.messages import Reply, Success
from rpc.plans import Plan
from rpc.requests import DEFAULT_TIMEOUT_S, CallOptions

T = TypeVar("T")

QUICK_S = 0.05
"""A request answered within this time is not watched for its caller's leaving."""

HEAVY_BYTES = 1024 * 1024
"""Larger inputs travel on a connection of their own, so that small calls never wait behind them."""

MOST_TIMEOUT_S = 24 * 3600.0

TIMEOUT_HEADERS = ("x-penstock-timeout", "x-stainless-read-timeout")
"""How long a caller waits, in seconds; OpenAI's client says it by itself."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """What came of a plan, and the headers that tell where the time went."""

    value: T
    headers: Mapping[str, str]


class Gone(Refused):
    """The caller left before it was answered."""

    def __init__(self) -> None:
        super().__init__(Problem(499, "caller_gone", "the caller left"))


class Desk:
    """What all routes share; one for each gateway."""

    def __init__(self, settings: GatewaySettings, redis: RedisSettings) -> None:
        self.settings = settings
        self.redis = redis
        self.light = AsyncClient(settings=redis)
        self.heavy = AsyncClient(settings=redis)
        self.directory = Directory(self.light, redis.prefix, stalled_s=settings.stalled_s)
        self.metrics = Metrics(self.directory)

    async def close(self) -> None:
        """Close the connections."""
        await self.light.close()
        await self.heavy.close()

    def client(self, size: int) -> AsyncClient:
        """Return the client for inputs of so many bytes."""
        return self.heavy if size > HEAVY_BYTES else self.light

    async def served(self, given: str, op: str) -> str:
        """Return the model meant by a name, which serves the op now; raise `Refused` if none does."""
        name = check_model(self.settings.model_aliases.get(given, given))
        state = await self.directory.find(name)
        if state is None:
            text = f"the model {name!r} is not known here; GET /v1/models tells which are"
            raise Refused(Problem(404, "model_not_found", text, ABSENT, "model"))
        if not state.workers:
            text = f"no worker serves {name} now"
            raise Refused(Problem(503, "no_worker", text, BROKEN, "model", problems.RETRY_AFTER_S))
        if not offers(state, op):
            raise Refused(Problem(404, "model_not_found", f"{name} does not offer {op}", ABSENT, "model"))
        return name

    async def options(
        self, request: Request, model: str, *, content: Sequence[bytes] = (), default_s: float = DEFAULT_TIMEOUT_S
    ) -> CallOptions:
        """Return how a request wants its jobs carried out; equal `content` makes equal requests.

        Raises `Refused` if an `Idempotency-Key` was used for other content before.
        """
        call = CallOptions(timeout_s=_timeout_s(request, default_s), cancel_abandoned=True)
        if lane := request.headers.get("x-penstock-lane"):
            call["lane"] = check_lane(lane)
        if key := request.headers.get("idempotency-key"):
            call["job_id"] = await self._job_id(request, model, key, content)
            call["cancel_abandoned"] = False
        return call

    async def _job_id(self, request: Request, model: str, key: str, content: Sequence[bytes]) -> str:
        """Return the id that stands for a key of this caller on this route; the same key later is the same job."""
        if not _KEY.fullmatch(key):
            raise InvalidInput("the Idempotency-Key is not 1 to 255 printable ASCII characters")
        whose = request.headers.get("authorization", "")
        name = hashlib.sha256(f"{whose}\n{request.method}\n{request.url.path}\n{key}".encode()).hexdigest()
        print_of = await asyncio.to_thread(_fingerprint, [model.encode(), *content])
        if not await self.light.ask(claim(self.redis.prefix, name, print_of)):
            text = "this Idempotency-Key was used for another request"
            raise Refused(Problem(422, "idempotency_key_reused", text, param="Idempotency-Key"))
        return f"key-{name[:40]}"

    async def answer(self, request: Request, plan: Plan[T]) -> Answered[T]:
        """Carry a plan out for as long as its caller is there; raise what the model's side said went wrong."""
        told: list[Reply] = []

        def answer(replies: Sequence[Reply]) -> T:
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


def desk_of(request: Request) -> Desk:
    """Return the desk of the gateway a request came to."""
    desk: Desk = request.app.state.desk
    return desk


def _fingerprint(content: Sequence[bytes]) -> str:
    found = hashlib.sha256()
    for part in content:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


def _timeout_s(request: Request, default_s: float) -> float:
    for name in TIMEOUT_HEADERS:
        if given := request.headers.get(name):
            try:
                timeout_s = float(given)
            except ValueError:
                timeout_s = math.nan
            if not 0 < timeout_s <= MOST_TIMEOUT_S:
                raise InvalidInput(f"{name} {given[:32]!r} is no number of seconds above 0, up to {MOST_TIMEOUT_S:.0f}")
            return timeout_s
    return default_s


@contextmanager
def while_connected(request: Request) -> Iterator[None]:
    """Cancel the block, and raise `Gone`, when the caller leaves."""
    task = asyncio.current_task()
    watching: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    # a task for each request would cost more than most requests
    later = asyncio.get_running_loop().call_later(QUICK_S, lambda: watching.append(asyncio.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task is None or task.uncancel():
            raise
        raise Gone from None
    finally:
        later.cancel()
        for each in watching:
            each.cancel()


def timings(replies: Sequence[Reply]) -> dict[str, str]:
    """Return where the time went, in ms, as headers: the longest of the replies, which ran side by side."""
    metas = [reply.meta for reply in replies if isinstance(reply, Success)]
    if not metas:
        return {}
    queued = max(meta.queued_ms for meta in metas)
    prepared = max(meta.prepare_ms for meta in metas)
    inferred = max(meta.infer_ms for meta in metas)
    told = {"queue": queued, "prepare": prepared, "inference": inferred, "compute": prepared + inferred}
    return {f"x-{name}-time": f"{ms:.3f}" for name, ms in told.items()}


def latency_ms(started: float, now: float) -> float:
    """Return what the origin called latency: the time a request took, in ms."""
    return (now - started) * 1000
