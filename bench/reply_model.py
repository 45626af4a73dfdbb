"""The model of the echo benchmark: whatever comes in, 4 KB go out."""

from collections.abc import Sequence

from inference_worker.models.base import Model, Unit

REPLY = b"r" * 4096


class Reply(Model):
    """op `reply`: any input -> 4 KB."""

    name = "bench"
    ops = ("reply",)
    budget = 256
    overhead = 0
    quick = True

    def infer(self, units: Sequence[Unit]) -> Sequence[bytes]:
        """Return the same for every unit."""
        return [REPLY for _ in units]
