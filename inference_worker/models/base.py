"""What a model promises the worker, and the worker a model. Knows neither Redis nor threads nor batching."""

import abc
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference_worker.memory import available_bytes
from rpc.errors import InvalidInput, ModelError, RpcError

__all__ = [
    "DeviceFault",
    "FollowUp",
    "InvalidInput",
    "Model",
    "OutOfMemory",
    "Outcome",
    "Runtime",
    "Unit",
    "failed_inputs",
]


class OutOfMemory(ModelError):
    """A unit did not fit into the device's memory, alone in its pass; its job is tried again after a while."""

    retryable = True


class DeviceFault(ModelError):
    """The device cannot be used by this process any more; the job is tried again by an engine started afresh."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and from what a model is to be loaded.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        source: a directory, file or hub id that replaces the model's own, or "".
        models_dir: a directory to look for weights in before the hub's cache, or "".
        dtype: "auto", "float32", "bfloat16" or "float16": what PyTorch models compute in.
        whisper_compute: "auto" or one of CTranslate2's compute types, such as "int8" or "float16".
        threads: threads of one forward pass on the CPU; 0 leaves it to the library.
        max_text_chars: the longest text `prepare` accepts, in characters.
        max_image_pixels: the largest picture `prepare` decodes, in pixels.
        max_audio_s: the longest recording `prepare` decodes, in seconds.
    """

    device: str = "cpu"
    source: str = ""
    models_dir: str = ""
    dtype: str = "auto"
    whisper_compute: str = "auto"
    threads: int = 0
    max_text_chars: int = 100_000
    max_image_pixels: int = 50_000_000
    max_audio_s: float = 14_400.0


@dataclass(frozen=True, slots=True)
class Unit:
    """The atom of batching: what one row of a forward pass needs.

    Attributes:
        data: the model's own.
        cost: its size in the model's own measure (tokens, pixels, frames); a pass is padded to its largest.
        group: only units of the same group may share a pass.
    """

    data: Any
    cost: int = 1
    group: Hashable = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """An output of `infer` that is not complete: its unit needs another pass, with `unit` in its place.

    The follow-up waits with the units of all jobs, and shares its pass with them. The model carries what it has so far
    in `unit`, and sees to it that follow-ups come to an end.
    """

    unit: Unit


Outcome = Sequence[Any] | RpcError
"""What became of one input: the outputs of its units in order, or the error it failed with."""


def _nobody_asks() -> None:
    """Do nothing."""


class Model(abc.ABC):
    """A model, in three stages and two preparations. Subclasses set the attributes and override what they need.

    The worker calls `load` and then `warm_up` once, before it reports ready; an exception in either stops it.
    Then `prepare` from several threads at a time, `infer` from one thread only, `finish` from another.

    Attributes:
        name: the model's name on the wire.
        weights: where its weights come from, for people: a source, "stand-in", or "" for its own.
        ops: what it offers.
        budget: the most cost one forward pass may hold, padding included.
        overhead: what a pass costs besides its units, in the same measure; the larger, the more padding, and
            the more waiting for company, is worth accepting to fill a pass. 0 for a model that gains nothing.
        quick: whether all it does takes microseconds; it is then run where jobs are read, by that one thread,
            because handing a job on would take longer than the job.
        partial: whether `finish` can say which inputs failed; if not, one failed input fails its job.
        held: the most inputs of a lane to hold unfinished, where they are large; 0 leaves it to the settings.
        resumable: whether outputs of units are kept beside their job, so that another worker can go on; see `keep`.
        going_on: what `infer` may call, in its own thread, between the parts of a long pass: none of them may take as
            long as an engine may go without progress. Set by the worker, once the model is loaded.
    """

    name: str = ""
    weights: str = ""
    ops: tuple[str, ...] = ()
    budget: int = 64
    overhead: int = 8
    quick: bool = False
    partial: bool = False
    held: int = 0
    resumable: bool = False
    going_on: Callable[[], None] = staticmethod(_nobody_asks)

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def where(self) -> str:
        """Return the device whose memory `needs` and `free` speak of: "cpu", "cuda:0"."""
        return "cpu"

    def free(self) -> int | None:
        """Return the memory in bytes that is free there now, or None if the system does not tell."""
        return available_bytes()

    def needs(self) -> int:
        """Return the memory in bytes that `load` will take on the device; raise if the weights are not there.

        Asked of all models before the first is loaded: what does not fit is refused then.
        """
        return 0

    def load(self) -> None:  # noqa: B027 (a model without weights has nothing to load)
        """Read the weights; raise on anything that would make later answers wrong."""

    def warm_up(self) -> None:  # noqa: B027 (see load)
        """Run once what the first caller should not pay for."""

    def prepare(self, op: str, given: Any, options: Mapping[str, Any]) -> list[Unit]:
        """Return the units of one input; raise `InvalidInput` naming what is wrong with it. Thread-safe."""
        del op, options
        return [Unit(given)]

    @abc.abstractmethod
    def infer(self, units: Sequence[Unit]) -> Sequence[Any]:
        """Return one output per unit: same length, same order. A unit that needs another pass gets a `FollowUp`.

        What it raises is told to the callers of the units it cannot do; `OutOfMemory` and `DeviceFault`, and what
        libraries raise in their place, have the job tried again.
        """

    def keep(self, unit: Unit, output: Any) -> Any:
        """Return an output as plain data, to be kept beside the job until that is done. Of resumable models."""
        del unit
        return output

    def resume(self, unit: Unit, kept: Any) -> Any | None:
        """Return the output of a unit from what another worker kept of it; None if it does not fit this unit.

        Called before any unit of the same input is run.
        """
        del unit
        return kept

    def finish(self, op: str, outcomes: Sequence[Outcome]) -> Mapping[str, Any]:
        """Return the result of a job from what became of its inputs, in their order.

        Without `partial` no outcome is an error. The result may hold numpy arrays.
        """
        del op
        flat = [outcome if isinstance(outcome, RpcError) else list(outcome) for outcome in outcomes]
        return {"outputs": [item[0] if isinstance(item, list) and len(item) == 1 else item for item in flat]}

    def about(self) -> Mapping[str, str]:
        """Return what callers may know: "dimension" of vectors, "bytes" of weights, and the like."""
        return {}


def failed_inputs(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return `{"index", "code", "message"}` of each input that failed."""
    return [
        {"index": index, "code": outcome.code, "message": str(outcome)}
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, RpcError)
    ]
