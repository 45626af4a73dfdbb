"""Inputs become units on threads, of which none may die unheard."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from inference_worker.batching import Policy
from inference_worker.inhand import InHand
from inference_worker.isolation import Gate, Steps
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import Runtime
from inference_worker.preparing import Pools, Preparing, Sources, Threads
from inference_worker.stamps import Stamps
from inference_worker.supervisor.blame import blame
from rpc.messages import Blob, Reference
from tests.models import Gives, PanicsPreparing
from tests.unit.inference_worker.samples import in_hand, uncounted
from tests.waiting import eventually

SOON_S = 20.0


@dataclass
class Stand:
    """A prepare stage of a model that gives its inputs back, with a thread of each kind."""

    stamps: Stamps
    hands: InHand
    preparing: Preparing
    counts: list[int]


@pytest.fixture
def make_stand() -> Iterator[Callable[[Sources], Stand]]:
    """Yield a maker of prepare stages."""
    with ExitStack() as undo:

        def make(sources: Sources) -> Stand:
            stamps, counts = Stamps.create(2), []
            undo.callback(stamps.close)
            pools = [Threads(name, [stamps.stage("m")], lambda _, run: run()) for name in ("prepare", "fetch")]
            for pool in pools:
                undo.callback(pool.close)
            hands = InHand(Policy(8), units_held=16)
            steps = Steps(Gate(), lambda _, count: counts.append(count))
            metrics = WorkerMetrics().of("m", ("op",))
            model = Gives(Runtime())
            stage = Preparing(model, hands, Pools(*pools), steps, sources, metrics, None, lambda _: None)
            return Stand(stamps, hands, stage, counts)

        yield make


@pytest.mark.parametrize("item", [Blob(0), Reference("file:a")], ids=["blob", "reference"])
@pytest.mark.parametrize("deliveries", [1, 0], ids=["new", "suspect"])
def test_waiting_for_a_store_is_no_work(
    make_stand: Callable[[Sources], Stand], item: Blob | Reference, deliveries: int
) -> None:
    """A job whose input is being fetched is not counted and not blamed, a suspect neither: it has not begun."""
    fetching, fetched = threading.Event(), threading.Event()

    def fetch(*_: object) -> bytes:
        fetching.set()
        assert fetched.wait(SOON_S)
        return b"fetched"

    stand, job = make_stand(Sources(fetch, fetch)), in_hand(inputs=[item], deliveries=deliveries)
    stand.hands.admit([job])
    stand.preparing.start([job])
    assert fetching.wait(SOON_S)

    (work,) = stand.stamps.works()
    assert (work.fetching, work.entries, stand.counts) == (True, frozenset({job.delivery.place}), [])
    assert not blame(stand.stamps.works()).alone
    fetched.set()
    batch = stand.hands.next_batch()
    assert batch is not None
    assert [ticket.unit.data for ticket in batch.tickets] == [b"fetched"]


def test_the_inputs_of_a_suspect_are_prepared_in_one_step(make_stand: Callable[[Sources], Stand]) -> None:
    """A suspect waits for its turn once, not for each of its texts."""
    stand = make_stand(Sources(lambda *_: b"", lambda _: b""))
    job = in_hand(inputs=["a", "b", "c"], deliveries=0)
    stand.hands.admit([job])
    stand.preparing.start([job])

    eventually(lambda: len(stand.counts) == 2)
    batch = stand.hands.next_batch()

    assert (stand.counts, len(batch.tickets) if batch else 0) == ([2, 0], 3)


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
    pools, model = Pools(threads, fetchers), PanicsPreparing(Runtime())
    Preparing(model, hands, pools, uncounted(), sources, metrics, None, lambda _: None).start([job])

    assert died.get(timeout=SOON_S) == ("prepare-m", "panic over a")
    assert [work.entries for work in stamps.works()] == [frozenset({job.delivery.place})]
    for pool in (threads, fetchers):
        pool.close()
    stamps.close()
