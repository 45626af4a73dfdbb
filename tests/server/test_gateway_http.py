"""What the gateway does around its routes: keys, limits, ids, times, health, callers who leave or come back."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pytest
from redis import Redis

from rpc import Client, RedisSettings
from rpc.consumer import Consumer
from rpc.keys import Keys
from tests.answering import echo, job_of, read_one, show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import OPS, Families
from tests.gateways import GatewayThread
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, ON_VALKEY]

ECHO = {"model": "echo", "op": "echo", "inputs": ["hello", 3]}
WAIT = {"prefer": "wait"}


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and code of an answer that is a problem, told both ways."""
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (told["status"], told["detail"]) == (answer.status_code, told["error"]["message"])
    assert told["type"] == f"urn:penstock:error:{told['error']['code']}"
    return answer.status_code, told["error"]["code"]


# keys


KEYS = "key-of-the-first, key-of-the-second"


@pytest.fixture
def locked(redis_settings: RedisSettings, played: Families) -> Iterator[httpx2.Client]:
    """Yield a client without a key of a gateway that asks for one."""
    del played
    with (
        GatewayThread(redis_settings, api_keys=KEYS) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        yield client


@pytest.mark.parametrize("key", ["key-of-the-first", "key-of-the-second"])
def test_whoever_names_a_key_may_call(locked: httpx2.Client, key: str) -> None:
    """Any of them."""
    told = locked.get("/v1/models", headers={"authorization": f"Bearer {key}"})

    assert told.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-key"},
        {"authorization": "Bearer key-of-the-firs"},
        {"authorization": "Bearer"},
        {"authorization": "Basic key-of-the-first"},
        {"authorization": "key-of-the-first"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/embed/text", "/nowhere"])
def test_whoever_does_not_is_told_how(locked: httpx2.Client, headers: dict[str, str], path: str) -> None:
    """Before anything is read, and whatever was asked for."""
    told = locked.post(path, headers=headers)

    assert problem(told) == (401, "invalid_api_key")
    assert told.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/", "/docs", "/openapi.json"])
def test_what_load_balancers_ask_needs_no_key(locked: httpx2.Client, path: str) -> None:
    """Nor does the description of the routes."""
    assert locked.get(path).status_code == 200


# limits


def test_a_body_over_the_limit_is_refused_by_what_it_says_of_itself(
    redis_settings: RedisSettings, played: Families
) -> None:
    """Before a byte of it is read."""
    del played
    with (
        GatewayThread(redis_settings, max_body_bytes=2048) as running,
        socket.create_connection(("127.0.0.1", running.port), LONG_S) as link,
    ):
        link.sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 2049\r\n\r\n")
        assert link.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_over_the_limit_is_refused_while_it_comes(redis_settings: RedisSettings, played: Families) -> None:
    """If it does not say how long it is."""
    del played
    with GatewayThread(redis_settings, max_body_bytes=2048) as running, httpx2.Client(base_url=running.url) as client:
        chunks = (b"x" * 1024 for _ in range(3))

        assert problem(client.post("/v1/jobs", content=chunks)) == (413, "body_too_large")
        assert client.post("/v1/jobs", json=ECHO, headers=WAIT).status_code == 200


def test_bodies_of_all_requests_together_have_a_limit(redis_settings: RedisSettings, played: Families) -> None:
    """Whoever is over it may come again; what is done makes room."""
    del played
    with (
        GatewayThread(redis_settings, max_bodies_bytes=4096) as running,
        httpx2.Client(base_url=running.url) as client,
        socket.create_connection(("127.0.0.1", running.port), LONG_S) as half,
    ):
        half.sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 4000\r\n\r\n" + b"x" * 3000)
        full = {**ECHO, "inputs": ["x" * 2000]}
        eventually(lambda: client.post("/v1/jobs", json=full).status_code == 503, what="the half body is counted")
        refused = client.post("/v1/jobs", json=full)

        assert (problem(refused), "retry-after" in refused.headers) == ((503, "too_busy"), True)
        half.close()
        eventually(lambda: client.post("/v1/jobs", json=full).status_code == 202, what="there is room again")


JSON, FORM = "application/json", "multipart/form-data; boundary=m"
MULTIPART = (
    b'--m\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    b'--m\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)
FILE = b"QUJD" * 50_000
ROUTES = [
    ("/v1/jobs", JSON, b'{"inputs": ["'),
    ("/v1/embeddings", JSON, b'{"input": "'),
    ("/asr/transcribe", JSON, b'{"audio_base64": "'),
    ("/embed/vision", JSON, b'{"image_base64": "'),
    ("/embed/text", JSON, b'{"text": "'),
    ("/v1/audio/transcriptions", FORM, MULTIPART),
    ("/face/detect", FORM, MULTIPART),
]


def chunked(port: int, path: str, kind: str, pieces: Sequence[bytes]) -> bytes:
    """Send the beginning of a body that does not say how long it is, and return the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), LONG_S) as link:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        link.sendall(head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
        return link.recv(4096).partition(b" ")[2][:3]


@pytest.mark.parametrize(("path", "kind", "start"), ROUTES, ids=[path for path, _, _ in ROUTES])
def test_whatever_a_body_holds_it_may_be_neither_too_large_nor_too_slow(
    redis_settings: RedisSettings, played: Families, path: str, kind: str, start: bytes
) -> None:
    """JSON, base64 and forms have the same limits."""
    del played
    with GatewayThread(redis_settings, body_timeout_s=0.1, max_body_bytes=4096) as running:
        slow = chunked(running.port, path, kind, [start])
        large = chunked(running.port, path, kind, [start, *[b"QUJD" * 256] * 5])

    assert (slow, large) == (b"408", b"413")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/jobs", b'{"model": "echo", "op": "echo", "inputs": ["' + b"x" * 5_000_000 + b'"]}', "body_too_large"),
        ("/v1/jobs", b'{"model": "echo", "op": "echo", "inputs": [' + b"0," * 60_000 + b"0]}", "body_too_large"),
        ("/v1/embeddings", b'{"model": "bge-m3", "input": "' + b"x" * 5_000_000 + b'"}', "body_too_large"),
        ("/embed/text", b'{"text": "' + b"x" * 1_100_000 + b'"}', "body_too_large"),
        ("/v1/jobs", b'{"model": "echo", "op": "echo", "inputs": [{"base64": "' + FILE + b'"}]}', "input_too_large"),
        ("/v1/embeddings", b'{"model": "siglip", "input": "data:image/png;base64,' + FILE + b'"}', "input_too_large"),
    ],
    ids=["texts", "values", "inputs", "a text", "a file", "a picture"],
)
def test_what_would_hold_all_others_up_is_too_large(
    redis_settings: RedisSettings, played: Families, path: str, body: bytes, code: str
) -> None:
    """JSON is parsed at once, so what is to be parsed has a limit, and files are decoded as they come."""
    del played
    limited = redis_settings.model_copy(update={"max_input_bytes": 100_000})
    with GatewayThread(limited) as running, httpx2.Client(base_url=running.url, timeout=LONG_S) as client:
        told = client.post(path, content=body)

    assert problem(told) == (413, code)
    assert ("/v1/audio/transcriptions" in told.json()["detail"]) is (code == "body_too_large" and path != "/embed/text")


def test_a_body_that_stands_still_is_given_up(redis_settings: RedisSettings, played: Families) -> None:
    """And its caller told, if it still listens."""
    del played
    with (
        GatewayThread(redis_settings, body_timeout_s=0.1) as running,
        socket.create_connection(("127.0.0.1", running.port), LONG_S) as link,
    ):
        link.sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert link.recv(4096).startswith(b"HTTP/1.1 408 ")


def trickle(port: int, headers: bytes, first: bytes) -> bytes:
    """Send the beginning of a body, and on until the gateway closes; return what it answered."""
    told = b""
    with socket.create_connection(("127.0.0.1", port), LONG_S) as link:
        link.sendall(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n" + first)
        while heard := _heard(link):
            told += heard
            # another byte of the body, which keeps no line open
            with contextlib.suppress(OSError):
                link.sendall(b"x")
    return told


def _heard(link: socket.socket) -> bytes:
    """Return what the other side says next; b"" if it has closed."""
    try:
        return link.recv(4096)
    except ConnectionResetError:
        return b""


LENGTH = b"content-length: 100000000\r\n"
KEYED = b"authorization: Bearer key-of-the-first\r\n"


@pytest.mark.parametrize(
    ("headers", "first", "status"),
    [
        (LENGTH, b"{", b"401"),
        (KEYED + LENGTH, b"{", b"413"),
        (KEYED + b"content-length: 1000\r\n", b"{", b"408"),
        (KEYED + b"transfer-encoding: chunked\r\n", b"c00\r\n" + b"x" * 3072 + b"\r\n", b"413"),
        (KEYED + b"content-length: 1500\r\n", b"{", b"413"),
    ],
    ids=["no key", "too large", "too slow", "too large as it comes", "larger than all together"],
)
def test_what_is_answered_before_its_body_is_whole_ends_the_connection(
    redis_settings: RedisSettings, played: Families, headers: bytes, first: bytes, status: bytes
) -> None:
    """However long its caller would have gone on."""
    del played
    limits = {"max_body_bytes": 2048, "max_bodies_bytes": 1024, "body_timeout_s": 0.1}
    with GatewayThread(redis_settings, api_keys=KEYS, **limits) as running:
        told = trickle(running.port, headers, first)

    assert told.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nconnection: close\r\n" in told.lower()


def test_an_answer_is_read_by_whoever_still_sends(redis_settings: RedisSettings, played: Families) -> None:
    """The line is not cut under it, and nothing of a whole body ends the connection."""
    del played
    with (
        GatewayThread(redis_settings, api_keys=KEYS) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        refused = client.post("/v1/jobs", content=b"x" * 8_000_000)
        client.headers["authorization"] = "Bearer key-of-the-first"
        served = client.post("/v1/jobs", json=ECHO)

    assert problem(refused) == (401, "invalid_api_key")
    assert (served.status_code, "connection" in served.headers) == (202, False)


# ids and times


def test_every_answer_carries_an_id_and_its_time(http: httpx2.Client) -> None:
    """Its caller's id if that is fit to be a header, else one of its own; errors too."""
    own = http.get("/v1/models", headers={"x-request-id": "mine-1"})
    unfit = http.get("/nowhere", headers={"x-request-id": "no good"})

    assert (own.headers["x-request-id"], float(own.headers["x-total-time"]) > 0) == ("mine-1", True)
    assert re.fullmatch("[0-9a-f]{32}", unfit.headers["x-request-id"])


def test_where_the_time_went_is_told(http: httpx2.Client) -> None:
    """In ms, as the worker measured it."""
    told = http.post("/v1/jobs", json=ECHO, headers=WAIT).headers

    names = ["queue", "prepare", "inference", "compute", "total"]
    assert [float(told[f"x-{name}-time"]) >= 0 for name in names] == [True] * 5


def test_pages_of_other_origins_may_not_call(http: httpx2.Client) -> None:
    """Unless they are named."""
    told = http.get("/v1/models", headers={"origin": "https://elsewhere.example"})

    assert "access-control-allow-origin" not in told.headers


def test_pages_of_named_origins_may_call(redis_settings: RedisSettings, played: Families) -> None:
    """Also where a key is asked for, which a browser's first question does not carry."""
    del played
    named = {"cors_origins": "https://app.example", "api_keys": KEYS}
    with GatewayThread(redis_settings, **named) as running, httpx2.Client(base_url=running.url) as client:
        asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
        told = client.options("/v1/embeddings", headers=asked)

        read = client.get("/v1/models?colour=red", headers={"origin": "https://app.example"})

    assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert "x-penstock-ignored" in read.headers["access-control-expose-headers"].split(", ")


FOREIGN = ["https://elsewhere.example", "http://127.0.0.1:1", "null"]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/jobs"), ("POST", "/embed/text"), ("DELETE", "/v1/jobs/echo:1")]
)
def test_pages_of_other_origins_start_and_end_nothing(http: httpx2.Client, method: str, path: str, origin: str) -> None:
    """Although a browser sends plain text anywhere without asking."""
    headers = {"origin": origin, "content-type": "text/plain"}
    told = http.request(method, path, content=json.dumps(ECHO), headers=headers)

    assert problem(told) == (403, "foreign_origin")


def test_pages_of_the_gateway_itself_may_call(http: httpx2.Client) -> None:
    """Those of /docs do, also behind a proxy that speaks TLS."""
    origins = [f"{scheme}://{http.base_url.netloc.decode()}" for scheme in ("http", "https")]

    assert [http.post("/v1/jobs", json=ECHO, headers={"origin": origin}).status_code for origin in origins] == [202] * 2


@pytest.mark.parametrize("named", ["https://app.example", "*"])
def test_pages_of_named_origins_may_start_jobs(redis_settings: RedisSettings, played: Families, named: str) -> None:
    """Without a key where none is asked for."""
    del played
    with GatewayThread(redis_settings, cors_origins=named) as running, httpx2.Client(base_url=running.url) as client:
        told = client.post("/v1/jobs", json=ECHO, headers={"origin": "https://app.example"})

    assert told.status_code == 202


def test_whoever_names_a_key_may_call_from_anywhere(locked: httpx2.Client) -> None:
    """A page that knows the key was given it."""
    headers = {"origin": "https://elsewhere.example", "authorization": "Bearer key-of-the-first"}

    assert locked.post("/v1/jobs", json=ECHO, headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nowhere", (404, "not_found")), ("GET", "/embed/text", (405, "method_not_allowed"))],
)
def test_what_is_not_there_is_a_problem_too(
    http: httpx2.Client, method: str, path: str, expected: tuple[int, str]
) -> None:
    """One form for every error."""
    assert problem(http.request(method, path)) == expected


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/embeddings", "/embed/text", "/asr/transcribe", "/embed/vision"])
@pytest.mark.parametrize("body", [b"{bad", b"", b'{"text": Infinity}', b'{"text": NaN}', b"\xff"])
def test_what_is_no_json_is_told_alike(http: httpx2.Client, path: str, body: bytes) -> None:
    """On every route, whatever it says of its type."""
    told = http.post(path, content=body, headers={"content-type": "application/json"})

    assert problem(told) == (400, "invalid_json")


def test_the_description_tells_of_problems_and_of_nothing_else(http: httpx2.Client) -> None:
    """Every operation has them; without keys nobody is told to name one."""
    told = http.get("/openapi.json").json()
    operations = [each for path in told["paths"].values() for each in path.values()]

    assert {tuple(operation["responses"]) for operation in operations} == {("200", "4XX", "5XX")}
    assert operations[0]["responses"]["4XX"]["content"].keys() == {"application/problem+json"}
    assert "ValidationError" not in json.dumps(told)
    assert ("securitySchemes" in told["components"], "security" in json.dumps(operations)) == (False, False)


def test_the_description_says_where_a_key_is_asked_for(locked: httpx2.Client) -> None:
    """And how it is named."""
    told = locked.get("/openapi.json").json()
    keyed = {path: "security" in operation for path, at in told["paths"].items() for operation in at.values()}

    assert told["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    assert (keyed["/v1/jobs"], keyed["/embed/text"], keyed["/health"], keyed["/"]) == (True, True, False, False)


# health


def test_health_turns_with_the_workers(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """503 until a live worker has announced itself, 200 then, 503 when work waits and none is done."""
    with (
        GatewayThread(redis_settings, stalled_s=0.2) as running,
        httpx2.Client(base_url=running.url) as http,
        Client(settings=redis_settings) as client,
    ):
        assert (http.get("/health").status_code, http.get("/health").json()["status"]) == (503, "unhealthy")

        consumer = make_consumer(model="echo")
        consumer.announce({"ops": "echo", "device": "cpu", "started": "0"})
        show_life(consumer)
        eventually(lambda: http.get("/health").status_code == 200, what="healthy")

        client.submit("echo", "echo", ["waits"])
        eventually(lambda: http.get("/health").status_code == 503, what="unhealthy while nothing is done")
        assert http.get("/health").json()["reason"] == "work waits and none is done, of echo"

        consumer.settle([echo(read_one(consumer))])
        eventually(lambda: http.get("/health").status_code == 200, what="healthy again")

        raw.delete(consumer.keys.workers)
        eventually(lambda: http.get("/health").status_code == 503, what="nobody is alive")


def test_without_redis_the_gateway_says_so(own_server: Server, make_consumer: MakeConsumer) -> None:
    """With a status that says come again, and goes on when Redis is back."""
    del make_consumer
    settings = RedisSettings.from_env({}, url=own_server.url, socket_timeout_s=1.0)
    with GatewayThread(settings) as running, httpx2.Client(base_url=running.url, timeout=LONG_S) as http:
        own_server.kill()
        eventually(lambda: "no worker" not in http.get("/health").json()["reason"], what="the gateway has noticed")
        told = http.post("/v1/jobs", json=ECHO, headers={"x-penstock-timeout": "0.5", **WAIT})

        assert problem(told) == (503, "unavailable")
        assert int(told.headers["retry-after"]) >= 1
        own_server.start()
        eventually(lambda: http.get("/health").json()["reason"] == "no worker is alive", what="Redis is back")


# callers


@pytest.fixture
def slow(make_consumer: MakeConsumer) -> Consumer:
    """Return a live worker of echo that answers when the test says so."""
    consumer = make_consumer(model="echo")
    consumer.announce({"ops": OPS["echo"], "started": "0"})
    show_life(consumer)
    return consumer


@pytest.fixture
def front(redis_settings: RedisSettings, slow: Consumer) -> Iterator[GatewayThread]:
    """Yield a gateway in front of that worker."""
    del slow
    with GatewayThread(redis_settings) as running:
        yield running


def post(front: GatewayThread, headers: str, body: dict[str, Any], *, prefer: str = "wait") -> socket.socket:
    """Ask on a socket of its own, which the test may close."""
    content = json.dumps(body).encode()
    link = socket.create_connection(("127.0.0.1", front.port), LONG_S)
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\nprefer: {prefer}\r\n{headers}\r\n"
    link.sendall(head.encode() + content)
    return link


@pytest.mark.parametrize("named", [{"idempotency-key": "order-4"}, {}], ids=["a key", "a job"])
def test_a_caller_who_named_its_job_may_leave(front: GatewayThread, slow: Consumer, named: dict[str, str]) -> None:
    """Also while it waits for a while: the job goes on, and it can come back for it."""
    body = ECHO if named else {**ECHO, "job_id": "mine"}
    link = post(front, "".join(f"{name}: {value}\r\n" for name, value in named.items()), body, prefer="wait=20")
    delivery = read_one(slow)
    link.close()
    eventually(lambda: 'status="error"} 1.0' in httpx2.get(f"{front.url}/metrics").text, what="the gateway has noticed")

    assert slow.answered([delivery]) == set()


@pytest.mark.parametrize("prefer", ["wait", "wait=20"])
def test_a_caller_who_leaves_has_its_job_cancelled(front: GatewayThread, slow: Consumer, prefer: str) -> None:
    """The worker need not do what nobody waits for, however long its caller meant to wait."""
    link = post(front, "", ECHO, prefer=prefer)
    delivery = read_one(slow)
    link.close()

    eventually(lambda: slow.answered([delivery]) == {delivery.place}, what="the job is answered: cancelled")
    page = httpx2.get(f"{front.url}/metrics").text
    assert 'model_service_requests_total{model="echo",status="error"} 1.0' in page


def test_who_waits_for_a_while_is_counted_and_told_where_the_time_went(http: httpx2.Client) -> None:
    """As whoever waits for as long as it takes."""
    told = http.post("/v1/jobs", json=ECHO, headers=FOR_A_WHILE)

    assert (told.status_code, told.json()["result"]) == (200, {"outputs": ["hello", 3]})
    assert float(told.headers["x-compute-time"]) >= 0
    assert 'model_service_requests_total{model="echo",status="success"} 1.0' in http.get("/metrics").text


def test_who_has_waited_enough_is_not_counted(front: GatewayThread, slow: Consumer) -> None:
    """Its job has not ended, and goes on."""
    with httpx2.Client(base_url=front.url, timeout=LONG_S) as http:
        told = http.post("/v1/jobs", json=ECHO, headers={"prefer": "wait=0"})
        page = http.get("/metrics").text

    assert (told.status_code, slow.answered([read_one(slow)])) == (202, set())
    assert "model_service_requests_total{" not in page


def test_a_caller_who_leaves_in_mid_body_is_no_fault(
    front: GatewayThread, slow: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged, nothing is queued, and others are answered."""
    for path in ("/v1/jobs", "/v1/embeddings", "/asr/transcribe", "/embed/text"):
        with socket.create_connection(("127.0.0.1", front.port), LONG_S) as link:
            link.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
    with httpx2.Client(base_url=front.url, timeout=LONG_S) as http:
        answers = [http.get("/").status_code for _ in range(20)]

    assert answers == [200] * 20
    assert slow.read(["interactive"], 1, block_ms=10) == []
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_caller_who_means_to_come_back_does_not(front: GatewayThread, slow: Consumer) -> None:
    """It named an Idempotency-Key; the same request later gets the answer of the one job there was."""
    key = "idempotency-key: order-1\r\n"
    link = post(front, key, ECHO)
    delivery = read_one(slow)
    link.close()
    slow.settle([echo(delivery)])

    with httpx2.Client(base_url=front.url, timeout=LONG_S) as http:
        told = http.post("/v1/jobs", content=json.dumps(ECHO), headers={"idempotency-key": "order-1", **WAIT})

    assert told.json()["result"] == {"outputs": ["hello", 3]}
    assert told.json()["id"] == f"echo:{job_of(delivery).id}"
    assert slow.read(["interactive"], 1, block_ms=10) == []


def test_a_key_stands_for_one_request(front: GatewayThread, slow: Consumer) -> None:
    """Another under the same key is refused; the key of another route or caller is another key."""
    with httpx2.Client(base_url=front.url, timeout=LONG_S) as http:
        key = {"idempotency-key": "order-2"}
        first = http.post("/v1/jobs", json=ECHO, headers=key)
        again = http.post("/v1/jobs", json=ECHO, headers=key)
        other = http.post("/v1/jobs", json={**ECHO, "inputs": ["another"]}, headers=key)
        whose = http.post("/v1/jobs", json=ECHO, headers={**key, "authorization": "Bearer somebody-else"})

    assert (first.status_code, first.json()["id"]) == (202, again.json()["id"])
    assert problem(other) == (422, "idempotency_key_reused")
    assert whose.json()["id"] != first.json()["id"]
    assert len(slow.read(["interactive"], 9, block_ms=10)) == 2


FOR_A_WHILE = {"prefer": "wait=9"}

WRONG: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("/v1/jobs", {**ECHO, "lane": "fast"}, {}),
    ("/v1/jobs", {**ECHO, "timeout_s": 0}, FOR_A_WHILE),
    ("/v1/jobs", {**ECHO, "keep_s": -1}, WAIT),
    ("/v1/jobs", {**ECHO, "op": ""}, {}),
    ("/v1/jobs", {**ECHO, "op": "sing"}, FOR_A_WHILE),
    ("/v1/jobs", {**ECHO, "op": "sing"}, WAIT),
    ("/v1/jobs", {**ECHO, "inputs": [{"blob": 1}]}, {}),
    ("/v1/jobs", {**ECHO, "inputs": [{"blob": 1}]}, WAIT),
    ("/v1/embeddings", {"model": "siglip", "modality": "image", "input": "data:image/png;base64,*"}, {}),
    ("/v1/embeddings", {"model": "siglip", "input": ["text", "data:image/png;base64,QUJD"]}, {}),
]


@pytest.mark.parametrize(("path", "body", "headers"), WRONG)
def test_what_is_refused_uses_no_key_up(
    http: httpx2.Client, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    """The request put right may come under the same key."""
    key = {"idempotency-key": "order-3", **headers}
    wrong = http.post(path, json=body, headers=key)
    right = http.post(path, json=ECHO if path == "/v1/jobs" else {"model": "siglip", "input": "text"}, headers=key)

    assert (wrong.status_code in {404, 422}, right.is_success) == (True, True)


def test_a_time_that_is_up_is_told(front: GatewayThread) -> None:
    """With 504, whether the caller says how long it waits or OpenAI's client does."""
    with httpx2.Client(base_url=front.url, timeout=LONG_S) as http:
        for name in ("x-penstock-timeout", "x-stainless-read-timeout"):
            assert problem(http.post("/v1/jobs", json=ECHO, headers={name: "0.05", **WAIT})) == (504, "timeout")
        refused = http.post("/v1/jobs", json=ECHO, headers={"x-penstock-timeout": "soon", **WAIT})
        assert problem(refused) == (422, "invalid_input")


def test_openais_client_may_wait_longer_than_is_waited_here(http: httpx2.Client) -> None:
    """It names its time by itself; whoever names one on purpose is told."""
    for said in ("1e9", "inf"):
        assert http.post("/v1/jobs", json=ECHO, headers={"x-stainless-read-timeout": said, **WAIT}).status_code == 200
        refused = http.post("/v1/jobs", json=ECHO, headers={"x-penstock-timeout": said, **WAIT})
        assert problem(refused) == (422, "invalid_input")


def test_a_model_nobody_serves_now_is_worth_another_try(
    redis_settings: RedisSettings, slow: Consumer, raw: "Redis"
) -> None:
    """503 if it was served once, 404 if never."""
    raw.delete(Keys(redis_settings.prefix, "echo").workers)
    del slow
    with GatewayThread(redis_settings) as running, httpx2.Client(base_url=running.url) as http:
        gone = http.post("/v1/jobs", json=ECHO, headers=WAIT)
        never = http.post("/v1/jobs", json={**ECHO, "model": "never"}, headers=WAIT)

    assert (problem(gone), "retry-after" in gone.headers) == ((503, "no_worker"), True)
    assert problem(never) == (404, "model_not_found")


def test_an_op_the_model_does_not_offer_is_not_found(http: httpx2.Client) -> None:
    """By name."""
    told = http.post("/v1/jobs", json={**ECHO, "op": "sing"}, headers=WAIT)

    assert problem(told) == (404, "model_not_found")
    assert told.json()["detail"] == "echo does not offer sing"


@pytest.mark.parametrize("inputs", [["x" * 1000] * 1500, ["x" * 2_000_000], ["small"]])
def test_a_reply_is_heard_whatever_the_inputs_weigh(
    redis_settings: RedisSettings, played: Families, inputs: list[str]
) -> None:
    """Large ones travel on a connection of their own; without a sweep, only who is told of the reply hears of it."""
    del played
    unswept = redis_settings.model_copy(update={"sweep_s": 600.0})
    with GatewayThread(unswept) as running, httpx2.Client(base_url=running.url, timeout=LONG_S) as http:
        jobs = http.post("/v1/jobs", json={**ECHO, "inputs": inputs}, headers=WAIT)
        vectors = http.post("/v1/embeddings", json={"model": "bge-m3", "input": inputs})

    assert (jobs.status_code, vectors.status_code) == (200, 200)
    assert len(vectors.json()["data"]) == len(inputs)


def test_a_hundred_callers_at_a_time_get_each_their_own(gateway: GatewayThread) -> None:
    """None gets the answer to another."""
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        with httpx2.Client(base_url=gateway.url, timeout=LONG_S) as client:
            told = client.post("/v1/jobs", json={**ECHO, "inputs": [number]}, headers=WAIT)
            answers[number] = told.json()["result"]["outputs"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)

    assert answers == {number: [number] for number in range(100)}
