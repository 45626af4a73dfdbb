"""Stream entries that nearly are jobs: fields, payloads, inputs and options of every odd kind."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import msgpack

from rpc.errors import InvalidInput
from rpc.keys import check_job_id
from tests.fuzzing.corpus import pictures
from tests.fuzzing.mutations import mutated
from tests.fuzzing.values import SPEECH, odd, spelt

OPS: Mapping[str, tuple[str, ...]] = {
    "echo": ("echo",),
    "whisper": ("transcribe",),
    "siglip": ("embed_text", "embed_image"),
    "bge-m3": ("embed_text",),
    "yunet": ("detect_faces",),
}
"""What each model can be asked for."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "echo": ("anything",),
    "whisper": ("language", "task", "word_timestamps", "vad", "beam_size", "timestamps"),
    "siglip": ("normalize",),
    "bge-m3": ("outputs", "normalize"),
    "yunet": ("score_threshold", "nms_threshold"),
}

TIMES = (b"", b"0", b"-1", b"+60000", b"60_000", b" 5", b"1e3", b"9" * 15, b"9" * 16, b"9" * 5000, b"\xff", b"\xd9\xa3")
"""What may be said of a time in milliseconds; none is so short that the answer is gone before the test has seen it."""

UNKEPT = {b"ttl_ms", b"keep_ms", b"id"}
"""Fields that damage leaves alone: an answer would be gone before its time, or be that to another."""

DEPTHS = (10, 100, 500, 511, 513, 1100, 100_000)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is added to the stream of a model, and under which name the answer has to lie; None if it says none."""

    model: str
    fields: tuple[tuple[bytes, bytes], ...]

    def job_id(self, entry_id: str) -> str | None:
        """Return whom the entry says to answer, as the protocol tells."""
        there = dict(self.fields)
        if b"id" not in there:
            return entry_id if b"op" in there and there.keys() & {b"payload", b"json"} else None
        try:
            return check_job_id(there[b"id"].decode())
        except (UnicodeDecodeError, InvalidInput):
            return None


def entry(number: int, chance: Random) -> Entry:
    """Return an entry that may be wrong in any way; `number` is in its id, where it has a good one."""
    model = chance.choice(list(OPS))
    fields = {
        b"v": b"1",
        b"id": b"fuzz-%d" % number,
        b"op": chance.choice(OPS[model]).encode(),
        b"reply": b"penstock:reply:fuzz",
        b"payload": _payload(model, chance),
    }
    damage = chance.choice(_DAMAGE)
    return Entry(model, tuple(damage(model, fields, chance).items()))


Fields = dict[bytes, bytes]


def _payload(model: str, chance: Random) -> bytes:
    return packed({"inputs": [_good(model, chance) for _ in range(chance.choice((1, 1, 2, 5)))], "options": {}})


def _good(model: str, chance: Random) -> Any:
    if model == "whisper":
        return SPEECH
    if model == "yunet" or (model == "siglip" and chance.random() < 0.5):
        return chance.choice(pictures())
    return "two birds on a roof"


def packed(value: Any) -> bytes:
    """Return msgpack of anything that can be written, halves of characters and infinite numbers too."""
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def _as_it_is(_: str, fields: Fields, __: Random) -> Fields:
    return fields


def _damaged_field(_: str, fields: Fields, chance: Random) -> Fields:
    name = chance.choice([name for name in fields if name not in UNKEPT])
    return {**fields, name: mutated(fields[name], fields[b"payload"], chance)}


def _damaged_payload(_: str, fields: Fields, chance: Random) -> Fields:
    return {**fields, b"payload": mutated(fields[b"payload"], SPEECH, chance)}


def _damaged_json(model: str, fields: Fields, chance: Random) -> Fields:
    text = json.dumps({"inputs": [spelt(chance)], "options": {chance.choice(OPTIONS[model]): spelt(chance)}})
    del fields[b"payload"]
    data = text.encode()
    return {**fields, b"json": mutated(data, data, chance) if chance.random() < 0.7 else data}


def _without_a_field(_: str, fields: Fields, chance: Random) -> Fields:
    for name in chance.sample(list(fields), chance.choice((1, 1, 2, 3))):
        del fields[name]
    return fields


def _odd_id(_: str, fields: Fields, chance: Random) -> Fields:
    good = fields[b"id"]
    odd = (b"", b" ", b"a b", b"\xff", good * 50, b"{" + good + b"}", good + b"\n", good + b":x", "é".encode() + good)
    return {**fields, b"id": chance.choice(odd)}


def _odd_time(_: str, fields: Fields, chance: Random) -> Fields:
    name = chance.choice((b"ttl_ms", b"keep_ms"))
    return {**fields, name: chance.choice(TIMES)}


def _more_fields(_: str, fields: Fields, chance: Random) -> Fields:
    names = (b"json", b"traceparent", b"", b"\xff\xfe", b"payload ", b"x" * 1000)
    return {**fields, chance.choice(names): chance.randbytes(chance.choice((0, 1, 100, 10_000)))}


def _odd_inputs(_: str, fields: Fields, chance: Random) -> Fields:
    inputs: Any = [odd(chance) for _ in range(chance.choice((1, 1, 1, 2, 30)))]
    return {**fields, b"payload": packed({"inputs": chance.choice((inputs, inputs, inputs, odd(chance)))})}


def _odd_options(model: str, fields: Fields, chance: Random) -> Fields:
    options: Any = {chance.choice((*OPTIONS[model], *OPTIONS[model], "\0", "", "\ud800")): odd(chance)}
    payload = {"inputs": [_good(model, chance)], "options": chance.choice((options, options, options, odd(chance)))}
    return {**fields, b"payload": packed(payload)}


def _deep(_: str, fields: Fields, chance: Random) -> Fields:
    depth, (opening, inside, closing) = chance.choice(DEPTHS), chance.choice(_NESTS)
    front, back = packed({"inputs": []})[:-1] + b"\x91", b""
    if chance.random() < 0.3:
        del fields[b"payload"]
        return {**fields, b"json": b'{"inputs": [' + b"[" * depth + b"]" * depth + b"]}"}
    return {**fields, b"payload": front + opening * depth + inside + closing * depth + back}


_NESTS = ((b"\x91", b"\xc0", b""), (b"\x81\xa1a", b"\xc0", b""), (b"\xdd\x00\x00\x00\x01", b"\xc0", b""))


_DAMAGE: tuple[Callable[[str, Fields, Random], Fields], ...] = (
    *(_as_it_is, _damaged_field, _damaged_payload, _damaged_payload, _damaged_json, _without_a_field, _odd_id),
    *(_odd_time, _more_fields, _odd_inputs, _odd_inputs, _odd_inputs, _odd_options, _odd_options, _odd_options, _deep),
)
