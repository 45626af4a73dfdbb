"""What a job is told: refused before it starts, or concluded once its inputs have their outcomes. Pure."""

from collections.abc import Collection, Sequence

from inference_worker.models.base import Model, Outcome
from rpc.consumer import Delivery
from rpc.errors import DeadLettered, Expired, InvalidInput, ModelError, RpcError, UnknownModel
from rpc.messages import HOUR_MS, Failure, Job, Meta, Reply, Success

OLD_ENOUGH_TO_BE_ANSWERED_MS = 50
"""A job read within this time of its submission is not looked up for a cancellation first: it saves a round trip
where it would be felt, and a cancellation that quick is noticed by the lease renewal all the same."""


def refusal(job: Job, ops: Collection[str], waited_ms: float) -> RpcError | None:
    """Return why a job that was just read is not started, or None."""
    if job.op not in ops:
        return UnknownModel(f"{job.model} has no op {job.op!r}; it offers {', '.join(sorted(ops))}")
    return expiry(job, waited_ms)


def expiry(job: Job, waited_ms: float) -> RpcError | None:
    """Return that a job waited longer than it may, or None."""
    if waited_ms > job.ttl_ms:
        return Expired(f"waited {waited_ms:.0f} ms, and may not be started after {job.ttl_ms} ms")
    return None


def verdict(delivery: Delivery, last_words: str = "") -> Failure:
    """Return what the callers of a job are told that was handed out too often."""
    text = f"given up after {delivery.deliveries} deliveries, none of which was finished"
    return Failure.of(DeadLettered(text + (f": {last_words}" if last_words else "")))


def worth_asking(delivery: Delivery, waited_ms: float) -> bool:
    """Return whether a job may have been cancelled while it waited."""
    return delivery.suspect or waited_ms >= OLD_ENOUGH_TO_BE_ANSWERED_MS


def blame(error: Exception) -> RpcError:
    """Return the error of a unit on which the model failed when it stood alone."""
    return error if isinstance(error, RpcError) else ModelError(f"{type(error).__name__}: {error}")


def conclude(model: Model, op: str, outcomes: Sequence[Outcome], meta: Meta) -> Reply:
    """Return the reply to a job whose inputs all have their outcomes."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, RpcError)]
    whole = next((error for error in errors if isinstance(error, Expired)), None)
    if whole or (errors and (not model.partial or len(outcomes) == 1)):
        return Failure.of(_named(whole or errors[0], outcomes))
    try:
        return Success(model.finish(op, outcomes), meta)
    except Exception as error:  # noqa: BLE001 (a model's fault must not end the stage that tells of it)
        return Failure.of(blame(error))


def _named(error: RpcError, outcomes: Sequence[Outcome]) -> RpcError:
    """Return the error, with the number of its input if there are several."""
    if len(outcomes) == 1:
        return error
    index = next(i for i, outcome in enumerate(outcomes) if outcome is error)
    return type(error)(f"input {index}: {error}") if isinstance(error, InvalidInput | ModelError) else error


def kept_ms(job: Job, reply: Reply) -> int:
    """Return how long the reply is kept; the marker of an unkept success as long as the job could be sent again."""
    if job.keep_ms:
        return job.keep_ms
    return job.ttl_ms if isinstance(reply, Success) else HOUR_MS


def stored(job: Job, reply: Reply) -> Reply:
    """Return what is stored of a reply: of a success nobody wants to fetch, only that it was one."""
    return Success(None, reply.meta) if isinstance(reply, Success) and job.keep_ms == 0 else reply
