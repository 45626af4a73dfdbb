"""What passes between a worker and the lanes of a model, as values: deliveries, holds, settlements, limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from rpc.entries import Malformed
from rpc.keys import BEGUN, DIED, RELEASED, SUSPECT, Lane
from rpc.messages import JOB_MARGIN_MS, Job

Place = tuple[Lane, str]
"""Which entry of which lane: the lanes number their entries apart, so an id alone may mean two."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the workers of a model publish for the scripts to read.

    Attributes:
        max_jobs: the bound of each lane.
        lease_ms: how long an entry may go unrenewed before another worker takes it over.
        max_deliveries: how often a job is handed out before it goes to the dead letter.
        max_payload_bytes: the largest payload accepted from callers that do not check it themselves.
        max_input_bytes: the largest blob accepted from them.
    """

    max_jobs: int = 100_000
    lease_ms: int = 30_000
    max_deliveries: int = 3
    max_payload_bytes: int = 8 * 1024 * 1024
    max_input_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """A stream entry in this worker's hands: a job, or why it is none.

    `deliveries` is the server's count of it: 1 for an entry that nothing is held against; for a suspect 0 where nothing
    is held against it yet, else one more than the deliveries that ended its engine while it was at work alone.
    """

    entry_id: str
    lane: Lane
    deliveries: int
    job: Job | Malformed
    fields: Sequence[bytes]
    left_by: str = ""

    @property
    def died_of(self) -> str:
        """How the engine ended that had it before, if its supervisor told; else ""."""
        return self.left_by.removeprefix(DIED) if self.left_by.startswith(DIED) else ""

    @property
    def place(self) -> Place:
        """Which entry it is."""
        return self.lane, self.entry_id

    @property
    def job_id(self) -> str | None:
        """Whom to answer; None if the entry does not say."""
        return self.job.job_id if isinstance(self.job, Malformed) else self.job.id

    @property
    def blobs(self) -> list[int]:
        """The numbers of the blobs that belong to it; an entry that cannot be read does not tell."""
        return [] if isinstance(self.job, Malformed) else self.job.blobs

    @property
    def op(self) -> str:
        """What it asks for; "" if it cannot be read."""
        return "" if isinstance(self.job, Malformed) else self.job.op

    @property
    def submitted_ms(self) -> int:
        """Server time at which the job was queued."""
        return int(self.entry_id.partition("-")[0])

    @property
    def suspect(self) -> bool:
        """Whether an earlier worker had it and did not finish it."""
        return self.deliveries != 1

    @property
    def attempts(self) -> int:
        """How many deliveries it had that count, this one included."""
        return self.deliveries or 2

    @property
    def begun(self) -> bool:
        """Whether its job may have begun in time, in the hands of an earlier worker: then it is not late."""
        return self.suspect or self.left_by == BEGUN


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken over or found again; the `dead` are owned for the verdict only; `more` suspects wait."""

    taken: list[Delivery]
    dead: list[Delivery]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a job: its encoded reply, and how long to keep it.

    Attributes:
        whole: the reply that goes to the job's sink, where that is not the one that is kept.
        failed: whether the reply is an error: then it counts only from who holds the entry.
    """

    delivery: Delivery
    reply: bytes
    keep_ms: int
    whole: bytes = b""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A job in hand, to be looked after.

    Attributes:
        begun: whether it is not late any more, whoever gets it next.
        count: what the server is to count of a suspect that is given back; None of any other job.
        life_ms: how long its keys live after it was last looked after.
    """

    entry_id: str
    lane: Lane
    job_id: str
    blobs: Sequence[int] = ()
    begun: bool = False
    count: int | None = None
    life_ms: int = JOB_MARGIN_MS

    @property
    def released_to(self) -> str:
        """The name that holds the entry once it is given back."""
        if self.count is not None:
            return SUSPECT
        return BEGUN if self.begun else RELEASED

    @property
    def place(self) -> Place:
        """Which entry it is."""
        return self.lane, self.entry_id


@dataclass(frozen=True, slots=True)
class Look:
    """The server's clock in ms, and which entries were lost to another worker or answered by somebody."""

    now_ms: int
    lost: frozenset[Place]
    answered: frozenset[Place]
