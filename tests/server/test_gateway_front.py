"""Requests as clients and proxies really send them: HEAD, compressed bodies, prefixes, host names, time limits."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator

import httpx2
import pytest
from redis import Redis

from rpc import RedisSettings
from rpc.keys import Keys
from tests.answering import job_of, read_one
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import Families
from tests.gateways import GatewayThread
from tests.server.test_gateway_http import ECHO, MULTIPART, WAIT, problem
from tests.waiting import LONG_S

pytestmark = [pytest.mark.server, ON_VALKEY]

JSON = {"content-type": "application/json"}


# HEAD


READABLE = ["/", "/health", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v1/models/echo"]


def test_head_is_get_without_its_body(http: httpx2.Client) -> None:
    """Each route that answers GET answers HEAD with the same status and kind of content."""
    for path in READABLE:
        head, get = http.head(path), http.get(path)

        assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_head_of_a_job_and_of_its_events_ends_at_once(http: httpx2.Client) -> None:
    """A stream is not followed, and the connection serves the next request."""
    place = http.post("/v1/jobs", json=ECHO).headers["location"]
    statuses = [http.head(path).status_code for path in (place, f"{place}/events", "/v1/jobs/echo:none", "/nowhere")]

    assert statuses == [200, 200, 404, 404]
    assert http.head("/v1/embeddings").status_code == 405


MALFORMED = [
    b"NONSENSE\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nno header\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\ntoo-long: " + b"x" * 200_000 + b"\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
]


def test_what_is_not_http_is_told_in_the_form_of_all_errors(gateway: GatewayThread) -> None:
    """By the server, which no route has a hand in."""
    for request in MALFORMED:
        with socket.create_connection(("127.0.0.1", gateway.port), LONG_S) as link:
            link.sendall(request)
            head, _, body = link.recv(65536).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["error"]["code"] == "bad_request"


# compressed bodies


def raw_deflate(content: bytes) -> bytes:
    """Return deflate without zlib's header, as some clients send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def members(content: bytes) -> bytes:
    """Return gzip of two members."""
    return gzip.compress(content[:9]) + gzip.compress(content[9:])


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("x-gzip", members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", bytes),
    ("identity, gzip", gzip.compress),
]


def test_a_compressed_body_is_read(http: httpx2.Client) -> None:
    """In each coding HTTP names and the standard library reads."""
    for coding, pack in PACKED:
        headers = {**JSON, **WAIT, "content-encoding": coding}
        answer = http.post("/v1/jobs", content=pack(json.dumps(ECHO).encode()), headers=headers)

        assert (coding, answer.status_code, answer.json()["result"]) == (coding, 200, {"outputs": ["hello", 3]})


def test_a_compressed_form_is_read(http: httpx2.Client, played: Families) -> None:
    """A file in it arrives whole."""
    audio = b"good day " * 50_000
    body = gzip.compress(MULTIPART + audio + b"\r\n--m--\r\n")
    headers = {"content-type": "multipart/form-data; boundary=m", "content-encoding": "gzip"}
    answer = http.post("/v1/audio/transcriptions", content=body, headers=headers)

    assert (answer.status_code, played.inputs) == (200, [audio])


def test_a_coding_that_is_not_read_is_named(http: httpx2.Client) -> None:
    """The answer says which are, as HTTP wants it."""
    for coding in ("br", "zstd", "compress", "gzip, gzip", "nonsense"):
        answer = http.post("/v1/embeddings", content=b"\x8b\x00", headers={**JSON, "content-encoding": coding})

        assert problem(answer) == (415, "unsupported_encoding")
        assert (coding in answer.json()["detail"], answer.headers["accept-encoding"]) == (True, "gzip, deflate")


WHOLE = gzip.compress(json.dumps(ECHO).encode())
DAMAGED = [
    ("gzip", json.dumps(ECHO).encode()),
    ("gzip", WHOLE[:-9]),
    ("gzip", WHOLE[:3]),
    ("gzip", WHOLE + b"behind"),
    ("gzip", WHOLE[:-8] + b"\0" * 8),
    ("deflate", b"\xff" * 20),
    ("deflate", zlib.compress(b"{}") + b"behind"),
]


def test_a_body_that_is_not_what_it_says_is_refused(http: httpx2.Client) -> None:
    """As the caller's fault, and named, on every kind of route that reads JSON."""
    for path in ("/v1/jobs", "/v1/embeddings", "/embed/text", "/asr/transcribe"):
        for coding, body in DAMAGED:
            answer = http.post(path, content=body, headers={**JSON, "content-encoding": coding})
            assert problem(answer) == (400, "invalid_encoding")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/face/detect"])
def test_a_form_that_is_not_what_it_says_is_refused(http: httpx2.Client, path: str) -> None:
    """Although a part of it is already parsed."""
    body = gzip.compress(MULTIPART + b"good day\r\n--m--\r\n")[:-9]
    headers = {"content-type": "multipart/form-data; boundary=m", "content-encoding": "gzip"}

    assert problem(http.post(path, content=body, headers=headers)) == (400, "invalid_encoding")


BOMBS = [
    ("/v1/jobs", JSON, b'{"inputs": ["'),
    ("/v1/embeddings", JSON, b'{"input": "'),
    ("/embed/text", JSON, b'{"text": "'),
    ("/asr/transcribe", JSON, b'{"audio_base64": "'),
    ("/v1/audio/transcriptions", {"content-type": "multipart/form-data; boundary=m"}, MULTIPART),
]


def test_a_bomb_is_refused_at_the_limit_of_bodies(redis_settings: RedisSettings, played: Families) -> None:
    """What would become 32 MiB is decompressed no further than the limit, on every kind of route."""
    del played
    with GatewayThread(redis_settings, max_body_bytes=200_000) as running, httpx2.Client(base_url=running.url) as http:
        for path, headers, start in BOMBS:
            bomb = zlib.compress(start + b"A" * 32 * 1024**2)
            answer = http.post(path, content=bomb, headers={**headers, "content-encoding": "deflate"})
            assert (path, len(bomb) < 100_000, problem(answer)) == (path, True, (413, "body_too_large"))


# a prefix


@pytest.fixture
def behind(redis_settings: RedisSettings, played: Families) -> Iterator[httpx2.Client]:
    """Yield a client of a gateway that a proxy publishes under /ai."""
    del played
    with (
        GatewayThread(redis_settings, root_path="/ai/") as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        yield client


@pytest.mark.parametrize("prefix", ["", "/ai"], ids=["cut off by the proxy", "passed on"])
def test_a_prefix_may_be_cut_off_or_passed_on(behind: httpx2.Client, prefix: str) -> None:
    """All routes are served either way, and what they name is what callers reach."""
    queued = behind.post(f"{prefix}/v1/jobs", json=ECHO)
    statuses = [behind.get(prefix + path).status_code for path in ("/", "/health", "/docs", "/v1/models/echo")]

    assert (queued.status_code, statuses) == (202, [200] * 4)
    assert queued.headers["location"] == f"/ai/v1/jobs/{queued.json()['id']}"
    assert behind.get(queued.headers["location"]).status_code == 200
    assert behind.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/ai"}]
    assert '"/ai/openapi.json"' in behind.get(f"{prefix}/docs").text.replace("'", '"')


def test_another_prefix_is_not_taken_for_it(behind: httpx2.Client) -> None:
    """Nor is a name that only begins as it does."""
    paths = ("/aim/v1/models", "/ai/ai/v1/models", "/other/v1/models")

    assert [behind.get(path).status_code for path in paths] == [404] * 3


def test_a_prefix_opens_no_door(redis_settings: RedisSettings, played: Families) -> None:
    """Where keys are asked for, they are asked for under the prefix too, but not for what is open."""
    del played
    with (
        GatewayThread(redis_settings, root_path="/ai", api_keys="key-of-the-first") as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as client,
    ):
        statuses = [client.get(path).status_code for path in ("/ai/v1/models", "/ai/health", "/ai", "/ai/")]

    assert statuses == [401, 200, 200, 200]


# host names


REBOUND = ["attacker.example", "attacker.example:8001", "127.0.0.1.attacker.example", "localhost.attacker.example"]


def test_a_page_that_rebinds_its_name_reads_and_starts_nothing(http: httpx2.Client) -> None:
    """Its browser sends the page's own name, although the address is the loopback's and the origin is the host."""
    for host in REBOUND:
        headers = {"host": host, "origin": f"http://{host}"}
        answers = [http.get(path, headers=headers) for path in ("/v1/models", "/v1/jobs/echo:1", "/health", "/docs")]
        answers.append(http.post("/v1/jobs", json=ECHO, headers=headers))

        assert [problem(answer) for answer in answers] == [(403, "foreign_host")] * 5


LOCAL = ["localhost", "LOCALHOST:8001", "app.localhost", "gateway", "127.0.0.1:80", "192.168.1.7", "[::1]:8001", ""]


def test_addresses_and_local_names_are_answered(gateway: GatewayThread) -> None:
    """No page of somebody else can have them."""
    for host in LOCAL:
        with socket.create_connection(("127.0.0.1", gateway.port), LONG_S) as link:
            link.sendall(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())

            assert (host, link.recv(4096)[:13]) == (host, b"HTTP/1.1 200 ")


NAMED = [
    ({"allowed_hosts": "ai.example.com"}, {"ai.example.com:443": 200, "api.example.com": 403}),
    ({"cors_origins": "https://app.example"}, {"app.example": 200}),
    ({"api_keys": "key-of-the-first"}, {"anything.example": 200}),
    ({"api_keys": "key-of-the-first", "allowed_hosts": "*.example.com"}, {"a.example.com": 200, "b.example": 403}),
]


@pytest.mark.parametrize(("given", "statuses"), NAMED)
def test_more_names_are_a_setting(
    redis_settings: RedisSettings, played: Families, given: dict[str, str], statuses: dict[str, int]
) -> None:
    """A page does not know a key, so names are only checked where none is set or some are named."""
    del played
    key = {"authorization": "Bearer key-of-the-first"}
    with GatewayThread(redis_settings, **given) as running, httpx2.Client(base_url=running.url, headers=key) as client:
        answers = {host: client.get("/v1/models", headers={"host": host}).status_code for host in statuses}

    assert answers == statuses


# models that nobody serves now


def test_a_name_with_slashes_is_an_alias_like_others(redis_settings: RedisSettings, played: Families) -> None:
    """As names on the hub have them, escaped or not; one that stands for nothing is 404."""
    del played
    aliases = "BAAI/bge-m3=bge-m3"
    with GatewayThread(redis_settings, model_aliases=aliases) as running, httpx2.Client(base_url=running.url) as http:
        models = [http.get(f"/v1/models/{name}") for name in ("BAAI/bge-m3", "BAAI%2Fbge-m3", "bge-m3")]
        never = http.get("/v1/models/somebody/else")
        listed = http.get("/v1/models/")

    assert [(each.status_code, each.json()["id"]) for each in models] == [(200, "bge-m3")] * 3
    assert problem(never) == (404, "model_not_found")
    assert [each["id"] for each in listed.json()["data"]] == ["bge-m3", "echo", "siglip", "whisper", "yunet"]


LATER = [
    ("GET", "/v1/models/echo", {}),
    ("GET", "/v1/models/whisper-1", {}),
    ("POST", "/v1/embeddings", {"model": "bge-m3", "input": "text"}),
    ("POST", "/embed/text", {"text": "text"}),
    ("POST", "/embed/vision", {"image_base64": "QUJD"}),
    ("POST", "/asr/transcribe", {"audio_base64": "QUJD"}),
]


def test_a_model_that_a_worker_will_serve_is_worth_another_try(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """503 with the time to come back: for what was served before, and for what has a route or an alias."""
    with Families(make_consumer, models=["echo"]):
        raw.delete(Keys(redis_settings.prefix, "echo").workers)
        with GatewayThread(redis_settings) as running, httpx2.Client(base_url=running.url) as http:
            answers = [http.request(method, path, json=body or None) for method, path, body in LATER]

    assert [problem(answer) for answer in answers] == [(503, "no_worker")] * len(LATER)
    assert all("retry-after" in answer.headers for answer in answers)


def test_before_any_worker_has_begun_no_model_is_called_unknown(redis_settings: RedisSettings) -> None:
    """It may be the one that is being loaded."""
    with GatewayThread(redis_settings) as running, httpx2.Client(base_url=running.url) as http:
        answer = http.post("/v1/embeddings", json={"model": "mine", "input": "text"})

    assert problem(answer) == (503, "no_worker")


# time limits


LIMITS = [
    ({"x-stainless-timeout": "7"}, 8_000),
    ({"x-stainless-timeout": "0"}, 1_000),
    ({"x-stainless-read-timeout": "8.5"}, 9_500),
    ({"x-stainless-timeout": "9", "x-stainless-read-timeout": "8"}, 9_000),
    ({"x-envoy-expected-rq-timeout-ms": "15000"}, 16_000),
    ({"x-server-timeout": "12"}, 13_000),
    ({"x-litellm-timeout": "11"}, 12_000),
    ({"x-penstock-timeout": "20", "x-stainless-timeout": "7"}, 20_000),
    ({"x-stainless-timeout": "600000000"}, 86_400_000),
    ({"x-stainless-timeout": "NaN"}, 3_600_000),
    ({"x-stainless-timeout": "-1"}, 3_600_000),
    ({"x-stainless-read-timeout": "not given"}, 3_600_000),
    ({"x-litellm-timeout": "None"}, 3_600_000),
    ({"x-envoy-expected-rq-timeout-ms": "soon"}, 3_600_000),
    ({"x-stainless-timeout": "NaN", "x-stainless-read-timeout": "8"}, 9_000),
]


def test_a_clients_own_time_limit_bounds_its_job(redis_settings: RedisSettings, make_consumer: MakeConsumer) -> None:
    """In the unit of each header, and a second more; the caller's own counts first, and one without a number never."""
    consumer = make_consumer(model="echo")
    consumer.announce({"ops": "echo"})
    with GatewayThread(redis_settings) as running, httpx2.Client(base_url=running.url) as http:
        for headers, ttl_ms in LIMITS:
            http.post("/v1/jobs", json=ECHO, headers=headers)
            assert (headers, job_of(read_one(consumer)).ttl_ms) == (headers, ttl_ms)
        refused = [
            http.post("/v1/jobs", json=ECHO, headers={"x-penstock-timeout": text}) for text in ("soon", "NaN", "-1")
        ]

    assert [problem(answer) for answer in refused] == [(422, "invalid_input")] * 3
