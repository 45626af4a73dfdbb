"""The keep stage of resumable models: outputs of jobs not yet done are kept beside them, for whoever takes them over.

One thread per model, so that no pass waits for Redis. What it cannot keep is only work to be done twice.
"""

import logging
import queue
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from inference_worker.batching import Batch, Ticket
from inference_worker.job import JobInHand
from inference_worker.metrics import ModelMetrics
from inference_worker.models.base import FollowUp, Model, Unit
from rpc.consumer import Consumer
from rpc.errors import RpcError
from rpc.parts import Part, part_field, total_field

log = logging.getLogger(__name__)

Fields = list[tuple[str, bytes]]


class Keeping:
    """Keeps outputs beside jobs, and finds what was kept of the jobs of others."""

    def __init__(self, model: Model, consumer: Consumer, metrics: ModelMetrics) -> None:
        self._model = model
        self._consumer = consumer
        self._metrics = metrics
        self._wanted: queue.SimpleQueue[tuple[JobInHand, Fields] | None] = queue.SimpleQueue()

    def parts(self, batch: Batch[JobInHand], outputs: Sequence[Any]) -> Mapping[JobInHand, Fields]:
        """Return the complete outputs of a pass as they are kept; those of jobs that are done with it need not be."""
        fields: dict[JobInHand, Fields] = defaultdict(list)
        for ticket, output in zip(batch.tickets, outputs, strict=True):
            if ticket.job.done or isinstance(output, RpcError | FollowUp):
                continue
            if field := self._field(ticket, output):
                fields[ticket.job].append(field)
        return fields

    def put(self, parts: Mapping[JobInHand, Fields]) -> None:
        """Hand over what is to be kept."""
        for each in parts.items():
            self._wanted.put(each)

    def keep_now(self, parts: Mapping[JobInHand, Fields]) -> None:
        """Keep outputs of suspects, whose count of deliveries this clears."""
        for job, fields in parts.items():
            if self._keep(job, fields):
                job.progressed()

    def _field(self, ticket: Ticket[JobInHand], output: Any) -> tuple[str, bytes] | None:
        """Return an output as it is kept; None if the model fails on that, or gives what has no form on the wire."""
        try:
            return part_field(Part(ticket.given, ticket.place, self._model.keep(ticket.unit, output)))
        except Exception:
            log.exception("a part of job %s is not kept", ticket.job.job.id)
            return None

    def kept(self, job: JobInHand, given: int, units: Sequence[Unit]) -> Mapping[int, Any]:
        """Return what is kept of the units of an input, by place; say how many units there are."""
        if len(units) == 1:
            return {}
        self._wanted.put((job, [total_field(given, len(units))]))
        try:
            return self._consumer.kept(job.job.id, given)
        except RpcError as error:
            log.warning("what is kept of job %s is not known: %s", job.job.id, error)
        except Exception:
            # it may be of another version
            log.exception("nothing of job %s is resumed: what is kept of it cannot be read", job.job.id)
        return {}

    def resumed(self, job: JobInHand, units: Sequence[Unit], kept: Mapping[int, Any]) -> Mapping[int, Any]:
        """Return the outputs the model makes of what is kept of the units of an input, by place."""
        try:
            outputs = self._fitting(units, kept)
        except Exception:
            # it may be of another version of the model
            log.exception("nothing of job %s is resumed: what is kept of it cannot be used", job.job.id)
            return {}
        self._metrics.resumed_units.inc(len(outputs))
        return outputs

    def _fitting(self, units: Sequence[Unit], kept: Mapping[int, Any]) -> Mapping[int, Any]:
        found = {place: self._model.resume(units[place], kept[place]) for place in kept if place < len(units)}
        return {place: output for place, output in found.items() if output is not None}

    def run(self) -> None:
        """Keep until stopped."""
        while (wanted := self._wanted.get()) is not None:
            self._keep(*wanted)

    def _keep(self, job: JobInHand, fields: Fields) -> bool:
        """Keep fields beside a job that is not done; return whether they are."""
        if job.dropped or job.done:
            return False
        try:
            return self._consumer.keep(job.job.id, fields, life_ms=job.life_ms)
        except RpcError as error:
            log.warning("%d parts of job %s not kept: %s", len(fields), job.job.id, error)
            return False

    def stop(self) -> None:
        """End the thread."""
        self._wanted.put(None)
