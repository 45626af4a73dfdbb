"""Replies that their callers have and that nobody else can ask for: which of them are to be deleted, and when.

Shared by both clients; knows neither threads nor loops. Deleting is put together: the way of a call hardly pays for it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby

from rpc.calls import Call, Command, Tolerant
from rpc.errors import RpcError
from rpc.keys import Keys
from rpc.messages import Job, Reply, Success

DELETED_TOGETHER = 64
"""So many received replies are deleted at once, or sooner those that are large or old."""

MAX_BYTES, MAX_AGE_S = 1024 * 1024, 0.5

MAX_KEPT = 4096
"""How many are remembered while Redis is away; those beyond live as long as any reply."""


class Receipts:
    """The received replies of one client that are still on the server."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        # any thread may add, one takes
        self._received: deque[tuple[str, str]] = deque(maxlen=MAX_KEPT)
        self._bytes = 0
        self._since = 0.0

    def add(self, jobs: Sequence[Job], replies: Sequence[Reply], *, now: float) -> None:
        """Note that a caller has the replies to its jobs; those that others may ask for stay on the server."""
        for job, reply in zip(jobs, replies, strict=True):
            if job.disposable:
                if not self._received:
                    self._since = now
                self._received.append((job.model, job.id))
                self._bytes += reply.wire_bytes if isinstance(reply, Success) else 0

    def due(self, now: float) -> bool:
        """Return whether it is time to delete them."""
        count = len(self._received)
        return count >= DELETED_TOGETHER or (count > 0 and (self._bytes >= MAX_BYTES or now - self._since >= MAX_AGE_S))

    def delete(self) -> Call[None]:
        """Delete what has been received so far; what the server was not there to delete is remembered."""
        taken = [self._received.popleft() for _ in range(len(self._received))]
        self._bytes = 0
        if not taken:
            return
        done = False
        try:
            answers = yield Tolerant(_commands(self._prefix, taken))
            # a server that forbids it does so for good: then these live as long as any reply
            done = not any(isinstance(answer, RpcError) and answer.retryable for answer in answers)
        finally:
            if not done:
                self._received.extend(taken)


def _commands(prefix: str, names: Sequence[tuple[str, str]]) -> Iterator[Command]:
    for model, of_model in groupby(sorted(names), key=lambda name: name[0]):
        keys = Keys(prefix, model)
        yield ("UNLINK", *(keys.result(job_id) for _, job_id in of_model))
