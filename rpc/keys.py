"""Every Redis key, channel and group name, and nothing about what is done with them.

All keys of one model share the hash tag `{model}`, so that each script touches one slot of a cluster.
"""

import re
from dataclasses import dataclass
from typing import Literal

from rpc.errors import InvalidInput, UnknownModel

Lane = Literal["interactive", "bulk"]

LANES: tuple[Lane, ...] = ("interactive", "bulk")
"""The lanes of a model, the one that goes first in front."""

GROUP = "workers"
"""The consumer group on every lane, created at id 0 so that jobs sent before the first worker count."""

RELAY = "relay"
"""The consumer group on every sink."""

NOBODY = "~"
"""The beginning of the names of consumers that are no workers: what they hold waits for one."""

RELEASED = "~free"
"""The consumer that holds entries a draining worker gave back; any worker may claim them at once."""

BEGUN = "~begun"
"""The consumer that holds entries given back whose job may have begun in time: that one is not late any more."""

SUSPECT = "~suspect"
"""The consumer that holds entries given back whose job has to run alone; its count stays."""

PUT_OFF = "~later"
"""The consumer that holds entries whose worker asked for another try after a while."""

DIED = "~died:"
"""The beginning of the names of consumers that hold what engines worked on when they ended; the rest says how."""

_MODEL = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ENTRY_ID = re.compile(r"\d{1,19}-\d{1,19}")
_JOB_ID = _OP = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_SINK = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _text(name: object) -> str:
    return name if isinstance(name, str) else ""


def check_model(model: str) -> str:
    """Return the model's name, or raise `UnknownModel` if no key could be made of it."""
    if not _MODEL.fullmatch(_text(model)):
        raise UnknownModel(f"model name {model!r} is not 1 to 128 of the characters A-Z a-z 0-9 _ . -")
    return model


def check_job_id(job_id: str) -> str:
    """Return the job id, or raise `InvalidInput` if no key could be made of it."""
    if not _JOB_ID.fullmatch(_text(job_id)):
        raise InvalidInput(f"job id {job_id!r} is not 1 to 128 of the characters A-Z a-z 0-9 _ . : -")
    return job_id


def check_op(op: str) -> str:
    """Return the name of an op, or raise `InvalidInput` if none could have it."""
    if not _OP.fullmatch(_text(op)):
        raise InvalidInput(f"op {op!r} is not 1 to 128 of the characters A-Z a-z 0-9 _ . : -")
    return op


def check_entry_id(entry_id: str) -> str:
    """Return the id of a stream entry, or raise `InvalidInput` if it is none."""
    if not _ENTRY_ID.fullmatch(_text(entry_id)):
        raise InvalidInput(f"{entry_id!r} is no id of a stream entry, such as 1700000000000-0")
    return entry_id


def check_sink(sink: str) -> str:
    """Return the name of a sink, or raise `InvalidInput` if no key could be made of it."""
    if not _SINK.fullmatch(_text(sink)):
        raise InvalidInput(f"sink {sink!r} is not 1 to 64 of the characters A-Z a-z 0-9 _ . -")
    return sink


def check_lane(lane: str) -> Lane:
    """Return the lane, or raise `InvalidInput` if there is none of that name."""
    for known in LANES:
        if lane == known:
            return known
    raise InvalidInput(f"unknown lane {lane!r}; expected one of {', '.join(LANES)}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one model under one prefix."""

    prefix: str
    model: str

    def _key(self, rest: str) -> str:
        return f"{self.prefix}:{{{self.model}}}:{rest}"

    def stream(self, lane: Lane) -> str:
        """Stream: the lane's jobs; XLEN is waiting plus running."""
        return self._key(lane)

    def result(self, job_id: str) -> str:
        """String, PX: the reply; also the tombstone of a job cancelled or expired."""
        return self._key(f"result:{job_id}")

    def job(self, job_id: str) -> str:
        """String, PX: the entry id; makes a submit safe to send twice."""
        return self._key(f"job:{job_id}")

    def worker(self, consumer: str) -> str:
        """Hash, PX: what a worker says of itself."""
        return self._key(f"worker:{consumer}")

    def blob(self, job_id: str, number: int) -> str:
        """String, PX: an input too large for the entry; goes with the job."""
        return self._key(f"blob:{job_id}:{number}")

    def upload(self, submit: str, job_id: str, number: int) -> str:
        """String, PX: an input on its way to its blob key, written by one submit alone."""
        return self._key(f"upload:{submit}:{job_id}:{number}")

    def parts(self, job_id: str) -> str:
        """Hash, PX: finished units of a long job, so that another worker can go on; goes with the job."""
        return self._key(f"parts:{job_id}")

    @property
    def workers(self) -> str:
        """Sorted set: consumer -> server time in ms until which it counts as alive."""
        return self._key("workers")

    def sink(self, sink: str) -> str:
        """Stream, group `relay`: replies of jobs that named the sink, until somebody has taken them."""
        return self._key(f"sink:{sink}")

    @property
    def config(self) -> str:
        """Hash: limits the workers publish and the scripts read."""
        return self._key("config")

    @property
    def dead(self) -> str:
        """Stream: jobs given up on."""
        return self._key("dead")


def models(prefix: str) -> str:
    """Set: every model ever served."""
    return f"{prefix}:models"


def reply_channel(prefix: str, client: str) -> str:
    """Channel: each message the id of a finished job of one client, and its reply after a newline if small."""
    return f"{prefix}:reply:{client}"


def idempotency(prefix: str, name: str) -> str:
    """String, PX: the fingerprint of the request that a caller's own key stands for."""
    return f"{prefix}:idempotency:{name}"
