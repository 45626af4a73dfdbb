"""The prepare stage: inputs become units, on pools of threads. Blobs and what is referred to are fetched here.

References have threads of their own: who waits for a store keeps nobody else waiting.
"""

import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

from inference_worker.inhand import InHand
from inference_worker.isolation import Steps
from inference_worker.job import NOTHING, JobInHand
from inference_worker.keeping import Keeping
from inference_worker.metrics import ModelMetrics
from inference_worker.models.base import Model, Unit
from inference_worker.outcome import blame
from inference_worker.stamps import Stage
from rpc.errors import RpcError, Unavailable
from rpc.messages import Blob, Reference

log = logging.getLogger(__name__)


Input = tuple[JobInHand, int]
"""A job, and which of its inputs."""


Source = tuple[int, Callable[[], Any]]
"""An input by its index, and how it is got."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of inputs that did not travel in the entry."""

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


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads that prepare, and those that wait for what is referred to."""

    preparing: Threads
    fetching: Threads


class Preparing:
    """Hands each input of the jobs read to the model's `prepare`."""

    def __init__(
        self,
        model: Model,
        in_hand: InHand,
        pools: Pools,
        steps: Steps,
        sources: Sources,
        metrics: ModelMetrics,
        keeping: Keeping | None,
        done: Callable[[Sequence[JobInHand]], None],
    ) -> None:
        self._model = model
        self._in_hand = in_hand
        self._threads, self._fetchers = pools.preparing, pools.fetching
        self._steps = steps
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
            self._fetched += [(*each, self._fetchers.submit(partial(self._fetch, *each))) for each in referred]
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
                self._prepare(job, [(given, fetched.result)], stage)

    def _fetch(self, job: JobInHand, given: int) -> Any:
        with self._fetchers.stage() as stage:
            return self._given(job, given, stage)

    def _prepare_all(self, threads: Threads, inputs: Sequence[Input]) -> None:
        with threads.stage() as stage:
            for job, group in groupby(inputs, key=itemgetter(0)):
                sources = [(given, partial(self._given, job, given, stage)) for _, given in group]
                together = job.delivery.suspect and not any(_is_fetched(job, given) for given, _ in sources)
                # a suspect waits for its turn once for all its inputs
                for some in [sources] if together else [[source] for source in sources]:
                    self._prepare(job, some, stage)

    def _prepare(self, job: JobInHand, sources: Sequence[Source], stage: Stage) -> None:
        """Prepare inputs of a job in one step; what cannot be fetched has failed."""
        if job.dropped:
            return
        prepared = [(given, self._attempted(job, source)) for given, source in sources]
        if not all(isinstance(fetched.result, RpcError) for _, fetched in prepared):
            with self._steps.step(stage, [job]) as step:
                step.continues = True
                prepared = [(given, self._units(job, fetched, stage)) for given, fetched in prepared]
        done = [self._hand_on(job, given, result, stage) for given, result in prepared]
        if any(done):
            self._done([job])

    def _attempted(self, job: JobInHand, attempt: Callable[[], Any]) -> "_Timed":
        """Return what came of an attempt, which may be an error, and how long it took."""
        started = time.monotonic()
        try:
            result = attempt()
        except Exception as error:
            if not isinstance(error, RpcError):
                log.exception("prepare of %s failed on job %s", job.job.model, job.job.id)
            result = blame(error)
        return _Timed(result, time.monotonic() - started)

    def _units(self, job: JobInHand, fetched: "_Timed", stage: Stage) -> "_Timed":
        if isinstance(fetched.result, RpcError):
            return fetched
        prepare = partial(self._model.prepare, job.job.op, fetched.result, job.job.options)
        prepared = self._attempted(job, prepare)
        stage.go_on(time.monotonic())
        return _Timed(prepared.result, fetched.took_s + prepared.took_s)

    def _hand_on(self, job: JobInHand, given: int, prepared: "_Timed", stage: Stage) -> bool:
        """Let the units of an input wait for their pass; return whether the job is done with that."""
        if isinstance(prepared.result, RpcError):
            return self._in_hand.refused(job, given, prepared.result, prepared.took_s)
        self._metrics.prepare_seconds.observe(prepared.took_s)
        outputs = self._resumed(job, given, prepared.result, stage)
        return self._in_hand.prepared(job, given, prepared.result, prepared.took_s, outputs)

    def _resumed(self, job: JobInHand, given: int, units: Sequence[Unit], stage: Stage) -> Mapping[int, Any]:
        kept = self._keeping.kept(job, given, units) if self._keeping else NOTHING
        if not kept or self._keeping is None:
            return NOTHING
        with self._steps.step(stage, [job]):
            return self._keeping.resumed(job, units, kept)

    def _given(self, job: JobInHand, given: int, stage: Stage) -> Any:
        """Return an input of a job; the stage says that it waits for one that has to be fetched."""
        there = job.job.inputs[given]
        if not _is_fetched(job, given):
            return there
        stage.fetch(job.delivery.place)
        try:
            return self._fetched_input(job, there)
        finally:
            stage.end()

    def _fetched_input(self, job: JobInHand, there: Reference | Blob) -> Any:
        """Return what is referred to, or a blob, fetched again and again while Redis is away and somebody wants it."""
        if isinstance(there, Reference):
            return None if job.dropped else self._sources.reference(there)
        for attempt in Retrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda _: job.dropped,
            reraise=True,
        ):
            with attempt:
                return self._sources.blob(job.job.id, there)
        raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class _Timed:
    """The result of an attempt, and how long it took in seconds."""

    result: Any
    took_s: float


def _is_fetched(job: JobInHand, given: int) -> bool:
    return isinstance(job.job.inputs[given], Reference | Blob)
