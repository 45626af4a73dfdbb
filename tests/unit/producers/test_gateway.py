"""What the gateway decides without a socket: keys, files in JSON, whether work gets done, what a problem says."""

import base64
import gc
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.gateway import jobs, json_bodies, problems, scanner, uploads
from producers.gateway.directory import Watch
from producers.gateway.envelope import FAULT
from producers.gateway.json_bodies import json_object
from producers.gateway.problems import Refused
from producers.gateway.scaling import ScaleFromZero
from producers.gateway.scanner import Scanner
from producers.gateway.settings import GatewaySettings
from producers.gateway.uploads import Base64Field, Body, of_data_uri, with_files
from rpc.errors import BY_CODE, InvalidInput, PartialFailure, QueueFull, Timeout
from rpc.inspection import LaneState, ModelState
from rpc.settings import SettingError


def read(body: bytes, cuts: list[int], *, most_bytes: int = 10_000) -> tuple[dict[str, Any], bytes]:
    """Return what is read of a body that comes in pieces."""
    field = Base64Field("file", most_bytes=most_bytes)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(places):
        field.feed(body[start:end])
    return field.end()


@given(
    st.binary(min_size=1, max_size=900),
    st.dictionaries(st.text(max_size=8).filter(lambda key: key != "file"), st.text(max_size=20), max_size=3),
    st.lists(st.integers(0, 3000), max_size=6),
    st.booleans(),
    st.sampled_from(["", "data:audio/wav;base64,"]),
    st.booleans(),
)
def test_a_file_in_json_is_read_wherever_it_is_cut(
    content: bytes,
    around: dict[str, str],
    cuts: list[int],
    first: bool,  # noqa: FBT001 (drawn)
    prefix: str,
    escaped: bool,  # noqa: FBT001 (drawn)
) -> None:
    """Before or after other fields, with a data URI's prefix or none, with slashes escaped or not."""
    text = {"file": prefix + base64.b64encode(content).decode()}
    body = json.dumps({**text, **around} if first else {**around, **text})
    if escaped:
        body = body.replace("/", "\\/")

    assert read(body.encode(), cuts) == (around, content)


def test_lines_that_were_escaped_are_joined() -> None:
    """As `base64` without `-w 0` prints them."""
    content = bytes(range(256))
    text = base64.encodebytes(content).decode()

    assert read(json.dumps({"file": text}).encode(), [])[1] == content


@pytest.mark.parametrize(
    "body",
    [
        b'{"other": 1}',
        b'{"file": 7}',
        b'{"file": null}',
        b'{"file": ""}',
        b'{"file": "QUJ"}',
        b'{"file": "Q UJD"}',
        b'{"file": "QUJ\\u0044"}',
        b'{"file": "QUJD", "file": "QUJE"}',
        b'{"file": "QUJD", "file": 7}',
        b'{"inner": {"file": "QUJD"}}',
        b'["file", "QUJD"]',
        b'{"text": "\\"file\\": \\"QUJD\\""}',
    ],
)
def test_what_is_no_file_of_the_object_itself_is_refused(body: bytes) -> None:
    """By its name."""
    with pytest.raises((InvalidInput, Refused)) as refused:
        read(body, [3, 9, 12])

    assert "file" in str(refused.value) or "object" in str(refused.value)


def test_a_file_over_the_limit_is_refused_while_it_comes() -> None:
    """It is not decoded to its end first."""
    field = Base64Field("file", most_bytes=100)
    field.feed(b'{"file": "' + b"QUJD" * 10)
    with pytest.raises(Refused) as refused:
        field.feed(b"QUJD" * 100)

    assert refused.value.problem.status == 413


@pytest.mark.parametrize("uri", ["data:image/png,abc", "data:image/png;base64", "data:image/png;base64,*"])
def test_a_data_uri_is_in_base64(uri: str) -> None:
    """Another is refused by where it stands."""
    with pytest.raises(InvalidInput, match="input 3"):
        of_data_uri(uri, "input 3", {})


def scanned(body: bytes, cuts: list[int], opening: re.Pattern[bytes], *, least: int = 8) -> Body:
    """Return what is read of a body that comes in pieces, its files taken out from so many bytes of text on."""
    taking = Scanner(opening, "a file", most_bytes=10_000, least=least)
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(places):
        taking.feed(body[start:end])
    return Body(json_object(bytes(taking.rest)), taking.files(), taking.unmarked())


def base64_of(content: bytes) -> str:
    """Return base64 in one line."""
    return base64.b64encode(content).decode()


@given(
    st.lists(st.binary(max_size=60) | st.text(max_size=12) | st.integers(), max_size=6),
    st.lists(st.integers(0, 3000), max_size=8),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t ")]),
)
def test_files_anywhere_in_json_are_read_wherever_it_is_cut(
    inputs: list[bytes | str | int],
    cuts: list[int],
    escaped: bool,  # noqa: FBT001 (drawn)
    separators: tuple[str, str],
) -> None:
    """Long ones decoded as they come, short ones afterwards, in maps and lists as well; all else is as it was."""
    told: list[Any] = [{"base64": base64_of(item)} if isinstance(item, bytes) else item for item in inputs]
    # what only looks like a file is none
    told += [{"deep": list(told)}, {'a\\"base64': 'x", "base64": "' + "QUJD" * 9}, {"base64": "no", "beside": 1}]
    body = json.dumps({"inputs": told}, separators=separators)
    if escaped:
        body = body.replace("/", "\\/")
    found = scanned(body.encode(), cuts, scanner.BASE64)
    left = dict(found.files)

    assert with_files(found.told, left) == {"inputs": [*inputs, {"deep": inputs}, *told[-2:]]}
    assert left == {}
    assert [file for file in found.files.values() if len(base64_of(file)) < 8] == []


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=5), st.lists(st.integers(0, 3000), max_size=8))
def test_data_uris_are_read_wherever_they_are_cut(contents: list[bytes], cuts: list[int]) -> None:
    """Their heads stay where they were, and say what they are."""
    heads = ["data:image/png;base64,", "DATA:Image/PNG;x=1;BASE64,"]
    uris = [f"{heads[place % 2]}{base64_of(content)}" for place, content in enumerate(contents)]
    found = scanned(json.dumps({"input": uris}).encode(), cuts, scanner.DATA_URI)
    left = dict(found.files)

    assert [of_data_uri(uri, "input", left) for uri in found.told["input"]] == contents
    assert [uri.partition(",")[0] for uri in found.told["input"]] == [uri.partition(",")[0] for uri in uris]
    assert left == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [{"base64": "QUJDQUJDQUJD", "beside": 1}]}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJD", "base64": "QUJDQUJDQUJE"}]}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJD*"}]}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJ"}]}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJD"}], "inputs": []}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJD"}',
        b'{"inputs": [{"base64": "QUJDQUJDQUJD',
        b'{"inputs": [{"base64": 7}]}',
        b'{"inputs": [{"base64": "*"}]}',
    ],
)
def test_what_is_no_file_of_an_input_is_refused(body: bytes) -> None:
    """As the caller's fault."""
    with pytest.raises((InvalidInput, Refused)):
        jobs.with_all_files(scanned(body, [7, 30, 31], scanner.BASE64))


def test_equal_bodies_have_equal_content_and_others_do_not() -> None:
    """However their files came, and wherever in the body they stand."""

    def content(*inputs: Any, cuts: list[int] | None = None) -> list[bytes]:
        return list(scanned(json.dumps({"inputs": inputs}).encode(), cuts or [], scanner.BASE64).content)

    one, two = {"base64": base64_of(b"one file, and")}, {"base64": base64_of(b"another file.")}

    assert content(one, two) == content(one, two, cuts=[5, 40, 41])
    assert len({tuple(content(*inputs)) for inputs in itertools.permutations([one, two, "x"])}) == 6


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (b"{}", 1, 1),
        (b'{"a": [1, 2, {"b": "x, [y]"}], "c": "\\",\\"[[[{{{,"}', 4, 12),
        (b"[" + b"[]," * 100_000, 100_000, 200_001),
        (b'["a' + b'","' * 100_000, 100_000, 100_001),
    ],
)
def test_values_are_counted_and_texts_are_not_looked_into(text: bytes, least: int, most: int) -> None:
    """So that a limit on them is none on what people write."""
    assert least <= json_bodies.values_of(text, most=uploads.MOST_VALUES) <= most


@pytest.mark.bound
def test_no_piece_of_a_body_holds_the_loop() -> None:
    """Neither of an hour of audio, nor of many small files, nor what is parsed when it has come whole."""
    hour = b'{"inputs": [{"base64": "' + b"QUJD" * 10_000_000 + b'"}]}'
    many = b'{"inputs": [' + b",".join([b'{"base64": "' + b"QUJD" * 260 + b'"}'] * 10_000) + b"]}"
    texts = b'{"inputs": ["' + b'\\u00e9, [\\"\\n' * (uploads.MOST_REST // 17) + b'"]}'
    # as the gateway does when it starts
    gc.collect()
    gc.freeze()
    held = [took_ms for body in (hour, many, texts) for took_ms in _reading_ms(body)]
    gc.unfreeze()

    assert max(held) < 50


def _reading_ms(body: bytes) -> Iterator[float]:
    """Read a body in pieces as large as they come, and yield how long each step takes."""
    taking = Scanner(scanner.BASE64, "a file", most_bytes=10**9, least=uploads.LEAST_FILE)
    for start in range(0, len(body), PIECE):
        yield _took_ms(partial(taking.feed, body[start : start + PIECE]))
    rest = bytes(taking.rest)
    last: list[Callable[[], object]] = [
        partial(json_bodies.values_of, rest, most=uploads.MOST_VALUES),
        partial(json_bodies.parse_object, rest),
        partial(json_bodies.check_object, rest, json_bodies.parse_object(rest)),
        taking.files,
    ]
    yield from map(_took_ms, last)


PIECE = 256 * 1024


def _took_ms(step: Callable[[], object]) -> float:
    """Return how much of a processor's time a step takes, which others that run beside it do not change."""
    began = time.thread_time()
    step()
    return (time.thread_time() - began) * 1000


def state(waiting: int, done: int, *, workers: int = 1, passes: Sequence[str] = ()) -> dict[str, ModelState]:
    """Return what is seen of one model; workers that tell of their passes are told apart by their place."""
    lane = LaneState("interactive", waiting=waiting, running=0, oldest_ms=0, done=done)
    told: dict[str, dict[str, str]] = {f"w{number}": {} for number in range(workers)}
    told |= {f"w{number}": {"passes": count} for number, count in enumerate(passes)}
    return {"m": ModelState("m", (lane,), 0, told)}


def test_work_that_waits_while_none_is_done_is_stalled() -> None:
    """After as long as was said; one job done, or none waiting, is enough to begin anew."""
    watch = Watch(stalled_s=10)
    seen = []
    for now, waiting, done in [
        (0, 1, 0),
        (9, 1, 0),
        (10, 1, 0),
        (11, 1, 1),
        (20, 1, 1),
        (21, 1, 1),
        (22, 0, 1),
        (40, 0, 1),
    ]:
        watch.look(state(waiting, done), now)
        seen.append(bool(watch.stalled(now)))

    assert seen == [False, False, True, False, False, False, False, False]


def test_a_pass_of_a_long_job_is_work_done() -> None:
    """Of any worker; one that begins anew, or does not tell, has done nothing."""
    watch = Watch(stalled_s=10)
    seen = []
    for now, passes in [
        (0, ["5", "7"]),
        (10, ["6", "7"]),
        (19, ["6", "8"]),
        (21, ["6", "8"]),
        (29, ["6", "8"]),
        (31, ["6", "8"]),
        (32, ["6", "9"]),
        (33, ["6", "0"]),
        (42, ["6", "0"]),
        (43, ["6", "?"]),
        (44, ["6", "1"]),
    ]:
        watch.look(state(1, 0, passes=passes), now)
        seen.append(bool(watch.stalled(now)))

    assert seen == [False] * 5 + [True, False, False, False, True, False]


def test_what_nobody_has_served_is_not_stalled() -> None:
    """A job for a model that is yet to come says nothing of those that are here; one whose workers died does."""
    watch = Watch(stalled_s=10)
    for now in (0, 20):
        watch.look(state(1, 0, workers=0), now)
    never = watch.stalled(20)
    for now, workers in ((30, 1), (31, 0), (50, 0)):
        watch.look(state(1, 0, workers=workers), now)

    assert (never, watch.stalled(50)) == ([], ["m"])


def test_work_that_waits_for_a_first_worker_is_not_stalled() -> None:
    """The time begins when there is one."""
    watch = Watch(10, ScaleFromZero({"m"}))
    seen = []
    for now, workers in ((0, 1), (1, 0), (30, 0), (31, 1), (40, 1), (41, 1)):
        watch.look(state(1, 0, workers=workers), now)
        seen.append(bool(watch.stalled(now)))

    assert seen == [False, False, False, False, False, True]


def test_every_error_has_a_status() -> None:
    """None of the wire's codes is forgotten; a newer worker's is a fault of the server."""
    assert set(BY_CODE) <= set(problems.STATUS)
    assert problems.of_code("newer", "?").status == 500


def test_a_problem_is_titled_by_what_went_wrong() -> None:
    """A fault of the gateway is none of the model's."""
    told = {each.code: problems.body(each)["title"] for each in (problems.of_code("model_error", "?"), FAULT)}

    assert told == {"model_error": "The model failed", "gateway_fault": "The gateway failed"}


def test_a_full_queue_says_when_to_come_back() -> None:
    """In whole seconds, at least one."""
    answer = problems.response(problems.of_error(QueueFull("full", retry_after_s=0.2)))

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_of_several_inputs_that_failed_the_first_counts() -> None:
    """Its status, and its place."""
    failed = {4: InvalidInput("empty"), 2: Timeout("late")}
    problem = problems.of_error(PartialFailure("2 of 5 inputs failed", vectors=None, failed=failed))

    assert (problem.status, problem.code, problem.param) == (504, "timeout", "input[2]")


def test_what_trying_again_cannot_help_says_so() -> None:
    """OpenAI's client would send it again otherwise."""
    told = {code: problems.response(problems.of_code(code, "?")).headers.get("x-should-retry") for code in BY_CODE}

    assert {code for code, again in told.items() if again == "false"} == {"model_error", "dead_lettered", "cancelled"}


def test_keys_are_read_from_a_file_and_never_shown(tmp_path: Path) -> None:
    """One a line, or separated by commas."""
    file = tmp_path / "keys"
    file.write_text("first-key-1\nsecond-key,\n")
    settings = GatewaySettings.from_env({"PENSTOCK_API_KEYS_FILE": str(file)})

    assert [key.get_secret_value() for key in settings.api_keys] == ["first-key-1", "second-key"]
    assert "first-key-1" not in repr(settings)


@pytest.mark.parametrize("given", [",", " ", " , ", "\n"])
def test_keys_that_are_none_are_refused_by_name(given: str) -> None:
    """Whoever writes something there does not mean to let everybody in."""
    with pytest.raises(SettingError, match="PENSTOCK_API_KEYS: there is no key in it"):
        GatewaySettings.from_env({"PENSTOCK_API_KEYS": given})


@pytest.mark.parametrize("environ", [{}, {"PENSTOCK_API_KEYS": ""}])
def test_without_keys_the_gateway_is_open(environ: dict[str, str]) -> None:
    """Also where the variable is there and empty, as compose files leave it."""
    assert GatewaySettings.from_env(environ).api_keys == ()


@pytest.mark.parametrize("content", ["", " \n", ",", ",\n ,", "tiny", "with bl\tank-key x"])
def test_a_file_without_a_fit_key_is_refused(tmp_path: Path, content: str) -> None:
    """An empty one would let everybody in."""
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(SettingError, match="PENSTOCK_API_KEYS_FILE") as refused:
        GatewaySettings.from_env({"PENSTOCK_API_KEYS_FILE": str(file)})

    assert "tiny" not in str(refused.value)
