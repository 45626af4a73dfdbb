"""Whether models fit into the memory of their devices together, whichever engines load them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

GIGABYTE = 1e9

LOAD = ""
"""The answer to an engine that may load; any other text is the reason why it may not."""

MEASURE_AGAIN = "measure again"
"""The answer to an engine whose device was being filled when it measured what is free."""


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """The memory in bytes that a model takes on a device."""

    name: str
    device: str
    required: int


@dataclass(frozen=True, slots=True)
class Demand:
    """The memory that the models of an engine take, and the free memory of their devices, None where it is unknown."""

    models: Sequence[ModelDemand]
    free: Mapping[str, int | None]

    @property
    def devices(self) -> frozenset[str]:
        """The devices of the models."""
        return frozenset(model.device for model in self.models)

    def as_json(self) -> dict[str, Any]:
        """Return it as it travels between processes."""
        models = [[model.name, model.device, model.required] for model in self.models]
        return {"models": models, "free": dict(self.free)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what travelled."""
        return cls([ModelDemand(*model) for model in content["models"]], content["free"])


def misfit(demands: Sequence[Demand]) -> str:
    """Return why models cannot be loaded together, by the first device that is too small; "" if they can."""
    models = [model for demand in demands for model in demand.models]
    for device in sorted({model.device for model in models}):
        there = [model for model in models if model.device == device]
        told = [demand.free[device] for demand in demands if device in demand.free]
        required = sum(model.required for model in there)
        free = min((size for size in told if size is not None), default=None)
        if free is not None and required > free:
            each = ", ".join(f"{model.name} {model.required / GIGABYTE:.1f}" for model in there)
            return (
                f"the models ({each}) need {required / GIGABYTE:.1f} GB on {device}, {free / GIGABYTE:.1f} GB are free;"
                " serve fewer of them, or set PENSTOCK_MEMORY_CHECK=false to try all the same"
            )
    return ""
