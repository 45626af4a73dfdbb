"""Both clients behind one blocking face, so that one test holds them to one promise."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rpc import AsyncClient, Client, RedisSettings
from rpc.sinks import Completion

T = TypeVar("T")

LOOP_S = 60.0
"""How long a test waits for an event loop at most."""


class Awaited:
    """An `AsyncClient` on a loop of its own, whose methods any thread may call and wait for."""

    def __init__(self, settings: RedisSettings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._run(self._make(settings))

    async def _make(self, settings: RedisSettings) -> AsyncClient:
        return AsyncClient(settings=settings)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LOOP_S)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the client, to be called from any thread."""
        return lambda *args, **kwargs: self._run(getattr(self._client, name)(*args, **kwargs))

    @contextlib.contextmanager
    def consuming(self, sink: str, take: Callable[[Completion], None], **given: Any) -> Iterator[None]:
        """Hand completions of a sink to `take`, in a task of the loop, until left."""

        async def taken(completion: Completion) -> None:
            take(completion)

        async def begun() -> asyncio.Task[None]:
            return asyncio.create_task(self._client.consume(sink, taken, **given))

        async def ended(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.wait([task])

        taking = self._run(begun())
        try:
            yield
        finally:
            self._run(ended(taking))

    @property
    def waiting(self) -> int:
        """How many jobs the client waits for."""
        return self._client.waiting

    def stop(self) -> None:
        """Close the client and end the loop."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LOOP_S)
        self._loop.close()


class Callers:
    """Makes clients of one kind, and closes them; runs calls in the background."""

    def __init__(self, kind: str, settings: RedisSettings) -> None:
        self.kind = kind
        self.settings = settings
        self._made: list[Client | Awaited] = []
        self._threads = ThreadPoolExecutor(80)

    def make(self, settings: RedisSettings | None = None, **changed: float) -> Any:
        """Return a client of these settings, or of the test's with some changed; its methods return when done."""
        chosen = settings or self.settings.model_copy(update=changed)
        client = Awaited(chosen) if self.kind == "asyncio" else Client(settings=chosen)
        self._made.append(client)
        return client

    def start(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> "Future[T]":
        """Return a call under way."""
        return self._threads.submit(call, *args, **kwargs)

    @contextlib.contextmanager
    def consuming(self, sink: str, take: Callable[[Completion], None], **given: Any) -> Iterator[None]:
        """Hand completions of a sink to `take`, in the background, until left."""
        client = self.make()
        if isinstance(client, Awaited):
            with client.consuming(sink, take, **given):
                yield
            return
        stop = threading.Event()
        taking = self.start(client.consume, sink, take, stop=stop, **given)
        try:
            yield
        finally:
            stop.set()
            taking.result(LOOP_S)

    def close(self) -> None:
        """Close every client made."""
        for client in self._made:
            if isinstance(client, Awaited):
                client.stop()
            else:
                client.close()
        self._threads.shutdown(cancel_futures=True)
