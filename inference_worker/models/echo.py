"""A model without weights: it gives back what it is given. For smoke runs, tests and measuring the way itself."""

from collections.abc import Sequence
from typing import Any

from inference_worker.models.base import Model, Unit


class Echo(Model):
    """op `echo`: any inputs -> `{"outputs": [the inputs, unchanged]}`."""

    name = "echo"
    ops = ("echo",)
    budget = 256
    overhead = 0
    quick = True

    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return the inputs."""
        return [unit.data for unit in units]
