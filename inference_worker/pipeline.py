"""One model's way through the worker: read > prepare > units > infer > finish. Wires the stages; runs none itself.

Intake ──> Preparing ──> InHand (units) ──> Inferring ──> Finishing
a thread   a pool        batching           a thread      a thread
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from inference_worker.batching import Policy
from inference_worker.clock import ServerClock
from inference_worker.finishing import Finishing, Refused
from inference_worker.inferring import Inferring
from inference_worker.inhand import InHand
from inference_worker.intake import BLOCK_MS, Intake, Onward
from inference_worker.isolation import Gate, Steps
from inference_worker.job import JobInHand
from inference_worker.keeping import Keeping
from inference_worker.lookout import Watched
from inference_worker.media.references import References
from inference_worker.metrics import WorkerMetrics
from inference_worker.models.base import Model
from inference_worker.preparing import Guard, Pools, Preparing, Sources, Threads
from inference_worker.settings import WorkerSettings
from inference_worker.stamps import Stamps
from rpc.connection import BlockingConnection
from rpc.consumer import Consumer
from rpc.deliveries import Place
from rpc.errors import Cancelled
from rpc.keys import Keys
from rpc.messages import Failure
from rpc.settings import RedisSettings

Stage = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pipelines of a worker share."""

    name: str
    redis: RedisSettings
    settings: WorkerSettings
    metrics: WorkerMetrics
    clock: ServerClock
    stamps: Stamps
    gate: Gate
    references: References
    about: Callable[[], Mapping[str, str]]
    guard: Guard


class Pipeline:
    """The stages of one loaded model, and what the worker's lifecycle asks of them."""

    def __init__(self, model: Model, around: Surroundings) -> None:
        settings = around.settings
        self.model = model
        self._around = around
        self._metrics = around.metrics.of(model.name, model.ops)
        linger_s = settings.linger_ms / 1000 if model.overhead else 0.0
        policy = Policy(settings.budget_of(model.name) or model.budget, model.overhead, linger_s, settings.bulk_every)
        self._withdrawn: list[JobInHand] = []
        self._in_hand = InHand(policy, units_held=min(settings.units_held, model.held or settings.units_held))
        # threads of its own, because a query must not wait behind the decoding of a long recording
        self._threads = self._pool("prepare")
        self._fetchers = self._pool("fetch")
        # a consumer each, because a blocking read holds its connection, and a reply must not wait for it
        self._reader = self._consumer(block_s=BLOCK_MS / 1000)
        self._teller = self._consumer()
        self._looker = self._consumer()
        self._fetcher = self._consumer()
        stamps = around.stamps
        steps = Steps(around.gate, self._consumer().count)
        self._finishing = Finishing(
            model, self._in_hand, self._teller, self._metrics, stamps, steps, most_failed=settings.most_failed_jobs
        )
        self._keeping = Keeping(model, self._consumer(), self._metrics) if model.resumable else None
        self._inferring = Inferring(
            model, self._in_hand, self._metrics, stamps.stage(model.name), steps, self._keeping, self._finishing.tell
        )
        self._preparing = Preparing(
            model,
            self._in_hand,
            Pools(self._threads, self._fetchers),
            steps,
            Sources(self._fetcher.blob, around.references.read),
            self._metrics,
            self._keeping,
            self._finishing.put,
        )
        self._intake = Intake(
            self._reader,
            self._in_hand,
            model.ops,
            around.clock,
            self._metrics,
            batch_size=settings.batch_size,
            onward=Onward(self._start, self._finishing.put, self._known, self._tend),
        )
        self._metrics.weights(int(model.about().get("bytes", 0)))
        self._metrics.in_hand(lambda: float(len(self._in_hand.places())))
        around.metrics.free_bytes(model.where(), model.free)

    def _known(self) -> set[Place]:
        return self._in_hand.places() | self._finishing.places()

    def _start(self, jobs: Sequence[JobInHand]) -> None:
        self._preparing.start(jobs)
        if self.model.quick:
            self._inferring.catch_up()

    def _tend(self) -> None:
        if self.model.quick:
            self._preparing.catch_up()
            self._inferring.catch_up()

    def _pool(self, name: str) -> Threads:
        around = self._around
        stages = [around.stamps.stage(self.model.name) for _ in range(around.settings.prepare_threads)]
        return Threads(f"{name}-{self.model.name}", stages, around.guard)

    def _consumer(self, *, block_s: float = 0.0) -> Consumer:
        around = self._around
        keys = Keys(around.redis.prefix, self.model.name)
        connection = BlockingConnection(around.redis, block_s=block_s)
        most = {"max_payload_bytes": around.redis.max_payload_bytes, "max_input_bytes": around.redis.max_input_bytes}
        limits = replace(around.settings.limits, **most)
        return Consumer(connection, keys, around.name, limits, resumable=self.model.resumable)

    @property
    def reading(self) -> Stage:
        """The read stage, to be run in a thread of its own."""
        return self._intake.run

    @property
    def working(self) -> Mapping[str, Stage]:
        """The stages behind it by name, each to be run in a thread of its own."""
        stages = {"finish": self._finishing.run}
        if self._keeping:
            stages["keep"] = self._keeping.run
        return stages if self.model.quick else {**stages, "infer": self._inferring.run}

    @property
    def watched(self) -> Watched:
        """What the lookout needs to know."""
        return Watched(self._looker, self._in_hand.holds, self._about, self._gone)

    def _about(self) -> Mapping[str, str]:
        free = self.model.free()
        device = {"device": self.model.where()} | ({} if free is None else {"free_bytes": str(free)})
        weights = {"weights": self.model.weights} if self.model.weights else {}
        at_work = {"ops": ",".join(self.model.ops), "passes": str(self._inferring.passes)}
        return {**self._around.about(), **device, **weights, **self.model.about(), **at_work}

    def _gone(self, lost: Collection[Place], answered: Collection[Place]) -> None:
        if lost:
            taken_over = self._in_hand.drop(lost)
            self._metrics.lost_leases.inc(len(taken_over))
            self._in_hand.settled(taken_over)
        cancelled = self._in_hand.drop(answered)
        # a cancelled job still has to leave its lane; its reply is there, and the first reply stays
        failure = Failure.of(Cancelled("cancelled while it was in hand"))
        self._finishing.put(Refused(job.delivery, failure) for job in cancelled)
        self._in_hand.settled(cancelled)

    def stop_reading(self) -> None:
        """Take no more jobs."""
        self._intake.stop()

    def give_back(self, *, running: bool) -> int:
        """Release the jobs not started, or all; return how many. Those it could not, the next call gives back too."""
        self._withdrawn += self._in_hand.withdraw(running=running)
        self._teller.release([job.hold for job in self._withdrawn])
        jobs, self._withdrawn = self._withdrawn, []
        self._in_hand.settled(jobs)
        return len(jobs)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until every job in hand is settled."""
        return self._in_hand.wait_until_empty(timeout_s)

    def close(self) -> None:
        """End the prepare, infer and finish stages."""
        self._threads.close()
        self._fetchers.close()
        self._in_hand.close()
        self._finishing.stop()
        if self._keeping:
            self._keeping.stop()

    def leave(self) -> None:
        """Say good-bye to the other workers."""
        self._teller.leave()
