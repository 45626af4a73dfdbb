"""What the gateway counts: the names of the service it replaces, of what passed through this gateway."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from producers.gateway.directory import Directory
from rpc.errors import RpcError
from rpc.messages import Reply, Success

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Its buckets ended at 10 s, which no recording fits into."""

UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _Memory(Collector):
    """What the weights of each model take, as its workers tell."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the one family."""
        family = GaugeMetricFamily("model_service_memory_bytes", "Memory of the weights.", labels=["model"])
        try:
            states = self._directory.states()
        except RpcError:
            states = []
        for state in states:
            if state.workers:
                size = sum(int(about.get("bytes", 0)) for about in state.workers.values())
                family.add_metric([state.model], size)
        yield family


class Metrics:
    """One gateway's metrics, in a registry of its own."""

    def __init__(self, directory: Directory) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "model_service_requests", "Calls, by how they ended.", ["model", "status"], registry=self._registry
        )
        self._latency = Histogram(
            "model_service_latency_seconds",
            "From the call to its answer.",
            ["model"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batch = Histogram(
            "model_service_batch_size",
            "Units in the largest pass a call was part of.",
            ["model"],
            buckets=UNITS,
            registry=self._registry,
        )
        self._registry.register(_Memory(directory))
        self._requests_of = cache(self._requests.labels)
        self._latency_of = cache(self._latency.labels)
        self._batch_of = cache(self._batch.labels)

    @contextmanager
    def measured(self, model: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Count what is called in the block, and how long it takes; not if it raises one of `unless`."""
        began = time.monotonic()
        try:
            yield
        except unless:
            raise
        except BaseException:
            self._ended(model, "error", began)
            raise
        self._ended(model, "success", began)

    def _ended(self, model: str, status: str, began: float) -> None:
        self._requests_of(model, status).inc()
        self._latency_of(model).observe(time.monotonic() - began)

    def batched(self, model: str, replies: Sequence[Reply]) -> None:
        """Note how many units the passes had that made the replies."""
        for reply in replies:
            if isinstance(reply, Success) and reply.meta.batch:
                self._batch_of(model).observe(reply.meta.batch)

    def page(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self._registry)
