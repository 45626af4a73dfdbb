"""The health port under clients that are idle, slow, many, or speak something else."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily

from inference_worker.supervisor import health
from inference_worker.supervisor.health import MAX_CONNECTIONS, HealthPort
from tests.waiting import LONG_S, eventually


class Worker:
    """A worker that lives and is not ready."""

    def alive(self) -> bool:
        """Return that it lives."""
        return True

    def ready(self) -> bool:
        """Return that it takes no jobs."""
        return False

    def state(self) -> dict[str, Any]:
        """Return a little."""
        return {"state": "loading"}


class SlowCollector:
    """Metrics that take until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing, so that registering collects nothing."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge, later."""
        self.entered.release()
        self.go.wait(LONG_S)
        yield GaugeMetricFamily("collected", "After a while", value=1)


@pytest.fixture
def port() -> Iterator[HealthPort]:
    """Yield a port that serves."""
    made = HealthPort(Worker(), CollectorRegistry(), host="127.0.0.1", port=0)
    made.start()
    yield made
    made.stop()


def get(port: HealthPort, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of a page."""
    link = http.client.HTTPConnection(port.address, timeout=LONG_S)
    with contextlib.closing(link):
        link.request(method, path)
        answer = link.getresponse()
        return answer.status, answer.read()


def connected(port: HealthPort, stack: contextlib.ExitStack, sent: bytes = b"") -> socket.socket:
    """Return a connection on which so much was sent."""
    host, _, number = port.address.rpartition(":")
    link = stack.enter_context(socket.create_connection((host, int(number)), timeout=LONG_S))
    link.sendall(sent)
    return link


def closed(link: socket.socket) -> bool:
    """Return whether the port has closed a connection; it sends nothing on it."""
    with contextlib.suppress(ConnectionResetError):
        assert link.recv(1) == b""
    return True


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/livez", 200, b'{"state": "loading"}'),
        ("GET", "/livez?verbose", 200, b'{"state": "loading"}'),
        ("HEAD", "/livez", 200, b""),
        ("GET", "/readyz", 503, b'{"state": "loading"}'),
        ("GET", "/metrics", 200, b""),
        ("GET", "/", 404, b"expected /livez, /readyz or /metrics\n"),
        ("POST", "/livez", 405, b"GET or HEAD expected\n"),
    ],
)
def test_each_page_is_served(port: HealthPort, method: str, path: str, status: int, body: bytes) -> None:
    """Pages are found by their path; a HEAD has the status without the body."""
    assert get(port, path, method) == (status, body)


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: "], ids=["idle", "slow"])
def test_hundreds_of_connections_keep_no_probe_out(port: HealthPort, sent: bytes) -> None:
    """Beyond the bound the oldest connection goes: descriptors and threads stay bounded, and probes are answered."""
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        links = [connected(port, stack, sent) for _ in range(300)]
        assert get(port, "/livez")[0] == 200

        assert all(map(closed, links[: 300 - MAX_CONNECTIONS]))
        assert threading.active_count() == threads
        assert len(port._connections) <= MAX_CONNECTIONS


def test_a_connection_without_a_request_has_its_time(port: HealthPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection, and one that sends without end, are closed after a while."""
    monkeypatch.setattr(health, "REQUEST_S", 0.05)
    with contextlib.ExitStack() as stack:
        assert closed(connected(port, stack))
        assert closed(connected(port, stack, b"GET /livez"))
    assert get(port, "/livez")[0] == 200


@pytest.mark.parametrize("sent", [b"\x16\x03\x01" * 10_000, b"A" * 100_000], ids=["tls", "endless"])
def test_what_is_no_request_is_closed(port: HealthPort, sent: bytes) -> None:
    """A head beyond the bound ends its connection at once."""
    with contextlib.ExitStack() as stack:
        link = connected(port, stack)
        with contextlib.suppress(ConnectionError):
            link.sendall(sent)
        assert closed(link)
    assert get(port, "/livez")[0] == 200


def test_scrapes_that_take_long_hold_up_no_probe() -> None:
    """Metrics wait for engines and Redis in threads of their own, and idle connections do not push a scrape out."""
    registry, slow = CollectorRegistry(), SlowCollector()
    registry.register(slow)
    port = HealthPort(Worker(), registry, host="127.0.0.1", port=0)
    port.start()
    scraped: list[tuple[int, bytes]] = []
    scraping = threading.Thread(target=lambda: scraped.append(get(port, "/metrics")))
    scraping.start()
    assert slow.entered.acquire(timeout=LONG_S)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MAX_CONNECTIONS):
            connected(port, stack)
        assert get(port, "/livez")[0] == 200
        slow.go.set()
        scraping.join(LONG_S)
    port.stop()

    assert [(status, b"collected 1.0" in body) for status, body in scraped] == [(200, True)]


def test_a_port_that_stops_ends_its_connections(port: HealthPort) -> None:
    """Nothing of a stopped port is left: connections are closed, its thread has ended."""
    with contextlib.ExitStack() as stack:
        link = connected(port, stack)
        eventually(lambda: port._connections)
        port.stop()
        assert closed(link)
    assert not any(thread.name == "health" for thread in threading.enumerate())
