"""Answers that nobody reads: a bounded number of bytes, for a bounded time, and nobody else waits for them."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from rpc import RedisSettings
from tests.conftest import ON_VALKEY
from tests.families import Families
from tests.gateways import GatewayThread
from tests.server.test_gateway_http import ECHO, WAIT, problem
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, ON_VALKEY]

MIB = 1024 * 1024

FILE = {**ECHO, "job_id": "large", "inputs": [{"base64": base64.b64encode(bytes(6 * MIB)).decode()}]}
"""A job whose result takes 8 MiB as JSON, more than the system's buffers of a connection."""


@contextlib.contextmanager
def unread(port: int, request: str, *, buffer: int = 8192) -> Iterator[socket.socket]:
    """Yield a connection of a caller that asks and reads nothing, whose own buffer is small."""
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        link.settimeout(LONG_S)
        link.connect(("127.0.0.1", port))
        link.sendall(f"{request}\r\nhost: x\r\n\r\n".encode())
        yield link


def read_all(link: socket.socket) -> bytes:
    """Return what the other side sends until it closes."""
    return b"".join(iter(lambda: link.recv(MIB), b""))


GET = "GET /v1/jobs/echo:large HTTP/1.1"


def test_answers_that_nobody_reads_have_a_limit_together(redis_settings: RedisSettings, played: Families) -> None:
    """A caller over it may come again; small answers always go; one that is given up makes room."""
    del played
    with (
        GatewayThread(redis_settings, max_answers_bytes=20 * MIB) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as http,
        contextlib.ExitStack() as stack,
    ):
        assert http.post("/v1/jobs", json=FILE, headers=WAIT).status_code == 200
        links = [stack.enter_context(unread(running.port, GET)) for _ in range(2)]
        head = [link.recv(12) for link in links]
        refused = [http.get("/v1/jobs/echo:large"), http.post("/v1/jobs", json=FILE, headers=WAIT)]
        small = http.get("/v1/models")
        links[0].close()
        eventually(lambda: http.get("/v1/jobs/echo:large").status_code == 200, what="there is room again")

    assert head == [b"HTTP/1.1 200"] * 2
    assert [problem(answer) for answer in refused] == [(503, "too_busy")] * 2
    assert all("retry-after" in answer.headers and "x-request-id" in answer.headers for answer in refused)
    assert small.status_code == 200


@pytest.mark.parametrize("request_line", [GET, "GET /v1/jobs/echo:large/events HTTP/1.1"], ids=["whole", "stream"])
def test_a_caller_that_does_not_read_is_cut_off(
    redis_settings: RedisSettings, played: Families, request_line: str
) -> None:
    """Its connection is reset, although its buffer was never empty, and its room is given back."""
    del played
    with (
        GatewayThread(redis_settings, answer_timeout_s=0.2, max_answers_bytes=9 * MIB) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as http,
    ):
        http.post("/v1/jobs", json=FILE, headers=WAIT)
        with unread(running.port, request_line) as link:
            begun = link.recv(12)
            eventually(lambda: http.get("/v1/jobs/echo:large").status_code == 200, what="there is room again")
            with pytest.raises(ConnectionResetError):
                read_all(link)
    assert begun == b"HTTP/1.1 200"


def test_a_caller_that_reads_slowly_but_steadily_gets_all(redis_settings: RedisSettings, played: Families) -> None:
    """The time limit is on standing still, and what is sent in pieces arrives as it was."""
    del played
    with (
        GatewayThread(redis_settings, answer_timeout_s=0.1) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as http,
    ):
        whole = http.post("/v1/jobs", json=FILE, headers=WAIT).json()
        began = time.monotonic()
        with unread(running.port, f"{GET}\r\nconnection: close", buffer=30_000) as link:
            read = read_all(link)

    assert json.loads(read.partition(b"\r\n\r\n")[2])["result"] == whole["result"]
    assert time.monotonic() - began > 0.1


def test_many_callers_that_do_not_read_take_no_more_than_the_limit(
    redis_settings: RedisSettings, played: Families
) -> None:
    """All at a time, before any of their answers is there: what they are made of counts."""
    del played
    with (
        GatewayThread(redis_settings, max_answers_bytes=20 * MIB) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as http,
        contextlib.ExitStack() as stack,
    ):
        http.post("/v1/jobs", json=FILE, headers=WAIT)
        links = [stack.enter_context(unread(running.port, GET)) for _ in range(12)]
        statuses = [link.recv(12)[-3:] for link in links]

    assert statuses.count(b"503") >= 9
    assert set(statuses) == {b"200", b"503"}
