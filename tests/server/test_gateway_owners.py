"""Owners of jobs at the gateway, JSON that says one thing only, and what errors keep from callers."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2
import pytest
from redis import Redis

from rpc import RedisSettings
from rpc.consumer import Consumer
from rpc.messages import Meta, Success
from tests.answering import echo, job_of, read_one, reply_with, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import Families
from tests.gateways import GatewayThread
from tests.server.test_gateway_http import ECHO, WAIT, problem
from tests.servers import Server, free_port
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, ON_VALKEY]

FIRST, SECOND = ({"authorization": f"Bearer key-of-the-{which}"} for which in ("first", "second"))


@pytest.fixture
def worker(make_consumer: MakeConsumer) -> Consumer:
    """Return a live worker of echo that answers when the test says so."""
    consumer = make_consumer(model="echo")
    consumer.announce({"ops": "echo"})
    show_life(consumer)
    return consumer


@pytest.fixture
def keyed(redis_settings: RedisSettings, worker: Consumer) -> Iterator[httpx2.Client]:
    """Yield a client of a gateway with two keys in front of that worker."""
    del worker
    keys = "key-of-the-first key-of-the-second"
    with (
        GatewayThread(redis_settings, api_keys=keys) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        yield client


def test_a_job_is_read_and_cancelled_by_its_own_key_alone(keyed: httpx2.Client, worker: Consumer) -> None:
    """For others there is no such job, whether its caller named it, the gateway did, or an Idempotency-Key."""
    bodies = [({**ECHO, "job_id": "mine"}, {}), (ECHO, {}), (ECHO, {"idempotency-key": "order-1"})]
    for body, headers in bodies:
        place = keyed.post("/v1/jobs", json=body, headers={**FIRST, **headers}).headers["location"]
        for method, path in (("GET", place), ("DELETE", place), ("GET", f"{place}/events")):
            assert problem(keyed.request(method, path, headers=SECOND)) == (404, "job_not_found")
        assert keyed.get(place, headers=FIRST).json()["state"] == "waiting"

    worker.settle([echo(read_one(worker)) for _ in bodies])
    told = keyed.get("/v1/jobs/echo:mine", headers=FIRST).json()
    assert (told["id"], told["state"]) == ("echo:mine", "succeeded")


def test_the_same_job_id_of_two_keys_is_two_jobs(keyed: httpx2.Client, worker: Consumer) -> None:
    """Neither joins the other's; of one key it is one job, however the key is spelled."""
    spelled = {"authorization": "bearer  key-of-the-first"}
    answers = [
        keyed.post("/v1/jobs", json={**ECHO, "inputs": [number], **job}, headers={**headers, **key})
        for job, key in (({"job_id": "x"}, {}), ({}, {"idempotency-key": "x"}))
        for number, headers in enumerate((FIRST, SECOND, spelled))
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 202, 422]
    assert {answer.json()["id"] for answer in answers[:3]} == {"echo:x"}
    assert sorted(job_of(read_one(worker)).inputs[0] for _ in range(4)) == [0, 0, 1, 1]
    assert worker.read(["interactive"], 1, block_ms=10) == []


@pytest.mark.parametrize("job_id", ["a.b:c-d_e", "x" * 128], ids=["short", "long"])
def test_answers_name_a_job_as_its_caller_does(keyed: httpx2.Client, worker: Consumer, job_id: str) -> None:
    """Also where it is waited for, cancelled, or asked for too late; an id no job can have is refused."""
    body = {**ECHO, "job_id": job_id}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(keyed.post, "/v1/jobs", json=body, headers={**FIRST, "prefer": "wait=20"})
        worker.settle([echo(read_one(worker))])
        waited = waiting.result(LONG_S)
    late = keyed.post("/v1/jobs", json={**ECHO, "job_id": "late", "timeout_s": 0.05}, headers={**FIRST, **WAIT})
    cancelled = keyed.delete("/v1/jobs/echo:late", headers=FIRST)
    told = keyed.get("/v1/jobs/echo:late", headers=FIRST)
    joined = keyed.post("/v1/jobs", json={**ECHO, "job_id": "late"}, headers={**FIRST, **WAIT})

    assert (waited.status_code, waited.json()["id"]) == (200, f"echo:{job_id}")
    assert (problem(late), " late " in late.json()["detail"]) == ((504, "timeout"), True)
    assert (cancelled.json()["id"], cancelled.json()["state"]) == ("echo:late", "cancelled")
    assert told.json()["error"]["message"] == "job late was cancelled"
    assert (problem(joined), joined.json()["detail"]) == ((409, "cancelled"), "job late was cancelled")


def test_an_id_that_no_job_can_have_is_refused_of_a_key_too(keyed: httpx2.Client) -> None:
    """Although one that is too long would fit by its hash."""
    for job_id in ("x" * 129, "a b", "a~b", "\u00e9"):
        answers = [
            keyed.post("/v1/jobs", json={**ECHO, "job_id": job_id}, headers=FIRST),
            keyed.get(f"/v1/jobs/echo:{job_id}", headers=FIRST),
        ]
        assert [problem(answer) for answer in answers] == [(422, "invalid_input")] * 2


def test_without_keys_all_callers_share_their_jobs(http: httpx2.Client) -> None:
    """They may send any key, and under the ids that Redis knows."""
    http.post("/v1/jobs", json={**ECHO, "job_id": "ours"}, headers={**FIRST, **WAIT})

    assert http.get("/v1/jobs/echo:ours", headers=SECOND).json()["state"] == "succeeded"


# JSON


TWICE = [
    ("/v1/jobs", '{"model": "echo", "op": "echo", "inputs": [1], "inputs": [2]}', "inputs"),
    ("/v1/jobs", '{"model": "echo", "op": "echo", "inputs": [{"a": 1, "b": {"c": 2, "\\u0063": 3}}]}', "c"),
    ("/v1/embeddings", '{"model": "bge-m3", "input": "one", "input": "two"}', "input"),
    ("/embed/text", '{"text": "one", "text": "two"}', "text"),
    ("/asr/transcribe", '{"audio_base64": "QUJD", "language": "en", "language": "ko"}', "language"),
]


def test_a_name_that_is_there_twice_is_refused(http: httpx2.Client, played: Families) -> None:
    """One of its values would be passed over in silence."""
    for path, body, name in TWICE:
        answer = http.post(path, content=body, headers={"content-type": "application/json"})

        assert (path, problem(answer)) == (path, (422, "invalid_input"))
        assert repr(name) in answer.json()["detail"]
    assert played.jobs == []


NUMBERS = {
    "1e400": 422,
    "-1e400": 422,
    "9" * 309 + ".0": 422,
    "9" * 400: 422,
    "9" * 5000: 400,
    "123456789012345678901234567890": 422,
    "18446744073709551616": 422,
    "-9223372036854775809": 422,
    "NaN": 400,
    "Infinity": 400,
    "-Infinity": 400,
    '"\\ud800"': 422,
    '"\\udfff x"': 422,
    "[" * 5000 + "]" * 5000: 400,
    "1e308": 200,
    "5e-400": 200,
    "18446744073709551615": 200,
    "-9223372036854775808": 200,
    '"1e400 NaN \\" {\\"a\\": 1, \\"a\\": 2}"': 200,
    '"\\ud83d\\ude00 \\u0000"': 200,
    '{"": {"a": 1}, "b": {"a": 1}}': 200,
    "[" * 50 + "]" * 50: 200,
}


def test_what_json_or_the_wire_cannot_hold_is_refused(http: httpx2.Client) -> None:
    """In an input and in an option; what it can comes back as it was."""
    statuses, kept = {}, []
    for text, expected in NUMBERS.items():
        for body in ('"inputs": [%s]', '"inputs": [1], "options": {"x": %s}'):
            content = '{"model": "echo", "op": "echo", %s}' % (body % text)
            answer = http.post("/v1/jobs", content=content, headers=WAIT)
            statuses[text[:40], len(text)] = answer.status_code
            if "options" not in body and expected == answer.status_code == 200:
                kept.append(answer.json()["result"]["outputs"] == [json.loads(text)])

    assert statuses == {(text[:40], len(text)): expected for text, expected in NUMBERS.items()}
    assert kept == [True] * list(NUMBERS.values()).count(200)


def test_a_byte_order_mark_says_nothing(http: httpx2.Client) -> None:
    """Some clients put it in front of UTF-8."""
    content = b"\xef\xbb\xbf" + json.dumps(ECHO).encode()

    assert http.post("/v1/jobs", content=content, headers=WAIT).json()["result"] == {"outputs": ["hello", 3]}


# results that are not kept


def test_a_result_that_is_waited_for_must_be_kept(http: httpx2.Client, played: Families) -> None:
    """There would be nothing to answer with."""
    for prefer in ("wait", "wait=5", "wait=0", "respond-async, wait=5"):
        for keep_s in (0, 0.0, 0.25):
            answer = http.post("/v1/jobs", json={**ECHO, "keep_s": keep_s}, headers={"prefer": prefer})
            assert (problem(answer), answer.json()["error"]["param"]) == ((422, "invalid_input"), "keep_s")
    assert played.jobs == []


def test_joining_a_job_whose_result_was_not_kept_is_410(keyed: httpx2.Client, worker: Consumer) -> None:
    """Instead of an empty result."""
    body = {**ECHO, "job_id": "unkept"}
    keyed.post("/v1/jobs", json={**body, "keep_s": 0}, headers=FIRST)
    worker.settle([reply_with(read_one(worker), Success(None, Meta("in-process")))])
    answers = [keyed.post("/v1/jobs", json=body, headers={**FIRST, "prefer": how}) for how in ("wait", "wait=5")]
    state = keyed.get("/v1/jobs/echo:unkept", headers=FIRST).json()

    assert [problem(answer) for answer in answers] == [(410, "result_not_kept")] * 2
    assert (state["state"], state["result"]) == ("succeeded", None)


def test_a_result_its_caller_has_is_not_kept_unless_it_was_promised(
    redis_settings: RedisSettings, played: Families, raw: "Redis"
) -> None:
    """With keys and without: a job that its caller named, or gave a life, is kept."""
    del played
    promised = [({**ECHO, "job_id": "named"}, {}), ({**ECHO, "keep_s": 60}, {}), (ECHO, {"idempotency-key": "named"})]
    pattern = f"{redis_settings.prefix}:{{echo}}:result:*"
    for number, keys in enumerate(("", "key-of-the-first"), start=1):
        with (
            GatewayThread(redis_settings, api_keys=keys) as running,
            httpx2.Client(base_url=running.url, headers={**FIRST, **WAIT}, timeout=LONG_S) as client,
        ):
            for body, headers in [*promised, (ECHO, {}), (ECHO, {})]:
                assert client.post("/v1/jobs", json=body, headers=headers).status_code == 200
            eventually(partial(kept_are, raw, pattern, 3 * number), what="the others are gone")


def kept_are(raw: "Redis", pattern: str, count: int) -> bool:
    """Return whether so many keys match."""
    return len(list(raw.scan_iter(pattern))) == count


# what callers are not told


SECRETS = ("gate:", "gate'", "user gate", "127.0.0.1", "hidden", "NOPERM", "WRONGPASS", "Connection")


def test_nobody_is_told_where_redis_is(server: Server, raw: "Redis") -> None:
    """Neither its address nor user nor password, while it refuses a command, shuts the gateway out, or is away."""
    commands = ["+@all", "-smembers", "-xinfo"]
    raw.acl_setuser("gate", enabled=True, passwords=["+hidden-secret"], keys=["*"], channels=["*"], commands=commands)
    with a_gateway(server.port) as refused:
        answers = [refused.request(*how) for how in QUICK]
        raw.acl_deluser("gate")
        answers += [refused.request(*how) for how in QUICK]
    port = free_port()
    with a_gateway(port) as away, ThreadPoolExecutor(8) as threads:
        answers += threads.map(lambda how: away.request(*how), [*QUICK, *PATIENT])

    for answer in answers:
        shown = f"{answer.headers} {answer.text}"
        assert [word for word in (str(server.port), str(port), *SECRETS) if word in shown] == []
    assert [problem(answer) for answer in answers[-4:]] == [(503, "unavailable")] * 4


QUICK = [("GET", "/v1/models"), ("GET", "/v1/models/echo"), ("GET", "/health"), ("GET", "/metrics")]
PATIENT = [("GET", "/v1/jobs/echo:1"), ("DELETE", "/v1/jobs/echo:1"), ("GET", "/v1/jobs/echo:1/events")]
PATIENT.append(("GET", "/v1/models/whisper-1"))


@contextlib.contextmanager
def a_gateway(port: int) -> Iterator[httpx2.Client]:
    """Yield a client of a gateway that reaches Redis at a port as a user of its own."""
    url = f"redis://gate:hidden-secret@127.0.0.1:{port}/0"
    settings = RedisSettings.from_env({}, url=url, socket_timeout_s=1.0)
    with GatewayThread(settings) as running, httpx2.Client(base_url=running.url, timeout=LONG_S) as client:
        yield client
