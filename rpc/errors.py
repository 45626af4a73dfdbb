"""What can go wrong with a job, and whose fault it is.

Each class carries the `code` that crosses the wire in an error reply, whether sending the same job again can
help (`retryable`), and who has to act (`fault`). The code is the contract; messages are for people.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

Fault = Literal["caller", "server", "nobody"]


class RpcError(Exception):
    """The root of everything this project raises to its users.

    Attributes:
        public: what to tell those who are to learn nothing of the server's address; "" where the message will do.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = "server"
    public: str = ""


class InvalidInput(RpcError):
    """The job or one of its inputs cannot be served as it is; the message names what is wrong."""

    code = "invalid_input"
    fault = "caller"


class UnknownModel(RpcError):
    """The name is malformed, the model's workers lack the op, or a worker is required and none ever served it."""

    code = "unknown_model"
    fault = "caller"


class QueueFull(RpcError):
    """The lane holds as many jobs as its bound allows; nothing was queued."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Timeout(RpcError):
    """The caller stopped waiting; the job goes on and `job_id` still fetches its result."""

    code = "timeout"
    retryable = True
    fault = "nobody"

    def __init__(self, message: str, *, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class Expired(RpcError):
    """The job was still waiting when its time to live ended; it was not started."""

    code = "expired"
    retryable = True
    fault = "nobody"


class Cancelled(RpcError):
    """Somebody cancelled the job before it was done."""

    code = "cancelled"
    fault = "caller"


class ModelError(RpcError):
    """The model failed on this job's units although the input was well formed."""

    code = "model_error"


class DeadLettered(RpcError):
    """The job was given up on after too many deliveries; it lies in the model's dead letter."""

    code = "dead_lettered"


class JobLost(RpcError):
    """Redis holds neither the job nor a result (its data was lost or expired); submitting again is safe."""

    code = "job_lost"
    retryable = True


class Unavailable(RpcError):
    """Redis cannot be reached or does not serve; nothing is known to have happened."""

    code = "unavailable"
    retryable = True


class PartialFailure(RpcError):
    """Some inputs of a list call failed. The others are in `vectors`, whose failed rows are NaN.

    Attributes:
        vectors: float32 (n, d), in the order of the call; None where dense vectors were not asked for.
        failed: input index -> its error.
        embeddings: all that was asked for, of a call with `outputs`; else None.
    """

    code = "partial_failure"
    fault = "caller"

    def __init__(self, message: str, *, vectors: Any, failed: Mapping[int, RpcError], embeddings: Any = None) -> None:
        super().__init__(message)
        self.vectors = vectors
        self.embeddings = embeddings
        self.failed = dict(failed)


BY_CODE: dict[str, type[RpcError]] = {
    kind.code: kind
    for kind in (
        InvalidInput,
        UnknownModel,
        QueueFull,
        Timeout,
        Expired,
        Cancelled,
        ModelError,
        DeadLettered,
        JobLost,
        Unavailable,
    )
}


def from_code(code: object, message: object) -> RpcError:
    """Return the error of a reply; a code of a newer version, or one that is no str, becomes a `ModelError`."""
    kind = BY_CODE.get(code) if isinstance(code, str) else None
    return kind(str(message)) if kind else ModelError(f"{code}: {message}")
