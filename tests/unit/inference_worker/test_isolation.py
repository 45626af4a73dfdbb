"""Steps that run side by side, and those of suspects, which run alone and are counted."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference_worker.isolation import Gate, Steps
from inference_worker.job import JobInHand
from inference_worker.stamps import Stamps
from rpc.deliveries import Place
from rpc.errors import RpcError, Unavailable
from tests.unit.inference_worker.samples import in_hand
from tests.waiting import LONG_S, eventually


class Server:
    """Notes counts, after a few failures."""

    def __init__(self, *failures: RpcError) -> None:
        self.failures = list(failures)
        self.counts: list[int] = []

    def count(self, place: Place, count: int) -> None:
        """Note a count, or fail."""
        del place
        if self.failures:
            raise self.failures.pop(0)
        self.counts.append(count)


@pytest.fixture
def stamps() -> Iterator[Stamps]:
    """Yield memory for stages."""
    made = Stamps.create(8)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("deliveries", "counts"),
    [(0, [2, 0]), (2, [3, 2]), (3, [4, 3]), (1, [])],
    ids=["new suspect", "counted once", "counted twice", "no suspect"],
)
def test_a_suspect_is_counted_while_it_is_at_work(stamps: Stamps, deliveries: int, counts: list[int]) -> None:
    """Its delivery counts from the beginning of the step to its end, and nobody else's does."""
    server, job = Server(), in_hand(deliveries=deliveries)

    with Steps(Gate(), server.count).step(stamps.stage("m"), [job]):
        assert server.counts == counts[:1]
        assert [(work.entries, work.alone) for work in stamps.works()] == [
            (frozenset({job.delivery.place}), bool(counts))
        ]

    assert (server.counts, stamps.works()) == (counts, [])


def test_progress_clears_the_count(stamps: Stamps) -> None:
    """A suspect that got further than before is as if it had just been taken over."""
    server, job = Server(), in_hand(deliveries=3)
    steps, stage = Steps(Gate(), server.count), stamps.stage("m")

    with steps.step(stage, [job]):
        job.progressed()
    with steps.step(stage, [job]):
        pass

    assert server.counts == [4, 0, 2, 0]
    assert (job.hold.count, job.hold.begun) == (0, True)


def test_a_count_is_told_until_the_server_hears_it(stamps: Stamps) -> None:
    """While Redis is away a suspect waits, and is run when its count is told."""
    server = Server(Unavailable("away"), Unavailable("away"))

    with Steps(Gate(), server.count).step(stamps.stage("m"), [in_hand(deliveries=0)]):
        assert server.counts == [2]


@pytest.mark.parametrize("error", [RpcError("refused"), Unavailable("away")], ids=["refused", "dropped"])
def test_a_count_that_cannot_be_told_stops_no_engine(stamps: Stamps, error: RpcError) -> None:
    """A server that refuses it, or that is away when nobody wants the job any more, is not asked for ever."""
    job = in_hand(deliveries=0)
    job.dropped = True

    with Steps(Gate(), Server(error).count).step(stamps.stage("m"), [job]):
        pass

    assert stamps.works() == []


def run_steps(stamps: Stamps, jobs: list[JobInHand]) -> list[tuple[int, bool]]:
    """Run many steps of each job on a thread of its own; return how many were inside at each begin, and of whom."""
    steps = Steps(Gate(), Server().count)
    inside: set[int] = set()
    lock, seen = threading.Lock(), []

    def run(job: JobInHand) -> None:
        stage = stamps.stage("m")
        for _ in range(200):
            with steps.step(stage, [job]):
                with lock:
                    inside.add(id(job))
                    seen.append((len(inside), job.delivery.suspect))
                threading.Event().wait(0.0001)
                with lock:
                    seen.append((len(inside), job.delivery.suspect))
                    inside.remove(id(job))

    with ThreadPoolExecutor(len(jobs)) as threads:
        list(threads.map(run, jobs))
    return seen


def test_a_suspect_is_alone_in_its_engine(stamps: Stamps) -> None:
    """Steps of others run side by side, those of suspects with nothing beside; each gets its turns."""
    jobs = [in_hand(number, deliveries=deliveries) for number, deliveries in enumerate([1, 1, 1, 0, 2])]

    seen = run_steps(stamps, jobs)

    assert len(seen) == 5 * 400
    assert {count for count, suspect in seen if suspect} == {1}
    assert max(count for count, suspect in seen if not suspect) > 1


@pytest.mark.parametrize("alone", [True, False], ids=["suspect", "others"])
def test_neither_kind_of_step_starves_the_other(*, alone: bool) -> None:
    """Who waits is admitted before who comes later, whatever comes."""
    gate, order = Gate(), []
    gate.enter(alone=True)

    def come(name: str, *, alone: bool) -> None:
        gate.enter(alone=alone)
        order.append(name)
        gate.leave()

    threads = []
    for name, kind in (("first", alone), ("second", not alone), ("third", alone)):
        threads.append(threading.Thread(target=come, args=(name,), kwargs={"alone": kind}))
        waiting = len(gate._waiting)
        threads[-1].start()
        eventually(lambda: len(gate._waiting) > waiting)  # noqa: B023 (called at once)
    gate.leave()
    for thread in threads:
        thread.join(LONG_S)

    assert order == ["first", "second", "third"]


def test_a_suspects_next_step_goes_before_those_that_wait(stamps: Stamps) -> None:
    """A suspect that is prepared is run at once: it waits for the passes of others once, not before each step."""
    gate, order = Gate(), []
    steps, stage, suspect = Steps(gate, Server().count), stamps.stage("m"), in_hand(deliveries=0)

    def come() -> None:
        with steps.aside():
            order.append("other")

    with steps.step(stage, [suspect]) as step:
        step.continues = True
        other = threading.Thread(target=come)
        other.start()
        eventually(lambda: gate._waiting)
    with steps.step(stage, [suspect]):
        order.append("suspect")
    other.join(LONG_S)

    assert order == ["suspect", "other"]


def test_aside_lets_suspects_begin_after_an_exception(stamps: Stamps) -> None:
    """A block that fails leaves the gate, so a suspect runs alone after it."""
    steps = Steps(Gate(), Server().count)

    with pytest.raises(OSError, match="disk full"), steps.aside():
        raise OSError("disk full")
    suspect = threading.Thread(target=lambda: steps.step(stamps.stage("m"), [in_hand(deliveries=0)]).__enter__())
    suspect.daemon = True
    suspect.start()
    suspect.join(LONG_S)

    assert not suspect.is_alive()


def test_aside_keeps_suspects_waiting_while_the_engine_ends(stamps: Stamps) -> None:
    """An exception that ends the engine is not blamed on a suspect that begins meanwhile."""
    gate = Gate()
    steps = Steps(gate, Server().count)

    with pytest.raises(SystemExit), steps.aside():
        raise SystemExit
    threading.Thread(target=gate.enter, kwargs={"alone": True}, daemon=True).start()

    eventually(lambda: gate._waiting)
    assert stamps.works() == []


def test_a_next_step_that_does_not_come_holds_up_nobody(stamps: Stamps) -> None:
    """What waits is admitted after a moment, also if nothing else happens."""
    gate = Gate()
    with Steps(gate, Server().count).step(stamps.stage("m"), [in_hand(deliveries=0)]) as step:
        step.continues = True
        other = threading.Thread(target=gate.enter, kwargs={"alone": False})
        other.start()
        eventually(lambda: gate._waiting)

    other.join(LONG_S)
    assert not other.is_alive()


def test_what_is_no_exception_lets_nothing_else_begin(stamps: Stamps) -> None:
    """A step that ends its engine stays to be read, alone, until that has ended."""
    gate = Gate()
    steps, job = Steps(gate, Server().count), in_hand(deliveries=0)

    with pytest.raises(SystemExit), steps.step(stamps.stage("m"), [job]):
        raise SystemExit(1)

    assert [work.alone for work in stamps.works()] == [True]
    other = threading.Thread(target=gate.enter, kwargs={"alone": False}, daemon=True)
    other.start()
    eventually(lambda: gate._waiting)
    gate.leave()
    other.join(LONG_S)


def test_an_exception_ends_its_step(stamps: Stamps) -> None:
    """A model that raises has not ended its engine: the next step begins."""
    steps, stage = Steps(Gate(), Server().count), stamps.stage("m")

    with pytest.raises(ValueError, match="tripped"), steps.step(stage, [in_hand(deliveries=0)]):
        raise ValueError("tripped")
    with steps.step(stage, [in_hand(deliveries=0)]):
        pass

    assert stamps.works() == []
