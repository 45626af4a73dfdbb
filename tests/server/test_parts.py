"""What is kept of a long job while it runs, and how far it is."""

import pytest
from redis import Redis

from rpc import Progress
from rpc.consumer import Consumer
from rpc.deliveries import Hold
from rpc.keys import Keys
from rpc.messages import JOB_MARGIN_MS, Failure
from rpc.parts import Part, part_field, total_field
from tests.answering import echo, job_of, read_one
from tests.callers import Callers
from tests.conftest import MakeConsumer
from tests.waiting import LONG_S

pytestmark = pytest.mark.server


@pytest.fixture
def worker(make_consumer: MakeConsumer) -> Consumer:
    """Return a worker whose model keeps parts."""
    made = make_consumer()
    made._resumable = True
    return made


def test_how_far_a_job_is_can_be_asked(callers: Callers, worker: Consumer) -> None:
    """Unknown, waiting, running with its units, finished: for whoever knows the id."""
    caller = callers.make()
    seen = [caller.progress("m", "j1")]
    caller.submit("m", "op", ["a", "b"], job_id="j1")
    seen.append(caller.progress("m", "j1"))
    delivery = read_one(worker)
    seen.append(caller.progress("m", "j1"))
    worker.keep("j1", [total_field(0, 3), total_field(1, 1)])
    worker.keep("j1", [part_field(Part(0, 2, "two")), part_field(Part(1, 0, {"one": 1}))])
    seen.append(caller.progress("m", "j1"))
    worker.settle([echo(delivery)])
    seen.append(caller.progress("m", "j1"))

    assert seen == [
        Progress("unknown"),
        Progress("waiting"),
        Progress("running"),
        Progress("running", done=2, units=4),
        Progress("finished"),
    ]
    assert [far.fraction for far in seen] == [None, None, None, 0.5, 1.0]


def test_what_is_kept_is_found_by_input_and_place(callers: Callers, worker: Consumer, raw: "Redis") -> None:
    """Whoever takes a job over gets what is kept of each input; what cannot be read is not there."""
    callers.make().submit("m", "op", ["a", "b"], job_id="j1")
    worker.keep("j1", [part_field(Part(0, 2, "two")), part_field(Part(1, 0, [1.5, None]))])
    raw.hset(worker.keys.parts("j1"), "unit:0:1", b"\xc1")

    assert (worker.kept("j1", 0), worker.kept("j1", 1), worker.kept("j2", 0)) == ({2: "two"}, {0: [1.5, None]}, {})


@pytest.mark.parametrize("end", ["settle", "bury"])
def test_what_is_kept_goes_with_its_job(callers: Callers, worker: Consumer, raw: "Redis", end: str) -> None:
    """It never outlives the job, whichever way that ends, and a late worker cannot bring it back."""
    callers.make().submit("m", "op", ["a"], job_id="j1")
    delivery = read_one(worker)
    worker.keep("j1", [total_field(0, 3)])
    assert raw.pttl(worker.keys.parts("j1")) > raw.pttl(worker.keys.job("j1")) - 1000 > 0

    if end == "settle":
        worker.settle([echo(delivery)])
    else:
        assert worker.bury(delivery, Failure("dead_lettered", "given up"))
    worker.keep("j1", [part_field(Part(0, 0, "late"))])

    assert not raw.exists(Keys(worker.keys.prefix, job_of(delivery).model).parts("j1"))


def test_what_is_kept_lives_as_long_as_its_job(callers: Callers, worker: Consumer, raw: "Redis") -> None:
    """A job that waits for a worker after its engine died has its keys as long as one that is queued then."""
    callers.make().submit("m", "op", ["a"], job_id="j1", timeout_s=7200.0)
    delivery = read_one(worker)
    keys = [worker.keys.job("j1"), worker.keys.parts("j1")]
    life_ms = job_of(delivery).ttl_ms + JOB_MARGIN_MS
    raw.pexpire(keys[0], 1000)

    worker.keep("j1", [total_field(0, 3)], life_ms=life_ms)
    worker.look([Hold(delivery.entry_id, delivery.lane, "j1", life_ms=life_ms)])

    assert all(life_ms - LONG_S * 1000 < raw.pttl(key) <= life_ms for key in keys)
