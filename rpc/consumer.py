"""The worker's verbs on one model's lanes: read, claim, look after, settle, release, retry, bury, announce, leave.

Knows what is said to Redis; knows neither threads nor models. Every verb is safe to repeat after `Unavailable`,
but `read`, whose lost reply `adopt` finds again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rpc import keys as keyspace
from rpc import parts
from rpc.calls import Command, Tolerant, script
from rpc.codec import encode_reply
from rpc.connection import BlockingConnection
from rpc.deliveries import Claim, Delivery, Hold, Limits, Look, Place, Settlement
from rpc.entries import Malformed, read_blob, read_job
from rpc.errors import InvalidInput, JobLost, QueueFull, RpcError
from rpc.keys import BEGUN, GROUP, LANES, PUT_OFF, RELEASED, Keys, Lane
from rpc.messages import HOUR_MS, JOB_MARGIN_MS, WIRE_VERSION, Blob, Failure, Job

DEAD_KEPT = 1_000
"""About how many jobs the dead letter of a model keeps."""

DEAD_PAYLOAD_BYTES = 65_536
"""The largest payload the dead letter keeps a copy of; a larger one cannot be queued again."""

REPLY_BYTES_TOLD = 16_384
"""The largest reply that travels with the wake-up: many times smaller than what a server buffers for a subscriber."""

SETTLED_TOGETHER = 64
HELD_TOGETHER = 128
REPLY_BYTES_TOGETHER = 1_048_576


class Consumer:
    """One worker as the consumer group of one model knows it.

    `resumable` says that parts of its jobs may be kept beside them.
    """

    def __init__(
        self, connection: BlockingConnection, keys: Keys, name: str, limits: Limits, *, resumable: bool = False
    ) -> None:
        self.keys = keys
        self.name = name
        self.limits = limits
        self._connection = connection
        self._resumable = resumable

    def ensure_groups(self) -> None:
        """Make the streams and groups where they are missing, from the first entry on."""
        for lane in LANES:
            command = ("XGROUP", "CREATE", self.keys.stream(lane), GROUP, "0", "MKSTREAM")
            try:
                self._connection.send([command])
            except RpcError as error:
                # a full server refuses this also where there is nothing to make
                full = isinstance(error, QueueFull) and self._has_group(lane)
                if not full and "BUSYGROUP" not in str(error):
                    raise

    def _has_group(self, lane: Lane) -> bool:
        (groups,) = self._connection.send(Tolerant([("XINFO", "GROUPS", self.keys.stream(lane))]))
        return not isinstance(groups, Exception) and any(GROUP.encode() in group for group in groups)

    def server_ms(self) -> int:
        """Return the server's clock."""
        ((seconds, micros),) = self._connection.send([("TIME",)])
        return int(seconds) * 1000 + int(micros) // 1000

    def read(self, lanes: Sequence[Lane], count: int, *, block_ms: int) -> list[Delivery]:
        """Return up to `count` new entries of each lane; wait for the first one up to `block_ms`, 0 not at all."""
        wait: tuple[Any, ...] = ("BLOCK", block_ms) if block_ms else ()
        streams = [self.keys.stream(lane) for lane in lanes]
        command = ("XREADGROUP", "GROUP", GROUP, self.name, "COUNT", count, *wait, "STREAMS", *streams)
        (found,) = self._connection.send([(*command, *(">" for _ in lanes))])
        lane_of = dict(zip(streams, lanes, strict=True))
        return [
            self._delivery(lane_of[stream.decode()], entry_id, 1, fields)
            for stream, entries in found or ()
            for entry_id, fields in entries
        ]

    def _delivery(
        self, lane: Lane, entry_id: bytes, deliveries: int, fields: Sequence[bytes], left_by: bytes = b""
    ) -> Delivery:
        name = entry_id.decode()
        job: Job | Malformed
        try:
            job = read_job(self.keys.model, lane, name, fields, most_bytes=self.limits.max_payload_bytes)
        except Malformed as error:
            job = error
        return Delivery(name, lane, deliveries, job, fields, left_by.decode())

    def claim(self, lane: Lane, count: int, *, suspect: bool) -> Claim:
        """Take over up to `count` released entries of a lane, and one suspect if allowed."""
        limits = (self.limits.lease_ms, self.limits.max_deliveries)
        arguments = (GROUP, self.name, RELEASED, BEGUN, count, int(suspect), *limits)
        (answer,) = self._connection.send([script("claim", (self.keys.stream(lane), self.keys.config), arguments)])
        taken, dead = ([self._delivery(lane, *entry) for entry in found] for found in answer[:2])
        return Claim(taken, dead, bool(answer[2]))

    def adopt(self, held: Iterable[Place], *, count: int = 256) -> Claim:
        """Return entries that Redis handed to this consumer in a reply it never saw, given those it knows of."""
        known = set(held)
        found = Claim([], [])
        for lane in LANES:
            stream = self.keys.stream(lane)
            asked = ("XPENDING", stream, GROUP, "-", "+", count, self.name)
            told, pending = self._connection.send([("HGET", self.keys.config, "max_deliveries"), asked])
            most = int(told or self.limits.max_deliveries)
            lost = [(entry, times) for entry, _, _, times in pending if (lane, entry.decode()) not in known]
            if not lost:
                continue
            entries = self._connection.send([("XRANGE", stream, entry, entry) for entry, _ in lost])
            for (entry, times), there in zip(lost, entries, strict=True):
                if there:
                    # a count beyond the most is what `claim` gives those it hands out for the verdict
                    kind = found.dead if times > most else found.taken
                    kind.append(self._delivery(lane, entry, min(times, most), there[0][1]))
                else:
                    self._connection.send([("XACK", stream, GROUP, entry)])
        return found

    def answered(self, deliveries: Sequence[Delivery]) -> set[Place]:
        """Return the entries whose job has a reply already (a cancelled one has)."""
        asked = [delivery for delivery in deliveries if delivery.job_id]
        if not asked:
            return set()
        (replies,) = self._connection.send([("MGET", *(self.keys.result(str(item.job_id)) for item in asked))])
        return {item.place for item, reply in zip(asked, replies, strict=True) if reply is not None}

    def blob(self, job_id: str, blob: Blob) -> Any:
        """Return the input under a blob's key; raise `JobLost` if it is gone, `InvalidInput` if it cannot be read."""
        (data,) = self._connection.send([("GET", self.keys.blob(job_id, blob.number))])
        if data is None:
            raise JobLost(f"blob {blob.number} of job {job_id} is missing: it expired, or Redis lost it")
        if len(data) > self.limits.max_input_bytes:
            raise InvalidInput(f"the input of {len(data)} bytes is over the limit of {self.limits.max_input_bytes}")
        return read_blob(blob, data)

    def keep(self, job_id: str, fields: Iterable[tuple[str, bytes]], *, life_ms: int = JOB_MARGIN_MS) -> bool:
        """Keep fields of `rpc.parts` beside a job; return whether it is still to be done."""
        (kept,) = self._connection.send([parts.keep(self.keys, job_id, fields, life_ms=life_ms)])
        return bool(kept)

    def count(self, place: Place, count: int) -> bool:
        """Set the server's count of the deliveries of an entry; return whether this worker holds it."""
        lane, entry_id = place
        command = script("count", (self.keys.stream(lane),), (GROUP, self.name, entry_id, count))
        (held,) = self._connection.send([command])
        return bool(held)

    def kept(self, job_id: str, given: int) -> Mapping[int, Any]:
        """Return what an earlier worker kept of the units of an input, by their place."""
        return self._connection.run(parts.kept(self.keys, job_id, given))

    def _belonging(self, job_id: str, blobs: Iterable[int]) -> list[str]:
        """Return the keys that go with a job, besides that of its id."""
        names = [self.keys.blob(job_id, number) for number in blobs]
        return [*names, self.keys.parts(job_id)] if self._resumable else names

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Store the replies and take the jobs out of their lanes; the first reply to a job wins."""
        self._connection.send([self._settle_command(chunk) for chunk in _chunks(settlements)])

    def _settle_command(self, settlements: Sequence[Settlement]) -> Command:
        names: list[str] = []
        arguments: list[Any] = [GROUP, REPLY_BYTES_TOLD]
        for settlement in settlements:
            delivery = settlement.delivery
            job_id = delivery.job_id or delivery.entry_id
            names += (self.keys.stream(delivery.lane), self.keys.result(job_id), self.keys.job(job_id))
            belonging = self._belonging(job_id, delivery.blobs)
            names += belonging
            keep_ms = max(1, settlement.keep_ms)
            told = self._sunk(delivery, job_id, settlement.whole)
            if told:
                names.append(self.keys.sink(delivery.job.sink))
            holder = self.name if settlement.failed else ""
            arguments += (delivery.entry_id, job_id, keep_ms, delivery.job.reply, settlement.reply, holder)
            arguments += (len(belonging), len(told), *told)
        return script("complete", names, arguments)

    def _sunk(self, delivery: Delivery, job_id: str, whole: bytes) -> list[Any]:
        """Return what the sink of a delivery is told, if it has one; an empty reply is the one that is kept."""
        if not delivery.job.sink:
            return []
        return ["v", WIRE_VERSION, "id", job_id, "model", self.keys.model, "op", delivery.op, "reply", whole]

    def bury(self, delivery: Delivery, failure: Failure) -> bool:
        """Move an entry to the dead letter and answer with the error; return whether it was still ours."""
        job_id = delivery.job_id or ""
        names = (
            self.keys.stream(delivery.lane),
            self.keys.result(job_id),
            self.keys.job(job_id),
            self.keys.dead,
            *self._belonging(job_id, delivery.blobs),
        )
        told = self._sunk(delivery, job_id, b"") if job_id else []
        if told:
            names = (*names, self.keys.sink(delivery.job.sink))
        reply = encode_reply(failure, delivery.job.encoding, model=self.keys.model)
        entry = (delivery.entry_id, job_id, HOUR_MS, delivery.job.reply, reply, DEAD_KEPT)
        arguments = (GROUP, self.name, *entry, len(told), *told, *self._dead_fields(delivery, failure))
        (moved,) = self._connection.send([script("dead", names, arguments)])
        return bool(moved)

    def _dead_fields(self, delivery: Delivery, failure: Failure) -> list[Any]:
        pairs = dict(zip(delivery.fields[::2], delivery.fields[1::2], strict=True))
        size = sum(map(len, delivery.fields))
        whole = size <= DEAD_PAYLOAD_BYTES and not delivery.blobs
        shown: list[Any] = ["id", delivery.job_id or "", "op", pairs.get(b"op", b"")[:256], "lane", delivery.lane]
        shown += ["code", failure.code, "reason", failure.message, "deliveries", delivery.deliveries]
        shown += ["consumer", self.name, "bytes", size, "whole", int(whole)]
        if whole:
            for name, value in pairs.items():
                shown += [b"job:" + name, value]
        return shown

    def look(self, holds: Sequence[Hold]) -> Look:
        """Learn which jobs in hand are no longer wanted from this worker; what belongs to the others lives on."""
        chunks = [holds[i : i + HELD_TOGETHER] for i in range(0, len(holds), HELD_TOGETHER)] or [[]]
        answers = self._connection.send([self._look_command(chunk) for chunk in chunks])
        states = [
            (hold.place, state)
            for chunk, answer in zip(chunks, answers, strict=True)
            for hold, state in zip(chunk, answer[1:], strict=True)
        ]
        lost = frozenset(place for place, state in states if state == 0)
        answered = frozenset(place for place, state in states if state == 2)  # noqa: PLR2004 (look.lua)
        return Look(answers[-1][0], lost, answered)

    def _look_command(self, holds: Sequence[Hold]) -> Command:
        names: list[str] = []
        entries: list[Any] = []
        for hold in holds:
            names += (self.keys.stream(hold.lane), self.keys.result(hold.job_id), self.keys.job(hold.job_id))
            belonging = self._belonging(hold.job_id, hold.blobs)
            names += belonging
            entries += (hold.entry_id, len(belonging), hold.life_ms)
        return script("look", names, (GROUP, self.name, *entries))

    def release(self, holds: Sequence[Hold]) -> None:
        """Give entries back uncounted, for any worker to take at once; a suspect stays one."""
        if holds:
            names = [self.keys.stream(hold.lane) for hold in holds]
            counts = ["" if hold.count is None else hold.count for hold in holds]
            told = zip(holds, counts, strict=True)
            entries = [part for hold, count in told for part in (hold.entry_id, hold.released_to, count)]
            self._connection.send([script("release", names, (GROUP, self.name, *entries))])

    def retry(self, delivery: Delivery, *, delay_s: float, count: int | None = None) -> bool:
        """Put a job off for at most a lease, one delivery more counted; return whether this delivery was ours.

        `count` is the server's count of this delivery, if that has changed since it was taken.
        """
        idle_ms = max(0, self.limits.lease_ms - int(delay_s * 1000))
        held_as = delivery.deliveries if count is None else count
        arguments = (GROUP, self.name, PUT_OFF, delivery.entry_id, idle_ms, held_as)
        (put_off,) = self._connection.send([script("retry", (self.keys.stream(delivery.lane),), arguments)])
        return bool(put_off)

    def announce(self, about: Mapping[str, str]) -> None:
        """Tell callers and operators who serves the model, and the scripts its limits."""
        worker = self.keys.worker(self.name)
        told = [part for pair in about.items() for part in pair]
        limits = ("max_jobs", self.limits.max_jobs, "lease_ms", self.limits.lease_ms)
        deliveries = ("max_deliveries", self.limits.max_deliveries, "v", WIRE_VERSION)
        self._connection.send(
            [
                ("HSET", worker, *told),
                ("PEXPIRE", worker, 3 * self.limits.lease_ms),
                ("HSET", self.keys.config, *limits, *deliveries),
                ("SADD", keyspace.models(self.keys.prefix), self.keys.model),
            ]
        )

    def leave(self) -> None:
        """Say good-bye; entries still pending stay where other workers find them."""
        names = (self.keys.workers, self.keys.worker(self.name), *map(self.keys.stream, LANES))
        self._connection.send([script("leave", names, (GROUP, self.name))])


def _chunks(settlements: Sequence[Settlement]) -> list[list[Settlement]]:
    """Return the settlements in runs small enough that no script holds the server up for long."""
    chunks: list[list[Settlement]] = []
    size = 0
    for settlement in settlements:
        size += len(settlement.reply)
        if not chunks or len(chunks[-1]) >= SETTLED_TOGETHER or size > REPLY_BYTES_TOGETHER:
            chunks.append([])
            size = len(settlement.reply)
        chunks[-1].append(settlement)
    return chunks
