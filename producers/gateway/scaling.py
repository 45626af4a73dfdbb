"""Models whose requests are queued although no worker serves them: an autoscaler starts one for what waits. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, field

EVERY = "*"


@dataclass(frozen=True, slots=True)
class ScaleFromZero:
    """The models that may have no worker.

    Attributes:
        models: their names; `*` is every model that was ever served.
    """

    models: Collection[str] = field(default_factory=frozenset)

    def covers(self, model: str, *, known: bool) -> bool:
        """Return whether a model may have no worker; `known` says whether a worker ever served it."""
        return model in self.models or (known and EVERY in self.models)

    def __bool__(self) -> bool:
        """Return whether any model may have no worker."""
        return bool(self.models)
