"""Whether there is use in an engine: not without its device, nor if it does nothing but fail its jobs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference_worker.models.base import DeviceFault
from rpc.errors import ModelError, RpcError
from rpc.messages import Failure, Reply, Success


@dataclass(slots=True)
class Usefulness:
    """What has become of an engine's jobs of one model lately.

    Attributes:
        most_failed: after so many jobs in a row that failed there is no use in going on; 0: there always is.
        failed: how many have failed since one was done.
        lost: why there is no use in going on, or "".
    """

    most_failed: int
    failed: int = 0
    lost: str = ""

    def answered(self, replies: Sequence[Reply]) -> None:
        """Note the replies to jobs that were told together: one that was done makes up for all that failed."""
        done = any(isinstance(reply, Success) for reply in replies)
        # an input that is bad says nothing about the engine
        failed = sum(isinstance(reply, Failure) and reply.code == ModelError.code for reply in replies)
        self.failed = 0 if done else self.failed + failed
        if self.most_failed and self.failed >= self.most_failed:
            self.lost = f"{self.failed} jobs in a row failed, none was done in between"

    def met(self, error: RpcError | None) -> None:
        """Note on what a job failed that may pass."""
        if isinstance(error, DeviceFault):
            self.lost = str(error)
