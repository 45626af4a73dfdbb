"""What a job is told: refused before it starts, or concluded once its inputs have their outcomes. Pure."""

from collections.abc import Collection, Sequence

from inference_worker.models.base import DeviceFault, Model, Outcome, OutOfMemory
from rpc.deliveries import Delivery
from rpc.errors import DeadLettered, Expired, InvalidInput, ModelError, RpcError, Unavailable, UnknownModel
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


def verdict(delivery: Delivery) -> Failure:
    """Return what the callers of a job are told that was handed out too often."""
    text = f"given up after {delivery.deliveries} deliveries, none of which was finished"
    last = f"; the last engine that had it ended: {delivery.died_of}" if delivery.died_of else ""
    return Failure.of(DeadLettered(text + last))


def worth_asking(delivery: Delivery, waited_ms: float) -> bool:
    """Return whether a job may have been cancelled while it waited."""
    return delivery.suspect or waited_ms >= OLD_ENOUGH_TO_BE_ANSWERED_MS


NO_MEMORY = ("out of memory", "cannot allocate memory", "OutOfMemoryError", "MemoryError")
BROKEN = ("CUDA error", "CUDA failed", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "CUDNN_STATUS")
"""How PyTorch, CTranslate2 and Python itself say so; their classes differ between versions, their words hardly."""


def blame(error: Exception) -> RpcError:
    """Return the error of an input or unit on which the model failed when it stood alone, without its traceback.

    The frames of that would keep what was half decoded or computed in memory until the job is answered.
    """
    if isinstance(error, RpcError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    text = f"{type(error).__name__}: {error}"
    if any(sign in text for sign in NO_MEMORY):
        return OutOfMemory(text)
    return DeviceFault(text) if any(sign in text for sign in BROKEN) else ModelError(text)


PASSING = (OutOfMemory, DeviceFault, Unavailable)
"""What may be otherwise a while later: memory, a device, and where a referred file lies."""


def passing(outcomes: Sequence[Outcome]) -> RpcError | None:
    """Return the error among what became of a job's inputs that may pass if the job is tried again, or None."""
    return next((outcome for outcome in outcomes if isinstance(outcome, PASSING)), None)


def delay_s(deliveries: int) -> float:
    """Return how long a job is put off that was handed out so often: 1 s, doubling, at most half a minute."""
    return min(30.0, 2.0 ** (deliveries - 1))


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
