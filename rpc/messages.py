"""What is said on the wire, as values: a job, and the reply to it. No I/O, no spelling."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rpc.errors import InvalidInput, RpcError, from_code
from rpc.keys import LANES, Lane, check_job_id, check_lane, check_model, check_sink

WIRE_VERSION = 1

HOUR_MS = 3_600_000

JOB_MARGIN_MS = 600_000
"""How long a job key outlives the time to live, so that a late start is still recognised."""

MOST_TOLD = 2_000
"""Characters of what is said of an error: some of it may be the caller's own words."""

MOST_URL_CHARS = 2_000
"""The longest URL of a reference."""

MOST_SHOWN_CHARS = 200

_SECRETS = re.compile(r"//[^/]*@|//[^/@]*:(?![0-9]+/)[^@]*@")

Encoding = Literal["msgpack", "json"]


def new_job_id() -> str:
    """Return an id no other job has."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Blob:
    """An input that lies under a key of its own, because it is too large for the entry.

    Attributes:
        number: which blob of its job it is.
        packed: whether msgpack lies there; if not, it is the bytes of a file as they are.
    """

    number: int
    packed: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """An input that lies where its worker can open it: `file:talks/a.wav`, `s3://videos/a.wav`.

    Its text is that of the URL without what may be secret: query, user and password.
    """

    url: str

    def __post_init__(self) -> None:
        """Refuse what is no URL; whether it may be opened is for the worker to say."""
        if not isinstance(self.url, str):
            raise InvalidInput(f"a reference is a URL, not {type(self.url).__name__}")
        if not 0 < len(self.url) <= MOST_URL_CHARS:
            raise InvalidInput(f"a reference has 1 to {MOST_URL_CHARS} characters, not {len(self.url)}")

    def __str__(self) -> str:
        """Return the URL as people may see it."""
        shown = _SECRETS.sub("//***@", re.split(r"[?#]", self.url, maxsplit=1)[0])
        return shown if len(shown) <= MOST_SHOWN_CHARS else f"{shown[:MOST_SHOWN_CHARS]}..."

    def __repr__(self) -> str:
        """Return the same; it ends up in logs."""
        return f"Reference({str(self)!r})"


@dataclass(frozen=True, slots=True)
class Job:
    """One request to a model.

    Attributes:
        inputs: each a str (text), bytes (an encoded file), an array (pixels), or a `Blob` or
            `Reference` in place of one of these.
        options: what the op offers, by name.
        id: chosen by the caller or made up; the same id twice is the same job.
        ttl_ms: how long after its submission the job may still be started.
        keep_ms: how long the reply is kept; 0 keeps only a marker that it succeeded.
        reply: the channel that is told when the reply is there, or "".
        traceparent: W3C trace context, or "".
        sink: the stream of completions that is to get the reply too, or "".
        encoding: how the payload came and the reply goes.
        disposable: whether the reply is of no use to anybody but the caller that waits for it. Not on the wire.
    """

    model: str
    op: str
    inputs: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_job_id)
    lane: Lane = LANES[0]
    ttl_ms: int = HOUR_MS
    keep_ms: int = HOUR_MS
    reply: str = ""
    traceparent: str = ""
    sink: str = ""
    encoding: Encoding = "msgpack"
    disposable: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse names that would make a malformed key."""
        check_model(self.model)
        check_job_id(self.id)
        check_lane(self.lane)
        if self.sink:
            check_sink(self.sink)

    @property
    def blobs(self) -> list[int]:
        """The numbers of the blobs that belong to the job."""
        return [given.number for given in self.inputs if isinstance(given, Blob)]


@dataclass(frozen=True, slots=True)
class Meta:
    """How a job fared: told with each successful reply.

    Attributes:
        attempts: times the job was handed to a worker, this one included.
        batch: units in the largest forward pass any of its units was part of.
        queued_ms: from submission until a worker read it, by the server's clock.
        prepare_ms: time inside the model's `prepare`, summed over the inputs.
        infer_ms: time inside the forward passes its units were part of.
    """

    worker: str = ""
    attempts: int = 1
    batch: int = 0
    queued_ms: float = 0.0
    prepare_ms: float = 0.0
    infer_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Success:
    """The answer to a job; `result` is what the op promises, `wire_bytes` how large the reply was when it was read."""

    result: Mapping[str, Any] | None
    meta: Meta = Meta()
    wire_bytes: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The error a job ended with."""

    code: str
    message: str
    retryable: bool = False

    @classmethod
    def of(cls, error: RpcError) -> "Failure":
        """Return what the wire says of an error."""
        return cls(error.code, str(error)[:MOST_TOLD], error.retryable)

    def as_dict(self) -> dict[str, str | bool]:
        """Return it as the map the wire has."""
        return {"code": self.code, "message": self.message, "retryable": self.retryable}

    def error(self) -> RpcError:
        """Return the error as the caller sees it raised."""
        return from_code(self.code, self.message)


Reply = Success | Failure


@dataclass(frozen=True, slots=True)
class Dead:
    """A job given up on, as the dead letter shows it.

    Attributes:
        deliveries: how often it had been handed out.
        died_ms: server time of the verdict.
        payload_bytes: size of what the caller sent.
        whole: whether the copy of the payload is complete, so that the job can be sent again.
    """

    dead_id: str
    job_id: str
    op: str
    lane: str
    code: str
    reason: str
    deliveries: int
    consumer: str
    died_ms: int
    payload_bytes: int
    whole: bool
