"""A worker's `/metrics` as its callers read it: fetched from the port it announces, summed up by name and labels."""

import http.client
import operator
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from rpc.errors import Unavailable

TIMEOUT_S = 5.0

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the page."""

    name: str
    labels: Mapping[str, str]
    value: float


def scrape(address: str) -> list[Sample]:
    """Return the samples of the worker at `host:port`; raise `Unavailable` if it does not answer."""
    link = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        link.request("GET", "/metrics")
        text = link.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"no metrics at {address}: {error}") from error
    finally:
        link.close()
    return [_sample(line) for line in text.splitlines() if line and not line.startswith("#")]


def _sample(line: str) -> Sample:
    found = _SAMPLE.match(line)
    if found is None:
        raise Unavailable(f"this is no line of metrics: {line!r}")
    return Sample(found["name"], dict(_LABEL.findall(found["labels"] or "")), float(found["value"]))


@dataclass(frozen=True, slots=True)
class Passes:
    """The forward passes of one model so far, or between two looks."""

    passes: float = 0.0
    units: float = 0.0
    cost: float = 0.0
    padded_cost: float = 0.0

    @classmethod
    def at(cls, address: str, model: str) -> "Passes":
        """Return what the worker at `host:port` has run of a model."""
        sums = {sample.name: sample.value for sample in scrape(address) if sample.labels == {"model": model}}
        names = ("batch_units_count", "batch_units_sum", "batch_cost_total", "batch_padded_cost_total")
        return cls(*(sums.get(f"penstock_{name}", 0.0) for name in names))

    def __add__(self, other: "Passes") -> "Passes":
        """Return both together."""
        return Passes(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, earlier: "Passes") -> "Passes":
        """Return what was run since."""
        return Passes(*map(operator.sub, astuple(self), astuple(earlier)))

    @property
    def mean_units(self) -> float:
        """Units in a pass."""
        return self.units / max(1.0, self.passes)

    @property
    def padding(self) -> float:
        """Padded to real cost."""
        return self.padded_cost / max(1.0, self.cost)
