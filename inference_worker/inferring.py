"""The infer stage: one thread per model puts batches through the model, and finds the culprit when one fails."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from inference_worker.batching import Batch
from inference_worker.inhand import InHand
from inference_worker.isolation import Steps
from inference_worker.job import JobInHand
from inference_worker.keeping import Keeping
from inference_worker.metrics import ModelMetrics
from inference_worker.models.base import DeviceFault, Model, Unit
from inference_worker.outcome import blame, expiry
from inference_worker.stamps import Stage
from rpc.errors import ModelError

log = logging.getLogger(__name__)


class Inferring:
    """Runs batches and passes on the jobs that are done.

    Attributes:
        passes: how many batches were run.
    """

    def __init__(
        self,
        model: Model,
        in_hand: InHand,
        metrics: ModelMetrics,
        stage: Stage,
        steps: Steps,
        keeping: Keeping | None,
        done: Callable[[Sequence[JobInHand]], None],
    ) -> None:
        self.passes = 0
        self._model = model
        self._in_hand = in_hand
        self._metrics = metrics
        self._stage = stage
        self._steps = steps
        self._keeping = keeping
        self._done = done
        model.going_on = self._go_on

    def run(self) -> None:
        """Take one batch after another, until the jobs in hand are closed."""
        while (batch := self._in_hand.next_batch()) is not None:
            self._run(batch)

    def catch_up(self) -> None:
        """Take batches until no unit waits."""
        while (batch := self._in_hand.batch_now()) is not None:
            self._run(batch)

    def _run(self, batch: Batch[JobInHand]) -> None:
        """Run a batch without the units of jobs that have waited too long: those are told so instead."""
        due = Batch([ticket for ticket in batch.tickets if ticket.job.started])
        late = Batch([ticket for ticket in batch.tickets if not ticket.job.started])
        now = time.monotonic()
        errors = [expiry(ticket.job.job, ticket.job.waited_ms(now)) for ticket in late.tickets]
        finished = self._in_hand.record(late, errors, 0.0)
        if due.tickets:
            outputs, took_s, done = self._infer(due)
            finished += done
            self.passes += 1
        if finished:
            self._done(finished)
        if due.tickets:
            self._keep(due, outputs)
            self._metrics.batch(due, took_s)

    def _infer(self, batch: Batch[JobInHand]) -> tuple[list[Any], float, list[JobInHand]]:
        """Return the outputs of a batch, how long its pass took, and the jobs that are done with it.

        What a suspect has done is kept at once.
        """
        jobs = list(dict.fromkeys(ticket.job for ticket in batch.tickets))
        with self._steps.step(self._stage, jobs) as step:
            started = time.monotonic()
            outputs = infer_or_blame(self._model, [ticket.unit for ticket in batch.tickets], self._go_on)
            took_s = time.monotonic() - started
            if self._keeping and jobs[0].delivery.suspect:
                self._keeping.keep_now(self._keeping.parts(batch, outputs))
            done = self._in_hand.record(batch, outputs, took_s)
            step.continues = bool(done)
        return outputs, took_s, done

    def _keep(self, batch: Batch[JobInHand], outputs: Sequence[Any]) -> None:
        """Have outputs kept, after the replies, which somebody waits for."""
        if self._keeping and not batch.tickets[0].job.delivery.suspect:
            with self._steps.aside():
                parts = self._keeping.parts(batch, outputs)
            self._keeping.put(parts)

    def _go_on(self) -> None:
        """Say that a part of the pass is done."""
        self._stage.go_on(time.monotonic())


def infer_or_blame(model: Model, units: Sequence[Unit], going_on: Callable[[], None] = lambda: None) -> list[Any]:
    """Return one output per unit; a unit the model fails on gets the error, its neighbours their outputs.

    A batch that fails is split in halves until the culprit stands alone, but for a fault of the device, which would
    fail all of them. `going_on` is called after each pass that failed.
    """
    try:
        return _infer(model, units)
    except Exception as error:  # noqa: BLE001 (whatever a model raises is told to the caller of that unit)
        going_on()
        blamed = blame(error)
        if len(units) == 1 or isinstance(blamed, DeviceFault):
            log.warning("infer of %s failed on %d units: %s", model.name, len(units), error)
            return [blamed] * len(units)
    half = len(units) // 2
    return infer_or_blame(model, units[:half], going_on) + infer_or_blame(model, units[half:], going_on)


def _infer(model: Model, units: Sequence[Unit]) -> list[Any]:
    outputs = list(model.infer(units))
    if len(outputs) != len(units):
        raise ModelError(f"infer of {model.name} gave {len(outputs)} outputs for {len(units)} units")
    return outputs
