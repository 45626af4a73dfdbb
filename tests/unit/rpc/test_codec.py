"""Messages to bytes and back, and bytes nobody should trust."""

import base64
import contextlib
import json
import math
import struct
from types import MappingProxyType
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rpc.calls import read_reply
from rpc.codec import ARRAY_TYPES, decode_reply, encode_reply, pack, to_json, unpack
from rpc.entries import MOST_LEVELS, Malformed, job_fields, payload_of, read_blob, read_job
from rpc.errors import InvalidInput, RpcError
from rpc.keys import Lane
from rpc.messages import HOUR_MS, Blob, Failure, Job, Meta, Reference, Reply, Success

IDS = st.from_regex(r"[A-Za-z0-9_.:-]{1,128}", fullmatch=True)
NUMBERS = st.integers(0, 10**15 - 1)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)
JOBS = st.builds(
    Job,
    model=st.just("m"),
    op=st.text(st.characters(codec="utf-8"), max_size=20),
    inputs=st.lists(VALUES, min_size=1, max_size=4),
    options=st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=3),
    id=IDS,
    lane=st.sampled_from(["interactive", "bulk"]),
    ttl_ms=NUMBERS,
    keep_ms=NUMBERS,
    reply=st.just("") | IDS,
    traceparent=st.just("") | IDS,
)


def entry(fields: dict[str, Any]) -> list[bytes]:
    """Return fields and values as a stream entry has them."""
    return [part if isinstance(part, bytes) else str(part).encode() for pair in fields.items() for part in pair]


def read(raw: list[bytes], lane: Lane = "bulk", *, most_bytes: int = 10_000_000) -> Job:
    """Return the job of the entry `7-0`."""
    return read_job("m", lane, "7-0", raw, most_bytes=most_bytes)


def typed(text: str, **fields: Any) -> Job:
    """Return the job of an entry as a person types it."""
    return read(entry({"op": "echo", "json": text, **fields}))


def packed(payload: Any) -> list[bytes]:
    """Return an entry with that payload."""
    return entry({"op": "echo", "payload": pack(payload)})


@given(VALUES)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    """Every value the wire allows comes out as it went in."""
    assert value == unpack(pack(value))


@given(JOBS)
def test_a_job_comes_out_of_its_entry_as_it_went_in(job: Job) -> None:
    """Nothing a caller says of a job is lost or changed on its way to a worker."""
    raw = [part if isinstance(part, bytes) else str(part).encode() for part in job_fields(job)]

    assert job == read(raw, job.lane)


@given(
    st.builds(
        Success,
        st.none() | st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES),
        st.builds(Meta, batch=st.integers(0, 999)),
    )
    | st.builds(Failure, st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), st.booleans())
)
def test_a_reply_comes_out_as_it_went_in(reply: Reply) -> None:
    """Success or failure, the caller reads what the worker wrote."""
    assert reply == decode_reply(encode_reply(reply))


@pytest.mark.parametrize("dtype", sorted(ARRAY_TYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 5), (2, 1, 4)], ids=str)
def test_arrays_keep_type_shape_and_numbers(dtype: str, shape: tuple[int, ...]) -> None:
    """An array is the same array on the other side, without a number going through text."""
    array = np.arange(math.prod(shape)).astype(dtype).reshape(shape)

    back = unpack(pack(array))

    assert (array.dtype, array.shape, array.tolist()) == (back.dtype, back.shape, back.tolist())


def test_an_array_need_not_lie_in_one_piece() -> None:
    """A transposed or sliced array is sent as what it shows."""
    array: NDArray[np.float32] = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]

    assert array.tolist() == unpack(pack(array)).tolist()


def test_an_array_lies_on_the_wire_as_the_protocol_says() -> None:
    """A program without numpy can make and read one."""
    plain = msgpack.unpackb(pack(np.array([1.5, -2.0], np.float32)))

    assert plain == {"dtype": "<f4", "shape": [2], "data": struct.pack("<ff", 1.5, -2.0)}


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|b1", "<c8", "<U3", "|O"])
def test_an_array_of_another_type_is_refused_where_it_is_sent(dtype: str) -> None:
    """What a worker would refuse does not travel."""
    with pytest.raises(InvalidInput, match="is none of"):
        pack(np.zeros(2, dtype))


def test_a_number_of_numpy_is_a_number() -> None:
    """A result may hold numpy scalars."""
    assert unpack(pack({"a": np.float32(1.5), "b": np.int64(3)})) == {"a": 1.5, "b": 3}


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 2**64, {"a": [object()]}, "\ud800", 1j],
    ids=["object", "set", "65 bits", "object inside", "half a character", "complex"],
)
def test_what_has_no_form_on_the_wire_is_refused(value: Any) -> None:
    """Whoever sends what cannot be sent is told so, in this project's words."""
    with pytest.raises(InvalidInput, match="cannot be sent"):
        pack(value)


def test_a_value_too_deep_is_refused_at_both_ends() -> None:
    """Nesting without end ends neither a caller nor a worker."""
    deep: Any = []
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(InvalidInput):
        pack(deep)
    with pytest.raises(InvalidInput):
        unpack(b"\x91" * 5000 + b"\x90")


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc7\x00\xff")
@example(b"\x81\x01\x02")
@example(b"\x81\x90\x01")
@example(b"\x90\x90")
def test_bytes_that_are_no_msgpack_are_refused_and_nothing_else(data: bytes) -> None:
    """Whatever bytes arrive, they are a value or `InvalidInput`."""
    with contextlib.suppress(InvalidInput):
        unpack(data)


@given(st.fixed_dictionaries({"dtype": VALUES | st.sampled_from(sorted(ARRAY_TYPES)), "shape": VALUES, "data": VALUES}))
@example({"dtype": [], "shape": [], "data": b""})
@example({"dtype": {}, "shape": [], "data": b""})
@example({"dtype": "<f4", "shape": [0, 2**64 - 1], "data": b""})
@example({"dtype": "<f4", "shape": [0, 2**63], "data": b""})
@example({"dtype": "<f4", "shape": [2**62, 4], "data": b""})
@example({"dtype": "<f4", "shape": [-1], "data": b""})
@example({"dtype": "<f4", "shape": [True], "data": b"1234"})
@example({"dtype": "<f4", "shape": [1] * 100, "data": b"1234"})
@example({"dtype": "<f4", "shape": [2], "data": b"1234"})
@example({"dtype": "|O", "shape": [1], "data": b"12345678"})
def test_array_maps_that_are_no_arrays_are_refused_and_nothing_else(array: dict[str, Any]) -> None:
    """A made-up array map is an array or `InvalidInput`, and never reaches into memory."""
    with contextlib.suppress(InvalidInput):
        unpack(msgpack.packb([array]))


@given(
    st.dictionaries(
        st.sampled_from(["v", "id", "op", "ttl_ms", "keep_ms", "reply", "traceparent", "payload", "json", "junk"]),
        st.binary(max_size=60) | VALUES.map(msgpack.packb) | VALUES.map(lambda value: to_json(value).encode()),
    )
)
@example({"op": b"echo", "json": b'{"inputs": [{"base64": 5}]}'})
@example({"op": b"echo", "json": b'{"inputs": [{"base64": "\xc3\xa4"}]}'})
@example({"op": b"echo", "json": b"[" * 100_000})
@example({"op": b"echo", "json": b'{"inputs": [' + b"9" * 5000 + b"]}"})
@example({"op": b"echo", "json": b"\xff\xfe"})
@example({"op": b"echo", "json": b'{"inputs": [1], "options": {"a": NaN}}'})
@example({"op": b"\xff", "payload": b"\x81\xa6inputs\x91\x01"})
@example({"id": b"\xff", "op": b"echo", "payload": b"\x81\xa6inputs\x91\x01"})
@example({"v": "\u0663".encode(), "op": b"echo", "payload": b"\x81\xa6inputs\x91\x01"})
def test_an_entry_is_a_job_or_malformed_and_nothing_else(fields: dict[str, bytes]) -> None:
    """No entry anybody can add to a stream makes reading it raise anything but `Malformed`."""
    with contextlib.suppress(Malformed):
        read(entry(fields))


@given(st.binary(max_size=100) | VALUES.map(msgpack.packb))
@example(b"{")
@example(b"{}")
@example(b"[]")
@example(b'{"ok": true}')
@example(b'{"ok": true, "result": 1, "meta": 3}')
@example(b'{"ok": true, "result": 1, "meta": {"unknown": 3}}')
@example(b'{"ok": false, "error": 3}')
@example(b'{"ok": false, "error": "text"}')
@example(msgpack.packb({"ok": False, "error": None}))
@example(msgpack.packb([1]))
@example(msgpack.packb("ok"))
@example(msgpack.packb(None))
def test_a_stored_reply_is_a_reply_or_refused_and_nothing_else(data: bytes) -> None:
    """Whatever lies under a result key, a client reads a reply or gets `InvalidInput`."""
    with contextlib.suppress(InvalidInput):
        decode_reply(data)


ERRORS = st.fixed_dictionaries({}, optional={"code": VALUES, "message": VALUES, "retryable": VALUES})
REPLIES = st.fixed_dictionaries(
    {},
    optional={
        "v": VALUES,
        "ok": st.booleans() | VALUES,
        "model": VALUES,
        "result": VALUES,
        "meta": VALUES | st.fixed_dictionaries({}, optional=dict.fromkeys(("worker", "attempts", "queued_ms"), VALUES)),
        "error": ERRORS | VALUES,
    },
)


@given(REPLIES)
@example({"ok": False, "error": {"code": ["a"], "message": "m", "retryable": False}})
@example({"ok": False, "error": {"code": {}, "message": "m", "retryable": False}})
@example({"ok": False, "error": {"code": 5, "message": "m", "retryable": False}})
@example({"ok": False, "error": {"code": "timeout", "message": {"a": 1}, "retryable": False}})
@example({"ok": False, "error": {"code": "expired", "message": "m", "retryable": "no"}})
@example({"ok": False, "model": ["m"], "error": {"code": "expired", "message": "m", "retryable": True}})
@example({"ok": "no", "result": {}, "meta": {}})
@example({"ok": True, "result": [1]})
@example({"ok": True, "result": {}, "meta": {"queued_ms": "late", "attempts": True, "worker": None}})
def test_every_field_of_a_reply_has_its_type_or_is_an_error(body: dict[str, Any]) -> None:
    """A reply somebody else wrote is one whose fields have their types, and its error can be raised."""
    reply = read_reply(msgpack.packb(body))

    if isinstance(reply, Failure):
        assert isinstance(reply.error(), RpcError)
        assert {str, bool} == {type(reply.code), type(reply.message), type(reply.retryable)}
    else:
        assert isinstance(reply.result, dict | None)
        assert {type(getattr(reply.meta, name)) for name in ("queued_ms", "prepare_ms", "infer_ms")} <= {int, float}
        assert (type(reply.meta.worker), type(reply.meta.attempts)) == (str, int)


@given(VALUES)
@example({"a": [math.inf, -math.inf]})
@example("\x00")
@example({"a": b"\xff"})
def test_any_result_has_a_json_form(value: Any) -> None:
    """A reply to a job typed by hand is JSON that any reader accepts."""
    json.loads(to_json(value), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\ud800": 1}, {"a": ["\udfff"]}],
    ids=["text", "name", "deep inside"],
)
def test_half_a_character_in_a_json_job_is_refused(value: Any) -> None:
    """JSON can spell text that no reply can hold: that is told where it is read."""
    with pytest.raises(InvalidInput, match=r"json cannot be read: .*surrogates not allowed"):
        typed(json.dumps({"inputs": [value]}))
    with contextlib.suppress(RpcError):
        encode_reply(Success({"outputs": [value]}), "json")


def test_a_character_in_two_halves_is_one() -> None:
    """That is how JSON spells what is beyond sixteen bits."""
    text = json.dumps({"inputs": ["\U0001f600"]})

    assert r"\ud83d\ude00" in text
    assert typed(text).inputs == ["\U0001f600"]


def nested(levels: int) -> Any:
    """Return lists and maps that deep in each other."""
    value: Any = 1
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize("field", ["payload", "json"])
def test_what_is_too_deep_for_a_reply_is_refused_where_it_is_read(field: str) -> None:
    """What is one level less deep is answered in the encoding it came in."""
    spelt: Any = {"payload": msgpack.packb, "json": lambda value: json.dumps(value).encode()}[field]

    job = read(entry({"op": "echo", field: spelt({"inputs": [nested(MOST_LEVELS - 2)]})}))

    reply = decode_reply(encode_reply(Success({"outputs": list(job.inputs)}), job.encoding))
    assert reply == Success({"outputs": [nested(MOST_LEVELS - 2)]})
    for levels in (MOST_LEVELS - 1, 400):
        with pytest.raises(Malformed, match="deeper in each other than 100 levels"):
            read(entry({"op": "echo", field: spelt({"inputs": [nested(levels)]})}))


def test_a_blob_may_be_no_deeper() -> None:
    """An input that travels under its own key is held to the same."""
    assert read_blob(Blob(0, packed=True), pack(nested(MOST_LEVELS))) == nested(MOST_LEVELS)
    with pytest.raises(InvalidInput, match="deeper in each other"):
        read_blob(Blob(0, packed=True), pack(nested(MOST_LEVELS + 1)))


@pytest.mark.parametrize("array", [{"dtype": "x" * 9000}, {"shape": ["x" * 9000]}, {"shape": [1] * 9000}])
def test_what_is_said_of_an_array_is_short(array: dict[str, Any]) -> None:
    """Whoever sends nonsense by the megabyte does not get it back."""
    with pytest.raises(InvalidInput) as refused:
        unpack(msgpack.packb({"dtype": "<f4", "shape": [2], "data": b"", **array}))

    assert len(str(refused.value)) < 500


def test_json_has_no_numbers_that_are_none() -> None:
    """What JSON lacks becomes null, in lists, arrays and scalars alike."""
    value = {"a": math.nan, "b": np.array([[1.0, np.nan], [np.inf, 2.0]], np.float32), "c": np.float32(np.nan)}

    assert json.loads(to_json(value)) == {"a": None, "b": [[1.0, None], [None, 2.0]], "c": None}


@pytest.mark.parametrize("beside", [1.0, math.nan], ids=["a number", "a number that JSON lacks"])
def test_names_in_json_do_not_depend_on_what_stands_beside_them(beside: float) -> None:
    """Names that are no texts are spelt, whatever else a map holds."""
    value = MappingProxyType({2: b"\xff", 2.5: MappingProxyType({True: (None, 1 + 2j)}), None: {"beside": beside}})

    expected = {"2": {"base64": "/w=="}, "2.5": {"true": [None, "(1+2j)"]}}
    assert json.loads(to_json(value)) == {**expected, "null": {"beside": None if math.isnan(beside) else beside}}
    assert json.loads(to_json({b"x": beside})) == {"b'x'": None if math.isnan(beside) else beside}


def test_json_spells_bytes_and_arrays_as_the_protocol_says() -> None:
    """Bytes are base64 in a map, arrays lists of numbers, tuples lists."""
    value = {"a": b"\x00\xff", "b": np.array([1, 2], np.int64), "c": (1, "x"), "d": True}

    assert json.loads(to_json(value)) == {"a": {"base64": "AP8="}, "b": [1, 2], "c": [1, "x"], "d": True}


def test_a_json_job_is_read_with_its_bytes() -> None:
    """A job typed by hand may carry a file as base64; it is answered in JSON under its entry id."""
    sent = base64.b64encode(b"\x89PNG").decode()

    job = typed(json.dumps({"inputs": ["a", {"base64": sent}, {"base64": sent, "more": 1}], "options": {"x": 1}}))

    assert (job.inputs, job.options) == (["a", b"\x89PNG", {"base64": sent, "more": 1}], {"x": 1})
    assert (job.id, job.encoding, job.lane) == ("7-0", "json", "bulk")


def test_a_typed_job_needs_op_and_json_alone() -> None:
    """What is left out is an hour to start, an hour to keep, and nobody to tell."""
    job = typed('{"inputs": ["a"]}')

    assert (job.ttl_ms, job.keep_ms, job.reply, job.options) == (HOUR_MS, HOUR_MS, "", {})


def test_a_payload_goes_before_json() -> None:
    """An entry with both is what its msgpack says, and is answered in msgpack."""
    job = typed('{"inputs": ["json"]}', payload=pack({"inputs": ["msgpack"]}))

    assert (job.inputs, job.encoding) == (["msgpack"], "msgpack")


def test_the_readable_fields_come_first() -> None:
    """Whoever looks at the stream sees what a job is before the bytes of its payload."""
    names = job_fields(Job("m", "op", [1], reply="c", traceparent="t"))[::2]

    assert names == ["v", "id", "op", "ttl_ms", "keep_ms", "reply", "traceparent", "payload"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"v": 2}, "wire version 2 is not spoken here"),
        ({"v": 0}, "wire version 0"),
        ({"v": "one"}, "field v b'one' is no whole number"),
        ({"ttl_ms": "-5"}, "field ttl_ms b'-5' is no whole number"),
        ({"ttl_ms": "1e3"}, "field ttl_ms"),
        ({"keep_ms": "9" * 16}, "field keep_ms"),
        ({"keep_ms": ""}, "field keep_ms"),
        ({"payload": b"\xc1"}, "payload is not msgpack"),
        ({"payload": pack([1])}, "the payload is no map"),
        ({"payload": pack({"inputs": [1], "more": 1})}, "the payload is no map"),
        ({"payload": pack({})}, '"inputs" is no list'),
        ({"payload": pack({"inputs": []})}, '"inputs" is no list'),
        ({"payload": pack({"inputs": "text"})}, '"inputs" is no list'),
        ({"payload": pack({"inputs": [1], "options": [1]})}, '"options" is no map'),
    ],
)
def test_a_malformed_entry_says_what_is_wrong_and_whom_to_answer(fields: dict[str, Any], complaint: str) -> None:
    """A caller whose entry is no job reads why; the worker knows where to send that."""
    whole = {"id": "j1", "op": "echo", "reply": "c1", "payload": pack({"inputs": [1]}), **fields}

    with pytest.raises(Malformed) as refused:
        read(entry(whole))

    assert complaint in str(refused.value)
    assert (refused.value.job_id, refused.value.reply, refused.value.encoding) == ("j1", "c1", "msgpack")


@pytest.mark.parametrize("name", ["payload", "json"])
def test_a_payload_over_the_limit_is_refused_before_it_is_read(name: str) -> None:
    """A caller that does not keep the limit is told it by the worker, however the payload is spelled."""
    with pytest.raises(Malformed, match="the payload of 101 bytes is over the limit of 100") as refused:
        read(entry({"id": "j1", "op": "echo", name: "x" * 101}), most_bytes=100)

    assert refused.value.job_id == "j1"


@pytest.mark.parametrize(
    ("fields", "job_id"),
    [
        ({}, None),
        ({"junk": "1"}, None),
        ({"op": "echo"}, None),
        ({"payload": pack({"inputs": [1]})}, None),
        ({"id": "a b", "op": "echo", "json": "{}"}, None),
        ({"op": "echo", "json": "{"}, "7-0"),
        ({"id": "j1"}, "j1"),
        ({"id": "j1", "payload": pack({"inputs": [1]})}, "j1"),
    ],
    ids=["empty", "junk", "op alone", "payload alone", "bad id", "bad json", "id alone", "no op"],
)
def test_an_entry_is_answered_if_it_says_where(fields: dict[str, Any], job_id: str | None) -> None:
    """An entry with a readable id is answered under it, a typed one under its entry id, any other under none."""
    with pytest.raises(Malformed) as refused:
        read(entry(fields))

    assert job_id == refused.value.job_id


def test_a_malformed_typed_job_is_answered_in_json() -> None:
    """Who writes JSON reads JSON, also when it was wrong."""
    with pytest.raises(Malformed) as refused:
        typed("{")

    assert refused.value.encoding == "json"


def test_a_reply_is_told_apart_by_its_first_byte() -> None:
    """A client reads both encodings without being told which one it is."""
    reply = Success({"outputs": ["a"]}, Meta(worker="w", attempts=2))

    assert [reply, reply] == [decode_reply(encode_reply(reply, "json")), decode_reply(encode_reply(reply, "msgpack"))]


def test_replies_look_as_the_protocol_says() -> None:
    """A program that knows only the wire reads success and failure by these names."""
    success = msgpack.unpackb(encode_reply(Success({"a": 1}, Meta("w", 1, 8, 1.5, 0.5, 0.25)), model="m"))
    failure = msgpack.unpackb(encode_reply(Failure("expired", "too late", retryable=True), model="m"))

    meta = {"worker": "w", "attempts": 1, "batch": 8, "queued_ms": 1.5, "prepare_ms": 0.5, "infer_ms": 0.25}
    error = {"code": "expired", "message": "too late", "retryable": True}
    assert success == {"v": 1, "ok": True, "model": "m", "result": {"a": 1}, "meta": meta}
    assert failure == {"v": 1, "ok": False, "model": "m", "error": error}


def test_a_payload_is_shown_or_the_reason_why_not() -> None:
    """An operator who looks at an entry sees its inputs, and never an exception."""
    whole = dict(zip(*[iter(packed({"inputs": ["a"]}))] * 2, strict=True))

    assert payload_of(whole) == {"inputs": ["a"], "options": {}}
    assert "not msgpack" in payload_of({b"payload": b"\xc1"})
    assert "neither payload nor json" in payload_of({})


def test_a_reference_travels_as_a_map_of_its_url() -> None:
    """And is a reference again where it is read, typed by hand too; deeper in an input it is a map like any other."""
    made = Job("m", "op", [Reference("s3://videos/a?x"), {"inside": {"ref": "file:a"}}], id="x")
    fields = dict(zip(job_fields(made)[::2], job_fields(made)[1::2], strict=True))
    typed = read(entry({"op": "op", "json": b'{"inputs": [{"ref": "file:a"}, {"ref": "file:a", "more": 1}]}'}))

    payload = bytes(fields["payload"])  # type: ignore[arg-type]
    assert msgpack.unpackb(payload)["inputs"] == [{"ref": "s3://videos/a?x"}, {"inside": {"ref": "file:a"}}]
    assert list(made.inputs) == list(read(entry({"op": "op", "payload": payload})).inputs)
    assert list(typed.inputs) == [Reference("file:a"), {"ref": "file:a", "more": 1}]


@pytest.mark.parametrize("wrong", [3, None, "", ["file:a"], "x" * 2001], ids=lambda wrong: str(wrong)[:10])
def test_a_reference_that_is_no_url_makes_no_job(wrong: Any) -> None:
    """It is told as any other malformed payload is."""
    with pytest.raises(Malformed, match="a reference"):
        read(entry({"op": "op", "payload": msgpack.packb({"inputs": [{"ref": wrong}]})}))


def test_people_see_no_secrets_of_a_reference() -> None:
    """What is shown of a payload is its URL without the query."""
    shown = payload_of({b"payload": msgpack.packb({"inputs": [{"ref": "https://h/a?sig=hidden"}]})})

    assert shown == {"inputs": [{"ref": "https://h/a"}], "options": {}}
