"""Inputs become units on threads, of which none may die unheard."""

import queue
from collections.abc import Callable

from inference_worker.batching import Policy
from inference_worker.inhand import InHand
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import Runtime
from inference_worker.preparing import Preparing, Sources, Threads
from inference_worker.stamps import Stamps
from tests.models import PanicsPreparing
from tests.unit.inference_worker.samples import in_hand

SOON_S = 20.0


def test_a_thread_that_dies_is_told_with_what_it_was_at() -> None:
    """What ends a thread of the pool ends the engine, by the stage's name, and the job it was at can be read."""
    died: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def guard(name: str, stage: Callable[[], None]) -> None:
        try:
            stage()
        except SystemExit as error:
            died.put((name, str(error)))

    stamps = Stamps.create(2)
    threads, fetchers = (Threads(name, [stamps.stage("m")], guard) for name in ("prepare-m", "fetch-m"))
    job = in_hand(3)
    sources = Sources(lambda _, blob: blob, lambda _: b"")
    metrics = WorkerMetrics().of("m", ("op",))
    hands = InHand(Policy(8), units_held=16)
    Preparing(PanicsPreparing(Runtime()), hands, threads, fetchers, sources, metrics, None, lambda _: None).start([job])

    assert died.get(timeout=SOON_S) == ("prepare-m", "panic over a")
    assert [work.entries for work in stamps.works()] == [frozenset({job.delivery.place})]
    for pool in (threads, fetchers):
        pool.close()
    stamps.close()
