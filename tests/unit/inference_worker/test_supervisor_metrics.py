"""What a scrape of a worker tells: sums over engines, past ones included, and the lanes as Redis has them."""

import threading
from collections.abc import Mapping

from inference_worker.metrics import WorkerMetrics
from inference_worker.supervisor.metrics import EnginesCollector, LaneCollector, SupervisorCollector, registry
from rpc.inspection import LaneState, ModelState

MOMENT_S, SOON_S = 0.2, 20.0
"""How long one scrape waits for another that may have to wait for it; how long a thread may take to end."""


def told(jobs: int, seconds: float, held: float) -> str:
    """Return what an engine tells that did so many jobs, a batch that took so long, and holds so many."""
    metrics = WorkerMetrics()
    metrics.jobs.labels("m", "op", "ok").inc(jobs)
    metrics.infer.labels("m").observe(seconds)
    metrics.held.labels("m").set(held)
    return metrics.text()


def test_engines_are_summed() -> None:
    """Counters, gauges and histograms of all devices of a worker are one number each."""
    scraped = registry(EnginesCollector(lambda: {"a": told(3, 0.004, 2.0), "b": told(4, 0.2, 1.0)}))

    assert scraped.get_sample_value("penstock_jobs_total", {"model": "m", "op": "op", "status": "ok"}) == 7
    assert scraped.get_sample_value("penstock_jobs_in_hand", {"model": "m"}) == 3
    assert scraped.get_sample_value("penstock_infer_seconds_count", {"model": "m"}) == 2
    assert scraped.get_sample_value("penstock_infer_seconds_bucket", {"model": "m", "le": "0.005"}) == 1


def test_no_counter_goes_back_when_an_engine_ends() -> None:
    """What an engine counted stays counted; what it held is gone with it."""
    texts: dict[str, str] = {"a": told(3, 0.004, 2.0)}
    scraped = registry(EnginesCollector(lambda: texts))
    counted = {"model": "m", "op": "op", "status": "ok"}
    assert scraped.get_sample_value("penstock_jobs_total", counted) == 3

    del texts["a"]
    texts["b"] = told(1, 0.004, 0.0)

    assert [scraped.get_sample_value("penstock_jobs_total", counted) for _ in range(2)] == [4, 4]
    assert scraped.get_sample_value("penstock_jobs_in_hand", {"model": "m"}) == 0


def test_scrapes_that_overlap_count_a_past_engine_once() -> None:
    """Two scrapes at once while an engine ends tell what it counted, not twice that."""
    counted = {"model": "m", "op": "op", "status": "ok"}
    texts: dict[str, str] = {"a": told(3, 0.004, 2.0), "b": told(1, 0.004, 0.0)}
    others: list[threading.Thread] = []

    def ending() -> Mapping[str, str]:
        heard = dict(texts)
        if others:
            # the engine ends while this scrape asks, and another scrape begins
            texts.pop("a", None)
            other = others.pop()
            other.start()
            other.join(MOMENT_S)
        return heard

    scraped = registry(EnginesCollector(ending))
    assert scraped.get_sample_value("penstock_jobs_total", counted) == 4
    other = threading.Thread(target=scraped.get_sample_value, args=("penstock_jobs_total", counted))
    others.append(other)
    scraped.get_sample_value("penstock_jobs_total", counted)
    other.join(SOON_S)

    assert scraped.get_sample_value("penstock_jobs_total", counted) == 4


def test_engines_are_counted_by_device_and_models() -> None:
    """Operators see which device or group of models has no engine, and which one loses them again and again."""
    counts = {("cuda:0", "whisper"): (1, 0), ("cuda:1", "whisper"): (0, 4)}
    scraped = registry(SupervisorCollector(lambda: counts, lambda: False))

    place = {"device": "cuda:1", "models": "whisper"}
    assert scraped.get_sample_value("penstock_engines", place) == 0
    assert scraped.get_sample_value("penstock_engine_restarts_total", place) == 4
    assert scraped.get_sample_value("penstock_worker_ready") == 0


def test_what_engines_say_of_one_device_is_not_summed() -> None:
    """Engines that share a device tell the same free memory, each at its moment: the lowest counts."""

    def free(size: int) -> str:
        metrics = WorkerMetrics()
        metrics.free_bytes("cuda:0", lambda: size)
        return metrics.text()

    scraped = registry(EnginesCollector(lambda: {"a": free(700), "b": free(600), "c": free(800)}))

    assert scraped.get_sample_value("penstock_device_free_bytes", {"device": "cuda:0"}) == 600


def test_lanes_are_told_as_redis_has_them() -> None:
    """Waiting, running, age and dead letter come from Redis, for every lane."""
    state = ModelState("m", (LaneState("interactive", 3, 2, 1500), LaneState("bulk", 1, 0, 0)), 4, {})
    scraped = registry(LaneCollector(lambda: [state]))

    assert scraped.get_sample_value("penstock_jobs_waiting", {"model": "m", "lane": "interactive"}) == 3
    assert scraped.get_sample_value("penstock_jobs_running", {"model": "m", "lane": "interactive"}) == 2
    assert scraped.get_sample_value("penstock_oldest_job_seconds", {"model": "m", "lane": "interactive"}) == 1.5
    assert scraped.get_sample_value("penstock_jobs_waiting", {"model": "m", "lane": "bulk"}) == 1
    assert scraped.get_sample_value("penstock_dead_letter_jobs", {"model": "m"}) == 4


def test_without_redis_the_lanes_are_not_told() -> None:
    """A scrape while Redis is away has the engines' own metrics and no made-up zeros."""
    scraped = registry(LaneCollector(list))

    assert scraped.get_sample_value("penstock_jobs_waiting", {"model": "m", "lane": "interactive"}) is None
