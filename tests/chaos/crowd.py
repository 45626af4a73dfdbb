"""The callers of a run: each sends one job after another, and goes on with a job until it has its reply."""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from rpc import JobLost, QueueFull, RedisSettings, RpcError, Timeout, Unavailable
from tests.chaos.cargo import shorten
from tests.chaos.errands import Errand, Errands
from tests.chaos.history import History
from tests.chaos.voices import Awaiting, Threaded, Voice

CALLERS = 24

THREADS = 4 * CALLERS + 1
"""Each caller may have four blocking calls under way; one more thread waits for the end."""

FETCH_S = 30.0
"""How long a caller whose time was up waits for the reply before it looks again: so long that the checker sees a reply
which lies in Redis and does not reach it."""

PAUSE_S = 0.1

OWN = (Timeout, Unavailable, QueueFull, JobLost)
"""What a caller is told that is no reply: the job is sent or looked for again under its id."""


def _full_pool(size: int) -> ThreadPoolExecutor:
    """Return a pool that has all its threads from the start: a soak counts threads, and these are not to grow."""
    pool = ThreadPoolExecutor(size)
    there = threading.Barrier(size)
    for _ in range(size):
        pool.submit(there.wait)
    return pool


class Crowd:
    """Callers on one event loop in a thread, with a client of each kind for each way to the server."""

    def __init__(self, history: History, seed: int, ways: Mapping[str, RedisSettings], *, keep_s: float) -> None:
        self._history = history
        self._seed = seed
        self._ways = ways
        self._keep_s = keep_s
        self._poison: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._threads = _full_pool(THREADS)
        self._readers = itertools.count()
        self._running: Future[None] | None = None
        self._outside = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        """Let the callers begin."""
        self._running = self._outside.submit(asyncio.run, self._run())
        return self

    def __exit__(self, *_: object) -> None:
        """End them, whatever they are at."""
        self.stop()
        self.give_up()
        self._outside.shutdown()
        self._threads.shutdown(cancel_futures=True)

    def poison(self) -> None:
        """Let the next caller that is free send a job that kills."""
        self._poison.put(None)

    def stop(self) -> None:
        """Send no new jobs."""
        self._stopping.set()

    def give_up(self) -> None:
        """Go on with no job that has no reply yet."""
        self._given_up.set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether every caller has ended in time; raise what ended the crowd, if something did."""
        if self._running is None:
            raise RuntimeError("the crowd has not begun")
        with contextlib.suppress(TimeoutError):
            self._running.result(timeout_s)
            return True
        return False

    async def _run(self) -> None:
        voices: list[Voice] = []
        for way, settings in self._ways.items():
            voices.append(Awaiting(settings, way=way, keep_s=self._keep_s))
            voices.append(Threaded(settings, self._threads, way=way, keep_s=self._keep_s))
        ending = asyncio.create_task(self._hang_up(voices))
        try:
            await asyncio.gather(*(self._caller(number, voices) for number in range(CALLERS)))
        finally:
            self._given_up.set()
            await ending

    async def _hang_up(self, voices: Sequence[Voice]) -> None:
        """Close the clients once all is over, so that nobody waits longer for a reply."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._given_up.wait)
        for voice in voices:
            await voice.close()

    async def _caller(self, number: int, voices: Sequence[Voice]) -> None:
        errands = Errands(self._seed, number)
        mine, other = voices[number % len(voices)], voices[(number + 1) % len(voices)]
        while not self._stopping.is_set() or not self._poison.empty():
            errand = self._next(errands)
            self._history.tell("submitted", by=mine.name, **errand.told())
            try:
                await self._resolve(errand, mine, other)
            except Exception as error:  # noqa: BLE001 (whatever a client raises that it must not is a finding)
                self._history.tell("broken", job=errand.job, by=mine.name, error=repr(error))
            await asyncio.sleep(errand.rest_s)

    def _next(self, errands: Errands) -> Errand:
        with contextlib.suppress(queue.Empty):
            self._poison.get_nowait()
            return errands.poison()
        return errands.draw()

    async def _resolve(self, errand: Errand, mine: Voice, other: Voice) -> None:
        doing: list[Coroutine[Any, Any, None]] = [self._pursue(errand, mine)]
        if errand.kind in {"twice", "shared"}:
            doing.append(self._pursue(errand, other))
        if errand.kind == "shared":
            doing += [self._pursue(errand, mine), self._interrupt(errand, mine)]
        if errand.cancel_after_s is not None:
            doing.append(self._cancel(errand, errand.cancel_after_s, other))
        await asyncio.gather(*doing)
        if errand.kind == "twice":
            await self._pursue(errand, other)

    async def _pursue(self, errand: Errand, voice: Voice) -> None:
        """Ask until there is a reply: again under the same id, or for the reply alone once the job is queued."""
        queued, reader = False, next(self._readers)
        self._history.tell("waiting", job=errand.job, by=voice.name, reader=reader)
        while not self._given_up.is_set():
            try:
                if errand.apart and not queued:
                    await voice.submit(errand)
                    queued = True
                if queued:
                    result = await voice.fetch(errand, timeout_s=FETCH_S)
                else:
                    result = await voice.call(errand)
            except OWN as error:
                self._history.tell("unsure", job=errand.job, by=voice.name, code=error.code, queued=queued)
                queued = isinstance(error, Timeout)
                await asyncio.sleep(0.0 if queued else PAUSE_S)
            except RpcError as error:
                self._replied(errand, voice, reader, error.code, message=str(error)[:200])
                return
            else:
                self._replied(errand, voice, reader, "ok", outputs=shorten(result.get("outputs")))
                return

    def _replied(self, errand: Errand, voice: Voice, reader: int, code: str, **more: Any) -> None:
        self._history.tell("replied", job=errand.job, by=voice.name, reader=reader, code=code, **more)

    async def _interrupt(self, errand: Errand, voice: Voice) -> None:
        for after_s in errand.interrupted_after_s:
            await voice.interrupt(errand, after_s=after_s)

    async def _cancel(self, errand: Errand, after_s: float, voice: Voice) -> None:
        await asyncio.sleep(after_s)
        while not self._given_up.is_set():
            self._history.tell("cancelling", job=errand.job, by=voice.name)
            with contextlib.suppress(Unavailable):
                outcome = await voice.cancel(errand)
                self._history.tell("cancelled", job=errand.job, by=voice.name, outcome=outcome)
                return
            await asyncio.sleep(PAUSE_S)
