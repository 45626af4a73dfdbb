"""Every metric of the worker, defined once. The four `model_service_` names are those of the system it replaces."""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from inference_worker.batching import Batch
from inference_worker.job import JobInHand
from rpc.deliveries import Delivery

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
RATIOS = (1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0)


class WorkerMetrics:
    """The metrics of one worker process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        model = ["model"]
        # fmt: off
        self.jobs = self._counter("penstock_jobs_total", "Jobs settled, by how they ended", ["model", "op", "status"])
        self.queue = self._histogram("penstock_queue_seconds", "From submission to being read", ["model", "lane"])
        self.prepare = self._histogram("penstock_prepare_seconds", "One input through prepare", model)
        self.infer = self._histogram("penstock_infer_seconds", "One forward pass", model)
        self.job = self._histogram("penstock_job_seconds", "From submission to the reply", ["model", "lane"])
        self.units = self._histogram("penstock_batch_units", "Units in a forward pass", model, UNITS)
        self.batch_jobs = self._histogram("penstock_batch_jobs", "Different jobs in a forward pass", model, UNITS)
        self.padding = self._histogram("penstock_batch_padding_ratio", "Padded to real cost of a pass", model, RATIOS)
        self.real = self._counter("penstock_batch_cost_total", "Cost of the units that were run", model)
        self.padded = self._counter("penstock_batch_padded_cost_total", "The same, with padding", model)
        self.redeliveries = self._counter("penstock_redeliveries_total", "Jobs taken over from a worker", model)
        self.retries = self._counter("penstock_retries_total", "Jobs put off to be tried again", model)
        self.resumed = self._counter("penstock_resumed_units_total", "Units another worker had done already", model)
        self.dead_letters = self._counter("penstock_dead_letters_total", "Jobs given up on", model)
        self.expired = self._counter("penstock_expired_total", "Jobs that waited longer than they may", model)
        self.lost = self._counter("penstock_lost_leases_total", "Jobs another worker took over from this one", model)
        self.held = self._gauge("penstock_jobs_in_hand", "Jobs read and not yet settled", model)
        self.bytes = self._gauge("penstock_model_bytes", "Memory of the weights", model)
        self.free = self._gauge("penstock_device_free_bytes", "Memory free on the device", ["device"])
        self.origin_requests = self._counter(
            "model_service_requests_total", "Jobs settled, by success or error", ["model", "status"])
        self.origin_latency = self._histogram(
            "model_service_latency_seconds", "From submission to the reply", model)
        self.origin_memory = self._gauge("model_service_memory_bytes", "Memory of the weights", model)
        self.origin_batch = self._histogram("model_service_batch_size", "Units in a forward pass", model, UNITS)
        # fmt: on

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str], buckets: Iterable[float] = SECONDS) -> Histogram:
        return Histogram(name, text, labels, buckets=tuple(buckets), registry=self.registry)

    def text(self) -> str:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self.registry).decode()

    def free_bytes(self, device: str, find_out: Callable[[], int | None]) -> None:
        """Say how the free memory of a device is found out; nothing is told of one that does not tell."""
        if find_out() is not None:
            self.free.labels(device).set_function(lambda: float(find_out() or 0))

    def of(self, model: str, ops: tuple[str, ...]) -> "ModelMetrics":
        """Return the metrics of one model."""
        return ModelMetrics(self, model, ops)


def origin_label(model: str, op: str, ops: tuple[str, ...]) -> str:
    """Return the `model` of the four old names: with the op where a model has several, as text and image differ."""
    return f"{model}_{op}" if op and len(ops) > 1 else model


class ModelMetrics:
    """The metrics of one model, their labels looked up once."""

    def __init__(self, worker: WorkerMetrics, model: str, ops: tuple[str, ...]) -> None:
        self._model, self._ops = model, ops
        self.prepare_seconds = worker.prepare.labels(model)
        self.redeliveries = worker.redeliveries.labels(model)
        self.retries = worker.retries.labels(model)
        self.resumed_units = worker.resumed.labels(model)
        self.dead_letters = worker.dead_letters.labels(model)
        self.lost_leases = worker.lost.labels(model)
        self._expired = worker.expired.labels(model)
        self._infer, self._units, self._batch_jobs = (
            metric.labels(model) for metric in (worker.infer, worker.units, worker.batch_jobs)
        )
        self._padding, self._real, self._padded = (
            worker.padding.labels(model),
            worker.real.labels(model),
            worker.padded.labels(model),
        )
        self._jobs = cache(lambda op, status: worker.jobs.labels(model, op, status))
        self._origin_requests = cache(worker.origin_requests.labels)
        self._origin_latency = cache(worker.origin_latency.labels)
        self._origin_batch = cache(worker.origin_batch.labels)
        self._queue = cache(lambda lane: worker.queue.labels(model, lane))
        self._job = cache(lambda lane: worker.job.labels(model, lane))
        self._worker = worker

    def weights(self, size: int) -> None:
        """Note the memory of the model's weights."""
        self._worker.bytes.labels(self._model).set(size)
        self._worker.origin_memory.labels(self._model).set(size)

    def in_hand(self, count: Callable[[], float]) -> None:
        """Say how the number of jobs in hand is found out."""
        self._worker.held.labels(self._model).set_function(count)

    def batch(self, batch: Batch[JobInHand], took_s: float) -> None:
        """Note a forward pass."""
        size = len(batch.tickets)
        self._infer.observe(took_s)
        self._units.observe(size)
        self._batch_jobs.observe(len({id(ticket.job) for ticket in batch.tickets}))
        self._padding.observe(batch.padded / max(1, batch.real))
        self._real.inc(batch.real)
        self._padded.inc(batch.padded)
        op = batch.tickets[0].job.job.op
        self._origin_batch(origin_label(self._model, op, self._ops)).observe(size)

    def job(self, delivery: Delivery, status: str) -> None:
        """Note the end of a job."""
        op = getattr(delivery.job, "op", "")
        op = op if op in self._ops else ""
        self._jobs(op, status).inc()
        self._origin_requests(origin_label(self._model, op, self._ops), "success" if status == "ok" else "error").inc()
        if status == "expired":
            self._expired.inc()

    def timings(self, job: JobInHand, now: float) -> None:
        """Note how long a job that ran has taken."""
        queued_s = job.queued_ms / 1000
        whole_s = queued_s + now - job.received_at
        self._queue(job.delivery.lane).observe(queued_s)
        self._job(job.delivery.lane).observe(whole_s)
        self._origin_latency(origin_label(self._model, job.job.op, self._ops)).observe(whole_s)
