"""Calling models from Dramatiq's actors. Needs the extra `dramatiq`, and Dramatiq's own middleware AsyncIO.

One client per process, on Dramatiq's event-loop thread: all worker threads share its two connections, and a thread that
waits for an answer still hears a time limit or the end of the worker. A job is named after its message, so that a
message that is tried again joins the job it has already queued.
"""

import contextlib
import itertools
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar, Unpack

from dramatiq import Actor, Broker, Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.broker import MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import AsyncIO, CurrentMessage, Middleware, MiddlewareError

from rpc import AsyncClient, Client, PartialFailure, QueueFull, RedisSettings
from rpc.errors import BY_CODE, RpcError
from rpc.requests import CallOptions

T = TypeVar("T")

PERMANENT: tuple[type[RpcError], ...] = (*(kind for kind in BY_CODE.values() if not kind.retryable), PartialFailure)
"""Errors that another try of the same message cannot help."""

MOST_DELAY_S = 300.0

TIMES_FULL = "penstock_times_full"
"""The option of a message that counts how often it has found no room."""

_NUMBERS: ContextVar[Iterator[int]] = ContextVar("_NUMBERS")
"""The numbers of the jobs of the message that is being processed."""


class NotSetUp(MiddlewareError):
    """The broker lacks middleware; of this kind, so that Dramatiq does not start instead of only logging it."""


class Penstock(Middleware):
    """Gives actors the queue: `submit_later` and `call`, from a worker or from whoever sends messages."""

    def __init__(self, settings: RedisSettings | None = None) -> None:
        self._settings = settings or RedisSettings.from_env()
        self._client: AsyncClient | None = None
        self._blocking = Client(settings=self._settings)

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Have an actor not tried again on errors that another try cannot help, besides those it names itself."""
        del broker
        named = actor.options.get("throws", ())
        actor.options["throws"] = (*(named if isinstance(named, tuple) else (named,)), *PERMANENT)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Make the client, on the loop; refuse to start without what this stands on.

        A message may be processed before `after_worker_boot`: Dramatiq's threads run by then.
        """
        del worker
        before = list(itertools.takewhile(lambda each: each is not self, broker.middleware))
        for needed in (AsyncIO, CurrentMessage):
            if not any(isinstance(each, needed) for each in before):
                raise NotSetUp(f"add_middleware({needed.__name__}()) before Penstock(): it stands on that")
        self._client = self._run(_made(self._settings))

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Close it, when no actor runs any more; the loop, which was added before, still does."""
        del broker, worker
        client, self._client = self._client, None
        if client is not None:
            self._run(client.close())
        self._blocking.close()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Count the jobs of a message from the first one on, each time it is tried."""
        del broker, message
        _NUMBERS.set(itertools.count())

    def submit_later(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Queue a job that nobody waits for, and return its id; with `sink` its reply is sent on to who stores it.

        Inside an actor the id is the message's, with a number for each further job of it, unless `job_id` is given: the
        message tried again joins its jobs, as long as it asks for them in the same order. A full lane has the message
        tried again later.
        """
        named = self._named(call)
        with _later():
            if self._client is not None:
                return self._run(self._client.submit(model, op, inputs, options, **named))
            return self._blocking.submit(model, op, inputs, options, **named)

    def embed_later(self, model: str, texts: Sequence[str], **call: Unpack[CallOptions]) -> str:
        """Queue the embedding of texts; see `submit_later`."""
        return self.submit_later(model, "embed_text", texts, **call)

    def call(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> Mapping[str, Any]:
        """Queue a job, wait for it, and return its result; raise its error. Named and put off like `submit_later`."""
        named = self._named(call)
        with _later():
            if self._client is not None:
                return self._run(self._client.call(model, op, inputs, options, **named))
            return self._blocking.call(model, op, inputs, options, **named)

    async def asubmit_later(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Do as `submit_later` does, in an actor that is a coroutine."""
        with _later():
            return await self.client.submit(model, op, inputs, options, **self._named(call))

    async def acall(
        self,
        model: str,
        op: str,
        inputs: Sequence[Any],
        options: Mapping[str, Any] | None = None,
        **call: Unpack[CallOptions],
    ) -> Mapping[str, Any]:
        """Do as `call` does, in an actor that is a coroutine."""
        with _later():
            return await self.client.call(model, op, inputs, options, **self._named(call))

    @property
    def client(self) -> AsyncClient:
        """This process's client, for actors that are coroutines; raise `RuntimeError` outside a worker."""
        if self._client is None:
            raise RuntimeError("there is a client only in a worker that has booted")
        return self._client

    def _named(self, call: CallOptions) -> CallOptions:
        message = CurrentMessage.get_current_message()
        if message is None or "job_id" in call:
            return call
        number = next(_NUMBERS.get())
        return CallOptions(**{**call, "job_id": f"{message.message_id}.{number}" if number else message.message_id})

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        thread = get_event_loop_thread()
        if thread is None:
            coroutine.close()
            raise NotSetUp("Dramatiq's event loop does not run: AsyncIO logs why it could not begin")
        # it looks up every 100 ms, so a time limit or a shutdown is heard while a model works
        answer: T = thread.run_coroutine(coroutine)
        return answer


async def _made(settings: RedisSettings) -> AsyncClient:
    return AsyncClient(settings=settings)


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """Have the message of a job that found no room tried again, later each time."""
    try:
        yield
    except QueueFull as full:
        message = CurrentMessage.get_current_message()
        if message is None:
            raise
        times = message.options.get(TIMES_FULL, 0)
        message.options[TIMES_FULL] = times + 1
        # Dramatiq counts this try, and it is none of the actor's: that it was asked too early is nobody's fault
        message.options["retries"] = message.options.get("retries", 0) - 1
        delay_s = min(MOST_DELAY_S, full.retry_after_s * 2 ** min(times, 8))
        raise Retry(str(full), delay=int(delay_s * 1000)) from full
