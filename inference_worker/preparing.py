"""The prepare stage: inputs become units, on a pool of threads. Inputs that travelled as blobs are fetched here."""

import logging
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from rpc.messages import Blob

log = logging.getLogger(__name__)


class Preparing:
    """Hands each input of the jobs read to the model's `prepare`."""

    def __init__(
        self,
        model: Model,
        in_hand: InHand,
        pool: ThreadPoolExecutor,
        fetch: Callable[[str, Blob], Any],
        metrics: ModelMetrics,
        stages: Sequence[Stage],
        keeping: Keeping | None,
        done: Callable[[Sequence[JobInHand]], None],
    ) -> None:
        self._model = model
        self._in_hand = in_hand
        self._pool = pool
        self._fetch = fetch
        self._threads = len(stages)
        self._stages: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        for stage in stages:
            self._stages.put(stage)
        self._metrics = metrics
        self._keeping = keeping
        self._done = done

    def start(self, jobs: Sequence[JobInHand]) -> None:
        """Prepare the inputs of jobs, spread over the threads, or here if that is quicker."""
        inputs = [(job, given) for job in jobs for given in range(len(job.job.inputs))]
        if self._model.quick:
            self._prepare_all(inputs)
            return
        for thread in range(min(self._threads, len(inputs))):
            self._pool.submit(self._prepare_all, inputs[thread :: self._threads])

    def _prepare_all(self, inputs: Sequence[tuple[JobInHand, int]]) -> None:
        stage = self._stages.get()
        try:
            for job, given in inputs:
                if not job.dropped and self._prepare(job, given, stage):
                    self._done([job])
        finally:
            self._stages.put(stage)

    def _prepare(self, job: JobInHand, given: int, stage: Stage) -> bool:
        """Prepare one input; return whether its job is done with that."""
        started = time.monotonic()
        try:
            there = self._given(job, given)
            # waiting for Redis is no work that could be stuck
            stage.begin([job.delivery.place], time.monotonic())
            units = self._model.prepare(job.job.op, there, job.job.options)
        except Exception as error:
            if not isinstance(error, RpcError):
                log.exception("prepare of %s failed on job %s", job.job.model, job.job.id)
            return self._in_hand.refused(job, given, blame(error), time.monotonic() - started)
        finally:
            stage.end()
        took_s = time.monotonic() - started
        self._metrics.prepare_seconds.observe(took_s)
        outputs = self._keeping.resumed(job, given, units) if self._keeping else NOTHING
        return self._in_hand.prepared(job, given, units, took_s, outputs)

    def _given(self, job: JobInHand, given: int) -> Any:
        """Return an input of a job, fetched again and again while Redis is away and somebody wants it."""
        there = job.job.inputs[given]
        if not isinstance(there, Blob):
            return there
        for attempt in Retrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda _: job.dropped,
            reraise=True,
        ):
            with attempt:
                return self._fetch(job.job.id, there)
        raise AssertionError("unreachable")
