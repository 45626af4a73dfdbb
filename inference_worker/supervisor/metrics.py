"""What a scrape of the supervisor tells: the sums of its engines' metrics, its own, and what waits in Redis."""

import threading
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from rpc.inspection import ModelState

Name = tuple[str, tuple[tuple[str, str], ...]]

OF_DEVICES = frozenset({"penstock_device_free_bytes"})
"""Gauges that all engines of a device tell of it: the lowest counts."""


class EnginesCollector(Collector):
    """The metrics of all engines, each sample summed over them, but for what several of them say of one device.

    What an engine had counted at the last scrape is kept when it ends, so that no counter goes back.
    """

    def __init__(self, texts: Callable[[], Mapping[str, str]]) -> None:
        self._texts = texts
        self._last: dict[str, str] = {}
        self._past: dict[Name, float] = {}
        self._scraping = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Yield every family the engines tell of, and those of past engines that are counted."""
        # one that asked before an engine ended must not bring it back after another has buried it
        with self._scraping:
            texts = self._texts()
            for engine in self._last.keys() - texts.keys():
                self._bury(self._last[engine])
            self._last = dict(texts)
            sums = dict(self._past)
        families: dict[str, Metric] = {}
        for text in texts.values():
            for family in text_string_to_metric_families(text):
                families.setdefault(family.name, family)
                _add(family, sums)
        for family in families.values():
            yield _summed(family, sums)

    def _bury(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            if family.type in {"counter", "histogram"}:
                _add(family, self._past)


def _add(family: Metric, sums: dict[Name, float]) -> None:
    for sample in family.samples:
        name = (sample.name, tuple(sorted(sample.labels.items())))
        if name in sums:
            sums[name] = min(sums[name], sample.value) if family.name in OF_DEVICES else sums[name] + sample.value
        else:
            sums[name] = sample.value


def _summed(family: Metric, sums: Mapping[Name, float]) -> Metric:
    """Return a family with the sums of all samples that are its own."""
    summed = Metric(family.name, family.documentation, family.type)
    own = {sample.name for sample in family.samples} | {
        family.name + end for end in ("_total", "_bucket", "_sum", "_count")
    }
    for (name, labels), value in sums.items():
        if name in own:
            summed.add_sample(name, dict(labels), value)
    return summed


Counts = Mapping[tuple[str, str], tuple[int, int]]
"""Device and models -> engines that serve, and how many were started in place of another."""


class SupervisorCollector(Collector):
    """Engines and how often they were started again, by device and models."""

    def __init__(self, counts: Callable[[], Counts], ready: Callable[[], bool]) -> None:
        self._counts = counts
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges and the counter."""
        yield GaugeMetricFamily("penstock_worker_ready", "1 while the worker takes jobs", value=float(self._ready()))
        labels = ["device", "models"]
        engines = GaugeMetricFamily("penstock_engines", "Engines that are loaded and serve", labels=labels)
        restarts = CounterMetricFamily(
            "penstock_engine_restarts_total", "Engines started in place of one that ended", labels=labels
        )
        for place, (running, count) in self._counts().items():
            engines.add_metric(place, running)
            restarts.add_metric(place, count)
        yield engines
        yield restarts


class LaneCollector(Collector):
    """What waits and runs in Redis, asked for at each scrape."""

    def __init__(self, states: Callable[[], Iterable[ModelState]]) -> None:
        self._states = states

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield the gauges of every lane; none where Redis does not answer."""
        labels = ["model", "lane"]
        waiting = GaugeMetricFamily("penstock_jobs_waiting", "Jobs no worker holds", labels=labels)
        running = GaugeMetricFamily("penstock_jobs_running", "Jobs a worker holds", labels=labels)
        oldest = GaugeMetricFamily("penstock_oldest_job_seconds", "Age of the oldest unsettled job", labels=labels)
        dead = GaugeMetricFamily("penstock_dead_letter_jobs", "Jobs in the dead letter", labels=["model"])
        for state in self._states():
            dead.add_metric([state.model], state.dead)
            for lane in state.lanes:
                waiting.add_metric([state.model, lane.lane], lane.waiting)
                running.add_metric([state.model, lane.lane], lane.running)
                oldest.add_metric([state.model, lane.lane], lane.oldest_ms / 1000)
        return [waiting, running, oldest, dead]


def registry(*collectors: Collector) -> CollectorRegistry:
    """Return a registry of these."""
    told = CollectorRegistry()
    for collector in collectors:
        told.register(collector)
    return told
