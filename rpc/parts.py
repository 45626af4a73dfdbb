"""What is kept of a long job while it runs: its finished parts, by name, and how many there will be.

One hash per job, whose field names alone tell how far the job is: `units:<input>:<count>` for each input prepared,
`unit:<input>:<place>` for each unit done, whose value is what the model kept of its output.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from rpc.calls import Call, Command, Tolerant, script
from rpc.codec import pack, unpack
from rpc.errors import InvalidInput
from rpc.keys import GROUP, LANES, Keys, check_job_id, check_model
from rpc.messages import JOB_MARGIN_MS

UNIT, UNITS = "unit", "units"


State = Literal["unknown", "waiting", "running", "finished"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        state: "unknown" if Redis knows neither the job nor a reply; "finished" once there is a reply, whichever.
        done: units done, such as 30 s windows of a recording, of a job whose model keeps them while it runs.
        units: how many there will be, of the inputs prepared by now; 0 where that is not told.
    """

    state: State
    done: int = 0
    units: int = 0

    @property
    def fraction(self) -> float | None:
        """How much of the job is done, from 0 to 1; None where that is not told."""
        if self.state == "finished":
            return 1.0
        return self.done / self.units if self.units else None


@dataclass(frozen=True, slots=True)
class Part:
    """A finished unit of a job: of which input, its place among that input's units, and what is kept of it."""

    given: int
    place: int
    content: Any


def total_field(given: int, units: int) -> tuple[str, bytes]:
    """Return the field that says how many units an input has."""
    return f"{UNITS}:{given}:{units}", b""


def part_field(part: Part) -> tuple[str, bytes]:
    """Return the field of a finished unit."""
    return f"{UNIT}:{part.given}:{part.place}", pack(part.content)


def keep(keys: Keys, job_id: str, fields: Iterable[tuple[str, bytes]], *, life_ms: int = JOB_MARGIN_MS) -> Command:
    """Return the command that keeps parts beside their job, as long as that is known and at least for so long."""
    flat = [item for field in fields for item in field]
    return script("keep", (keys.parts(job_id), keys.job(job_id)), (life_ms, *flat))


def kept(keys: Keys, job_id: str, given: int) -> Call[Mapping[int, Any]]:
    """Return what is kept of the units of one input, by their place; what cannot be read is left out."""
    (flat,) = yield [("HGETALL", keys.parts(job_id))]
    found: dict[int, Any] = {}
    for name, content in zip(flat[::2], flat[1::2], strict=True):
        kind, of_input, place = name.decode().split(":")
        if kind == UNIT and int(of_input) == given:
            try:
                found[int(place)] = unpack(content)
            except InvalidInput:
                continue
    return found


def kept_from(keys: Keys, job_id: str, given: int, *, start: int, count: int) -> Call[list[Any]]:
    """Return what is kept of the units of one input from one on, up to the first that is not there."""
    names = [f"{UNIT}:{given}:{place}" for place in range(start, start + count)]
    (contents,) = yield [("HMGET", keys.parts(job_id), *names)]
    return [unpack(content) for content in takewhile(lambda content: content is not None, contents)]


def progress(prefix: str, model: str, job_id: str) -> Call[Progress]:
    """Return how far a job is."""
    keys = Keys(prefix, check_model(model))
    answered, entry, names = yield [
        ("EXISTS", keys.result(check_job_id(job_id))),
        ("GET", keys.job(job_id)),
        ("HKEYS", keys.parts(job_id)),
    ]
    if answered:
        return Progress("finished")
    if entry is None:
        return Progress("unknown")
    holders = yield Tolerant([("XPENDING", keys.stream(lane), GROUP, entry, entry, 1) for lane in LANES])
    done, units = counted(names)
    return Progress("running" if any(map(_held, holders)) else "waiting", done, units)


def _held(pending: Any) -> bool:
    """Return whether a worker has the entry; names with a tilde are of those that wait for one."""
    return not isinstance(pending, Exception) and any(not holder.startswith(b"~") for _, holder, _, _ in pending)


def counted(names: Iterable[bytes]) -> tuple[int, int]:
    """Return how many units are done, of how many, by the names of the fields."""
    split = [name.decode().split(":") for name in names]
    done = sum(kind == UNIT for kind, _, _ in split)
    return done, sum(int(last) for kind, _, last in split if kind == UNITS)
