"""What is counted, and under which labels."""

import pytest
from prometheus_client.metrics import MetricWrapperBase

from inference_worker.batching import Batch
from inference_worker.job import JobInHand
from inference_worker.metrics import WorkerMetrics, origin_label
from inference_worker.models.base import Unit
from rpc.deliveries import Delivery
from rpc.entries import Malformed
from tests.unit.inference_worker.samples import delivery, in_hand

TWO_OPS = ("embed_image", "embed_text")


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    """Return a sample."""
    return metrics.registry.get_sample_value(name, labels)


def prepared(job: JobInHand, *costs: int) -> Batch[JobInHand]:
    """Return a batch of units of one job."""
    return Batch(job.prepared(0, [Unit(None, cost) for cost in costs], 0.0))


def test_the_four_old_names_are_there() -> None:
    """Dashboards of the system this replaces find their metrics."""
    names = {family.name for family in WorkerMetrics().registry.collect()}

    assert names >= {
        "model_service_requests",
        "model_service_latency_seconds",
        "model_service_memory_bytes",
        "model_service_batch_size",
    }


def test_every_name_says_what_it_counts_in() -> None:
    """Names have the project's prefix or the old one, and times are in seconds with buckets to ten minutes."""
    metrics = WorkerMetrics()
    families = {family.name: family for family in metrics.registry.collect()}
    metrics.of("m", ("op",)).timings(in_hand(), now=101.0)

    assert all(name.startswith(("penstock_", "model_service_")) for name in families)
    assert value(metrics, "penstock_job_seconds_bucket", model="m", lane="interactive", le="600.0") == 1


@pytest.mark.parametrize(
    ("ops", "op", "label"),
    [
        (("transcribe",), "transcribe", "m"),
        (TWO_OPS, "embed_text", "m_embed_text"),
        (TWO_OPS, "embed_image", "m_embed_image"),
    ],
)
def test_text_and_vision_are_told_apart_in_the_old_names(ops: tuple[str, ...], op: str, label: str) -> None:
    """The old names have no label for the op, so a model with several ops has it in its name."""
    assert label == origin_label("m", op, ops)


def test_the_end_of_a_job_is_counted_by_how_it_ended() -> None:
    """Status is `ok` or the error's code; the old names know success and error alone."""
    metrics = WorkerMetrics()
    of_model = metrics.of("m", ("op",))
    for status in ("ok", "ok", "invalid_input", "expired"):
        of_model.job(delivery(), status)

    assert value(metrics, "penstock_jobs_total", model="m", op="op", status="ok") == 2
    assert value(metrics, "penstock_jobs_total", model="m", op="op", status="invalid_input") == 1
    assert value(metrics, "penstock_expired_total", model="m") == 1
    assert value(metrics, "model_service_requests_total", model="m", status="success") == 2
    assert value(metrics, "model_service_requests_total", model="m", status="error") == 2


def test_callers_cannot_make_labels_up() -> None:
    """An op the model has not, or an entry that is no job, counts under no op: labels are a closed set."""
    metrics = WorkerMetrics()
    of_model = metrics.of("m", ("op",))
    of_model.job(delivery(op="made up"), "unknown_model")
    garbage = Malformed("no job", job_id=None, reply="", encoding="msgpack")
    of_model.job(Delivery("1-0", "bulk", 1, garbage, ()), "invalid_input")

    ops = {
        sample.labels["op"]
        for family in metrics.registry.collect()
        if family.name == "penstock_jobs"
        for sample in family.samples
    }
    assert ops == {""}


def test_a_pass_is_counted_with_units_jobs_and_padding() -> None:
    """The size of a batch, how many jobs shared it and what padding cost are told of each pass."""
    metrics = WorkerMetrics()
    metrics.of("m", ("op",)).batch(prepared(in_hand(), 2, 6), took_s=0.5)

    names = {
        "penstock_batch_units_sum": 2,
        "penstock_batch_jobs_sum": 1,
        "penstock_batch_padding_ratio_sum": 1.5,
        "penstock_batch_cost_total": 8,
        "penstock_batch_padded_cost_total": 12,
        "penstock_infer_seconds_sum": 0.5,
        "model_service_batch_size_sum": 2,
    }
    assert names == {name: value(metrics, name, model="m") for name in names}


def test_a_job_is_timed_from_its_submission() -> None:
    """The wait in the queue counts, by the server's clock, and the worker's own time is added to it."""
    metrics = WorkerMetrics()
    metrics.of("m", ("op",)).timings(in_hand(lane="bulk"), now=102.0)

    assert value(metrics, "penstock_queue_seconds_sum", model="m", lane="bulk") == pytest.approx(0.005)
    assert value(metrics, "penstock_job_seconds_sum", model="m", lane="bulk") == pytest.approx(2.005)
    assert value(metrics, "model_service_latency_seconds_sum", model="m") == pytest.approx(2.005)


def test_the_memory_of_a_model_is_told_under_both_names() -> None:
    """Old dashboards and new ones show the bytes of the weights."""
    metrics = WorkerMetrics()
    metrics.of("m", ("op",)).weights(90)

    assert value(metrics, "penstock_model_bytes", model="m") == 90
    assert value(metrics, "model_service_memory_bytes", model="m") == 90


def test_what_is_in_hand_is_asked_for_at_each_scrape() -> None:
    """A gauge that nobody sets cannot go stale."""
    metrics = WorkerMetrics()
    counts = iter([3.0, 0.0])
    metrics.of("m", ("op",)).in_hand(lambda: next(counts))

    assert [value(metrics, "penstock_jobs_in_hand", model="m") for _ in range(2)] == [3.0, 0.0]


def test_no_metric_has_a_label_of_unbounded_values() -> None:
    """Ids, workers and messages are never labels."""
    labels = {
        label
        for metric in vars(WorkerMetrics()).values()
        if isinstance(metric, MetricWrapperBase)
        for label in metric._labelnames
    }

    assert labels == {"model", "op", "status", "lane", "device"}
