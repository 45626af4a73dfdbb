"""The prepare stage: inputs become units, on pools of threads. Blobs and what is referred to are fetched here.

References have threads of their own: who waits for a store keeps nobody else waiting.
"""

import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from inference_worker.inhand import InHand
from inference_worker.job import NOTHING, JobInHand
from inference_worker.keeping import Keeping
from inference_worker.metrics import ModelMetrics
from inference_worker.models.base import Model
from inference_worker.outcome import blame
from inference_worker.stamps import Stage
from rpc.errors import RpcError, Unavailable
from rpc.messages import Blob, Reference

log = logging.getLogger(__name__)


Input = tuple[JobInHand, int]
"""A job, and which of its inputs."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where inputs come from that did not travel in the entry."""

    blob: Callable[[str, Blob], Any]
    reference: Callable[[Reference], bytes]


Guard = Callable[[str, Callable[[], None]], None]
"""Runs a stage, by name, and ends the engine if it dies."""


class Threads:
    """A pool of threads, each of which says what it is at."""

    def __init__(self, name: str, stages: Sequence[Stage], guard: Guard) -> None:
        self._name = name
        self._guard = guard
        self._pool = ThreadPoolExecutor(len(stages), name)
        self._count = len(stages)
        self._stages: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        for stage in stages:
            self._stages.put(stage)

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """Do one thing on one of them."""
        return self._pool.submit(task)

    def share(self, task: Callable[[Sequence[Input]], None], inputs: Sequence[Input]) -> None:
        """Spread inputs over all of them; a task that raises ends the engine, as any stage does."""
        for thread in range(min(self._count, len(inputs))):
            self._pool.submit(self._guard, self._name, partial(task, inputs[thread :: self._count]))

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """Lend the place where a thread says what it is at; nobody else writes where one has died."""
        stage = self._stages.get()
        yield stage
        self._stages.put(stage)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Preparing:
    """Hands each input of the jobs read to the model's `prepare`."""

    def __init__(
        self,
        model: Model,
        in_hand: InHand,
        threads: Threads,
        fetchers: Threads,
        sources: Sources,
        metrics: ModelMetrics,
        keeping: Keeping | None,
        done: Callable[[Sequence[JobInHand]], None],
    ) -> None:
        self._model = model
        self._in_hand = in_hand
        self._threads = threads
        self._fetchers = fetchers
        self._sources = sources
        self._fetched: list[tuple[JobInHand, int, Future[Any]]] = []
        self._metrics = metrics
        self._keeping = keeping
        self._done = done

    def start(self, jobs: Sequence[JobInHand]) -> None:
        """Prepare the inputs of jobs, spread over the threads, or here if that is quicker."""
        inputs = [(job, given) for job in jobs for given in range(len(job.job.inputs))]
        referred = [(job, given) for job, given in inputs if isinstance(job.job.inputs[given], Reference)]
        carried = [(job, given) for job, given in inputs if not isinstance(job.job.inputs[given], Reference)]
        if self._model.quick:
            self._fetched += [(*each, self._fetchers.submit(partial(self._given, *each))) for each in referred]
            self._prepare_all(self._threads, carried)
        else:
            self._fetchers.share(partial(self._prepare_all, self._fetchers), referred)
            self._threads.share(partial(self._prepare_all, self._threads), carried)

    def catch_up(self) -> None:
        """Prepare what was fetched meanwhile for a quick model: here, because only the thread that reads may."""
        there = [each for each in self._fetched if each[2].done()]
        self._fetched = [each for each in self._fetched if each not in there]
        for job, given, fetched in there:
            with self._threads.stage() as stage:
                self._prepare_one(job, given, stage, fetched.result)

    def _prepare_all(self, threads: Threads, inputs: Sequence[Input]) -> None:
        with threads.stage() as stage:
            for job, given in inputs:
                self._prepare_one(job, given, stage, partial(self._given, job, given))

    def _prepare_one(self, job: JobInHand, given: int, stage: Stage, source: Callable[[], Any]) -> None:
        if not job.dropped and self._prepare(job, given, stage, source):
            self._done([job])

    def _prepare(self, job: JobInHand, given: int, stage: Stage, source: Callable[[], Any]) -> bool:
        """Prepare one input; return whether its job is done with that."""
        started = time.monotonic()
        try:
            there = source()
            # waiting for Redis or a store is no work that could be stuck
            stage.begin([job.delivery.place], time.monotonic())
            units = self._model.prepare(job.job.op, there, job.job.options)
        except Exception as error:
            stage.end()
            if not isinstance(error, RpcError):
                log.exception("prepare of %s failed on job %s", job.job.model, job.job.id)
            return self._in_hand.refused(job, given, blame(error), time.monotonic() - started)
        # what is no Exception ends the engine, and what it was at stays to be read
        stage.end()
        took_s = time.monotonic() - started
        self._metrics.prepare_seconds.observe(took_s)
        outputs = self._keeping.resumed(job, given, units) if self._keeping else NOTHING
        return self._in_hand.prepared(job, given, units, took_s, outputs)

    def _given(self, job: JobInHand, given: int) -> Any:
        """Return an input of a job, a blob fetched again and again while Redis is away and somebody wants it."""
        there = job.job.inputs[given]
        if isinstance(there, Reference):
            return None if job.dropped else self._sources.reference(there)
        if not isinstance(there, Blob):
            return there
        for attempt in Retrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda _: job.dropped,
            reraise=True,
        ):
            with attempt:
                return self._sources.blob(job.job.id, there)
        raise AssertionError("unreachable")
