"""What the tests share: real servers, names of their own on them, clients, consumers and worker processes."""

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pytest
from redis import Redis
from xdist.scheduler import LoadScopeScheduling

from rpc import Client, RedisSettings
from rpc.connection import BlockingConnection
from rpc.consumer import Consumer
from rpc.deliveries import Limits
from rpc.keys import Keys
from tests.callers import Callers
from tests.servers import KINDS, Kind, Server, binary
from tests.workers import WorkerProcess

ON_VALKEY = pytest.mark.parametrize("server", ["valkey"], indirect=True)
"""For tests of what no server can make a difference to."""


SHARING = frozenset(
    f"tests/process/test_{name}.py"
    for name in ("families", "fuzzing", "gateway", "hostile_jobs", "minilm", "references", "speech", "wheel", "wire")
)
"""Files whose tests share a worker, or something else that takes long to make: each stays in one process."""


class FilesTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands tests to processes one by one, and those of `SHARING` by the file, which come first.

    With pytest 9.2, `--dist loadgroup` of xdist 3.8 keeps nothing together: the ids that it writes its groups into are
    not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in SHARING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    """Say how tests are shared out among processes."""
    return FilesTogether(config, log)


def pytest_configure() -> None:
    """Let SIGTERM end the tests as ctrl-C does, so that no server or worker outlives them."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def installed(kind: Kind) -> Kind:
    """Return the kind of a server; skip or fail where it is not installed."""
    if binary(kind) is None:
        if kind == "redis" and os.environ.get("PENSTOCK_REQUIRE_REDIS") != "1":
            pytest.skip("redis-server is not installed")
        pytest.fail(f"the {kind} server is not installed")
    return kind


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running server that all tests share; each uses keys of its own on it."""
    kind = installed(request.param)
    with Server(kind, tmp_path_factory.mktemp(kind)) as running:
        yield running


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Yield a running server of the test's own, to be emptied, killed and filled."""
    kind = installed(request.param)
    # with everysec a kill may cost what was written while the last fsync was going on
    with Server(kind, tmp_path / kind, fsync="always") as running:
        yield running


def settings_for(server: Server, **given: float) -> RedisSettings:
    """Return settings for a server, with a prefix nobody else has."""
    return RedisSettings.from_env({}, url=server.url, prefix=f"test-{uuid.uuid4().hex[:12]}", **given)


def leaked(redis: "Redis", prefix: str) -> list[str]:
    """Return the keys that would stay for ever and are not meant to."""
    meant = ("}:config", "}:workers", ":models")
    names: list[bytes] = list(redis.scan_iter(match=f"{prefix}:*", count=1000))
    lasting = [name for name in names if redis.pttl(name) == -1 and redis.type(name) != b"stream"]
    return sorted(text for name in lasting if not (text := name.decode()).endswith(meant))


@pytest.fixture
def redis_settings(server: Server) -> Iterator[RedisSettings]:
    """Yield settings with a prefix of the test's own; afterwards every key of it that should have a TTL must."""
    settings = settings_for(server)
    yield settings
    with Redis.from_url(server.url, protocol=2) as redis:
        assert leaked(redis, settings.prefix) == []


@pytest.fixture
def raw(redis_settings: RedisSettings) -> Iterator["Redis"]:
    """Yield redis-py itself, to look at what is there and to do what an operator might."""
    with Redis.from_url(redis_settings.url.get_secret_value(), protocol=2) as redis:
        yield redis


@pytest.fixture
def client(redis_settings: RedisSettings) -> Iterator[Client]:
    """Yield a client of the shared server."""
    with Client(settings=redis_settings) as client:
        yield client


@pytest.fixture(params=["blocking", "asyncio"])
def callers(request: pytest.FixtureRequest, redis_settings: RedisSettings) -> Iterator[Callers]:
    """Yield a maker of clients, once of the blocking and once of the asyncio kind."""
    made = Callers(request.param, redis_settings)
    yield made
    made.close()


class MakeConsumer(Protocol):
    """What the fixture `make_consumer` gives."""

    def __call__(
        self, name: str = "w1", *, model: str = "m", limits: Limits | None = None, settings: RedisSettings | None = None
    ) -> Consumer:
        """Return a consumer whose groups exist."""


@pytest.fixture
def make_consumer(redis_settings: RedisSettings) -> Iterator[MakeConsumer]:
    """Yield a maker of consumers: a worker's side of the wire, in the test's own process."""
    connections: list[BlockingConnection] = []

    def make(
        name: str = "w1", *, model: str = "m", limits: Limits | None = None, settings: RedisSettings | None = None
    ) -> Consumer:
        chosen = settings or redis_settings
        connection = BlockingConnection(chosen, block_s=1.0)
        connections.append(connection)
        consumer = Consumer(connection, Keys(chosen.prefix, model), name, limits or Limits())
        consumer.ensure_groups()
        return consumer

    yield make
    for connection in connections:
        connection.close()


class StartWorker(Protocol):
    """What the fixtures `start_worker` and `start_worker_on` give."""

    def __call__(
        self,
        *models: str,
        env: Mapping[str, str] | None = None,
        settings: RedisSettings | None = None,
        arguments: Sequence[str] = (),
        ready: bool = True,
    ) -> WorkerProcess:
        """Start a worker and, unless `ready` is off, wait until it takes jobs."""


@contextlib.contextmanager
def workers(default: RedisSettings | None) -> Iterator[StartWorker]:
    """Yield a starter of worker processes; all it started are killed at the end."""
    started: list[WorkerProcess] = []

    def start(
        *models: str,
        env: Mapping[str, str] | None = None,
        settings: RedisSettings | None = None,
        arguments: Sequence[str] = (),
        ready: bool = True,
    ) -> WorkerProcess:
        chosen = settings or default
        if chosen is None:
            raise ValueError("settings say which server the worker is to use")
        worker = WorkerProcess(models, chosen, env, arguments)
        started.append(worker)
        return worker.wait_until_ready() if ready else worker

    try:
        yield start
    finally:
        for worker in started:
            worker.close()


@pytest.fixture
def start_worker(redis_settings: RedisSettings) -> Iterator[StartWorker]:
    """Yield a starter of workers on the shared server, under the test's prefix."""
    with workers(redis_settings) as start:
        yield start


@pytest.fixture
def start_worker_on() -> Iterator[StartWorker]:
    """Yield a starter of workers that is told each time which server to use."""
    with workers(None) as start:
        yield start


@pytest.fixture
def gates(tmp_path: Path) -> "Gates":
    """Return the gates of the model `tests.models:Gate`, in a directory of the test's own."""
    directory = tmp_path / "gates"
    directory.mkdir()
    return Gates(directory)


class Gates:
    """The test's end of `tests.models:Gate`: names of inputs, opened by hand, and the journal of what ran."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> str:
        """Return the input of that name."""
        return str(self._directory / name)

    def open(self, *names: str) -> None:
        """Let the inputs through."""
        for name in names:
            (self._directory / name).touch()

    def journal(self) -> list[str]:
        """Return the names of the inputs whose pass began, in that order, once for each time."""
        path = self._directory / "journal"
        return path.read_text("utf-8").split() if path.exists() else []

    def entered(self, *names: str) -> Callable[[], bool]:
        """Return a look at whether the passes of all these inputs have begun."""
        return lambda: set(names) <= set(self.journal())
