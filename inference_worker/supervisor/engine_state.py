"""What a worker tells people and metrics of its engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_worker.engine_plan import EngineSpec, name_of
from inference_worker.supervisor.engine_process import EngineProcess


@dataclass(frozen=True, slots=True)
class EngineState:
    """One engine of the plan at one moment.

    Attributes:
        process: its process; None if it has ended and is not replaced yet.
        restarts: how many were started in place of another.
        given_up: whether no more will be.
    """

    spec: EngineSpec
    process: EngineProcess | None
    restarts: int
    given_up: bool

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.process is not None and self.process.ready

    def as_json(self) -> dict[str, Any]:
        """Return it for people."""
        process = self.process
        running = {"name": process.name, "pid": process.pid} if process else {}
        models = sorted(process.models) if process and process.models else [*map(name_of, self.spec.models)]
        shown = {**running, "ready": self.ready, "device": self.spec.device, "models": models}
        return {**shown, "restarts": self.restarts, **({"given_up": True} if self.given_up else {})}


def count_engines(states: Sequence[EngineState]) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return how many engines serve, and how many were replaced, by device and models."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for state in states:
        place = (state.spec.device, state.spec.label)
        ready, restarts = counts.get(place, (0, 0))
        counts[place] = (ready + state.ready, restarts + state.restarts)
    return counts
