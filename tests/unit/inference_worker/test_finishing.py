"""How jobs come to their end while Redis comes and goes."""

from collections.abc import Sequence

import pytest

from inference_worker.batching import Policy
from inference_worker.finishing import BeyondUse, Finishing
from inference_worker.inhand import InHand
from inference_worker.job import JobInHand
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import DeviceFault, OutOfMemory, Runtime, Unit
from inference_worker.stamps import Stamps
from rpc.consumer import Consumer
from rpc.deliveries import Delivery, Limits, Settlement
from rpc.errors import RpcError, Unavailable
from tests.models import Gives
from tests.unit.inference_worker.samples import in_hand, uncounted


class Ledger(Consumer):
    """Notes what is settled and put off; settling fails a few times."""

    def __init__(self, failures: int) -> None:
        self.name = "w"
        self.limits = Limits()
        self.settled: list[list[str | None]] = []
        self.put_off: list[str] = []
        self._failures = failures

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Note the jobs, or be away."""
        if self._failures:
            self._failures -= 1
            raise Unavailable("away")
        self.settled.append([settlement.delivery.job_id for settlement in settlements])

    def retry(self, delivery: Delivery, *, delay_s: float, count: int | None = None) -> bool:
        """Note the job."""
        del delay_s, count
        self.put_off.append(str(delivery.job_id))
        return True


def told(ledger: Ledger, failed_on: RpcError, metrics: WorkerMetrics) -> InHand:
    """Tell of two jobs, the first of which failed, at once and then in turn; return what is still in hand."""
    hands = InHand(Policy(8), units_held=16)
    jobs: list[JobInHand] = [in_hand(1), in_hand(2)]
    hands.admit(jobs)
    hands.refused(jobs[0], 0, failed_on, 0.0)
    hands.prepared(jobs[1], 0, [Unit("a")], 0.0, {0: "a"})
    stamps = Stamps.create(1)
    told_of = metrics.of("m", ("op",))
    finishing = Finishing(Gives(Runtime()), hands, ledger, told_of, stamps, uncounted(), most_failed=0)
    finishing.tell(jobs)
    finishing.stop()
    finishing.run()
    assert finishing.places() == set()
    stamps.close()
    return hands


@pytest.mark.parametrize("failures", [0, 1])
def test_a_job_that_is_put_off_is_put_off_once(failures: int) -> None:
    """Whether or not Redis is there for the replies told with it, a job that is tried again is counted once."""
    ledger, metrics = Ledger(failures), WorkerMetrics()
    hands = told(ledger, OutOfMemory("full"), metrics)

    assert (ledger.put_off, ledger.settled) == (["j1"], [["j2"]])
    assert metrics.registry.get_sample_value("penstock_retries_total", {"model": "m"}) == 1
    assert hands.places() == set()


@pytest.mark.parametrize("failures", [0, 1])
def test_replies_are_told_before_an_engine_beyond_use_ends(failures: int) -> None:
    """Who was done beside a job on which the device failed is answered, also if Redis was away for a moment."""
    ledger = Ledger(failures)
    with pytest.raises(BeyondUse, match="CUDA error"):
        told(ledger, DeviceFault("CUDA error"), WorkerMetrics())

    assert (ledger.put_off, ledger.settled) == (["j1"], [["j2"]])
