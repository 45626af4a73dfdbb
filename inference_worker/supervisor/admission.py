"""Which engines may load their models now, so that those of one device fit into its memory together. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_worker.memory_demand import LOAD, MEASURE_AGAIN, Demand, misfit


@dataclass(slots=True)
class Admission:
    """Engines on their way from their start to their models.

    At the start of the worker all of them are admitted together, once each has said what its models take. Later one is
    admitted when no other is loading on its devices.
    """

    expected: dict[str, None] = field(default_factory=dict)
    _asking: dict[str, Demand] = field(default_factory=dict)
    _loading: dict[str, Demand] = field(default_factory=dict)
    _delayed: set[str] = field(default_factory=set)
    _first: bool = True

    def start(self, engine: str) -> None:
        """Note an engine that was started."""
        if self._first:
            self.expected[engine] = None

    def ask(self, engine: str, demand: Demand) -> None:
        """Note what the models of an engine take."""
        self._asking[engine] = demand

    def finish(self, engine: str) -> None:
        """Note that an engine is ready, or has ended."""
        self.expected.pop(engine, None)
        self._loading.pop(engine, None)
        self._asking.pop(engine, None)
        self._delayed.discard(engine)

    def answers(self) -> Mapping[str, str]:
        """Return what to answer to which engines now."""
        if self._first and not self.expected.keys() <= self._asking.keys():
            return {}
        if self._first and self._asking:
            self._first = False
            # in the order they were started, which is that of the settings
            refusal = misfit([self._asking[engine] for engine in self.expected])
            return {engine: self._answer(engine, refusal) for engine in self.expected}
        answers: dict[str, str] = {}
        for engine, demand in list(self._asking.items()):
            if any(demand.devices & loading.devices for loading in self._loading.values()):
                self._delayed.add(engine)
            elif engine in self._delayed:
                self._delayed.discard(engine)
                del self._asking[engine]
                answers[engine] = MEASURE_AGAIN
            else:
                answers[engine] = self._answer(engine, misfit([demand]))
        return answers

    def _answer(self, engine: str, refusal: str) -> str:
        demand = self._asking.pop(engine)
        if not refusal:
            self._loading[engine] = demand
        return refusal or LOAD
