"""Dramatiq's actors as users write and start them, with a worker of ours and a relay, while processes are killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import psutil
import pytest
from dramatiq import Broker, Message, Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, Middleware
from redis import Redis

from producers.dramatiq import NotSetUp, Penstock
from rpc import Client, RedisSettings
from rpc.entries import payload_of
from rpc.keys import GROUP, LANES, Keys
from tests.conftest import ON_VALKEY, StartWorker
from tests.servers import Server
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, WorkerProcess, environment

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

MODEL = "tests.models:Journal"
LEASE = {"PENSTOCK_LEASE_S": "2", "PENSTOCK_MAX_DELIVERIES": "9"}
MESSAGES = 1000


def redis_broker(url: str) -> Any:
    """Return Dramatiq's queue."""
    return RedisBroker(url=url)  # type: ignore[no-untyped-call] # Dramatiq's own


class Tasks:
    """A directory, the queue of Dramatiq in a database of its own on the tests' server, and processes around them."""

    def __init__(self, server: Server, settings: RedisSettings, directory: Path) -> None:
        self.directory = directory
        self.settings = settings
        self.url = server.url.removesuffix("/0") + "/7"
        with closing(sqlite3.connect(directory / "results.db")) as database:
            database.execute("CREATE TABLE results (job_id TEXT PRIMARY KEY, result TEXT NOT NULL)")
            database.execute("PRAGMA journal_mode = WAL")
        self._broker: Any = redis_broker(self.url)
        self._broker.client.flushdb()

    def send(self, actor: str, *args: Any) -> str:
        """Send a message to an actor; return its id."""
        message: Message[Any] = Message("default", actor, args, {}, {})
        self._broker.enqueue(message)
        return message.message_id

    @contextmanager
    def running(self, *line: str) -> Iterator[psutil.Process]:
        """Run a Python module until left."""
        told = {"TASKS_REDIS_URL": self.url, "TASKS_DIRECTORY": str(self.directory)}
        with (self.directory / f"{line[0]}.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", *line], cwd=ROOT, env=environment(self.settings, told), stdout=log, stderr=log
            )
        process = psutil.Process(started.pid)
        try:
            yield process
        finally:
            killed(process)
            started.wait(LONG_S)

    def actors(self) -> Any:
        """Run Dramatiq's own worker."""
        return self.running("dramatiq", "tests.tasks", "--processes", "1", "--threads", "4", "--path", str(ROOT))

    def relay(self) -> Any:
        """Run the relay."""
        return self.running("producers", "relay", "stored", "--actor", "tests.tasks:store", "--lease", "2")

    def results(self) -> dict[str, Any]:
        """Return what is stored, by key."""
        with closing(sqlite3.connect(self.directory / "results.db")) as database:
            return {key: json.loads(result) for key, result in database.execute("SELECT * FROM results")}

    def runs(self) -> Counter[str]:
        """Return how often each input was run."""
        journal = self.directory / "journal"
        return Counter(journal.read_text().split()) if journal.exists() else Counter()

    @property
    def logs(self) -> str:
        """What the processes wrote last."""
        return "\n".join(path.read_text()[-2000:] for path in self.directory.glob("*.log"))

    def told(self) -> str:
        """Return what is known where something does not come: what is stored, what was run, what was written."""
        return f"{len(self.results())} results, {len(self.runs())} inputs run; {self.logs}"


def killed(process: psutil.Process) -> None:
    """Kill a process and those it started."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, LONG_S)


@pytest.fixture
def tasks(server: Server, redis_settings: RedisSettings, tmp_path: Path) -> Tasks:
    """Return a place for tasks."""
    return Tasks(server, redis_settings, tmp_path)


def killed_with(worker: WorkerProcess, raw: "Redis", settings: RedisSettings) -> set[str]:
    """Kill a worker in the middle of its work; return the inputs of the jobs it had in its hands."""
    family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for each in family:
        each.suspend()
    keys = Keys(settings.prefix, "journal")
    inputs = set()
    for lane in LANES:
        pending: Any = raw.xpending_range(keys.stream(lane), GROUP, "-", "+", 10_000)
        for item in pending:
            entries: Any = raw.xrange(keys.stream(lane), item["message_id"], item["message_id"])
            inputs |= {Path(path).name for _, fields in entries for path in payload_of(fields)["inputs"]}
    for each in family:
        os.kill(each.pid, signal.SIGKILL)
    psutil.wait_procs(family, LONG_S)
    return inputs


def test_every_result_is_stored_once_whoever_is_killed(
    tasks: Tasks, start_worker: StartWorker, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """1,000 messages that fire and forget, our worker killed twice and Dramatiq's once; a message tried again joins.

    All are stored under their keys and right. What ran more than once had been in the hands of a worker that was
    killed: no message that Dramatiq tried again, or handed out a second time, made the model run again.
    """
    sent = {tasks.send("index", number): number for number in range(MESSAGES)}
    first = start_worker(MODEL, env=LEASE)
    in_hand: set[str] = set()
    with tasks.relay():
        with tasks.actors() as actors:
            eventually(lambda: len(tasks.runs()) >= 150, what=tasks.told)
            in_hand |= killed_with(first, raw, redis_settings)
            second = start_worker(MODEL, env=LEASE)
            eventually(lambda: len(tasks.runs()) >= 400, what=tasks.told)
            killed(actors)
        with tasks.actors():
            eventually(lambda: len(tasks.runs()) >= 600, what=tasks.told)
            in_hand |= killed_with(second, raw, redis_settings)
            start_worker(MODEL, env=LEASE)
            eventually(lambda: len(tasks.results()) >= MESSAGES, within_s=2 * LONG_S, what=tasks.told)

            assert tasks.results() == {key: {"outputs": [str(number)]} for key, number in sent.items()}
            runs = tasks.runs()
            assert set(runs) == {str(number) for number in range(MESSAGES)}
            assert in_hand
            assert {number for number, times in runs.items() if times > 1} <= in_hand
            assert sum((tasks.directory / f"failed-{number}").exists() for number in range(MESSAGES)) == 100
            keys = Keys(redis_settings.prefix, "journal")
            eventually(lambda: raw.xlen(keys.sink("stored")) == 0, what="the sink is empty")


def test_an_error_that_trying_again_cannot_help_is_not_tried_again(tasks: Tasks) -> None:
    """Without a word in the actor."""
    tasks.send("refused")
    tasks.send("refused")
    with tasks.actors():
        journal = tasks.directory / "refused"
        eventually(lambda: journal.exists() and len(journal.read_text().split()) == 2, what=tasks.told)
        broker = redis_broker(tasks.url)
        eventually(lambda: broker.client.zcard("dramatiq:default.XQ") == 2, what="both are given up")

        assert broker.client.zcard("dramatiq:default.DQ") == 0


def test_an_actor_may_wait_for_an_answer(tasks: Tasks, start_worker: StartWorker) -> None:
    """Blocking, or in a coroutine."""
    start_worker(MODEL)
    with tasks.actors():
        tasks.send("wait_for", 3)
        tasks.send("await_for", 4)
        expected = {"waited-3": {"outputs": ["3"]}, "awaited-4": {"outputs": ["4"]}}
        eventually(lambda: tasks.results() == expected, what=tasks.told)


def test_a_full_lane_has_the_message_tried_again(
    tasks: Tasks, start_worker: StartWorker, redis_settings: RedisSettings
) -> None:
    """Later, until there is room; nothing is lost."""
    with Client(settings=redis_settings) as client, Redis.from_url(tasks.url) as queue:
        keys = Keys(redis_settings.prefix, "journal")
        with Redis.from_url(redis_settings.url.get_secret_value()) as redis:
            redis.hset(keys.config, "max_jobs", 1)
        client.submit("journal", "note", [f"{tasks.directory}/0"])
        with tasks.actors(), tasks.relay():
            tasks.send("index_once", 1)
            eventually(lambda: queue.hlen("dramatiq:default.DQ.msgs") == 1, what="the message is put off")
            start_worker(MODEL)
            eventually(lambda: len(tasks.results()) == 1, what=tasks.told)

    assert list(tasks.results().values()) == [{"outputs": ["1"]}]


def test_an_actor_that_waits_while_its_worker_is_told_to_stop_has_its_answer(
    tasks: Tasks, start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """The client is closed when no actor runs any more."""
    with tasks.actors() as actors:
        tasks.send("wait_for", 3)
        lane = Keys(redis_settings.prefix, "journal").stream("interactive")
        eventually(lambda: raw.xlen(lane) == 1, what=tasks.told)
        actors.terminate()
        eventually(lambda: "Shutting down" in tasks.logs or "shutdown" in tasks.logs.lower(), what=tasks.told)
        start_worker(MODEL)
        actors.wait(LONG_S)
    with tasks.actors():
        eventually(lambda: tasks.results() == {"waited-3": {"outputs": ["3"]}}, what=tasks.told)
    assert "Unavailable" not in tasks.logs


class Held(Middleware):
    """Holds the start of a worker, whose threads run by then, until its queue is empty."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Wait for the messages."""
        del worker
        assert isinstance(broker, StubBroker)
        broker.join("default", timeout=int(LONG_S * 1000))


def test_a_message_that_comes_while_a_worker_starts_finds_the_client(
    redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """Dramatiq's threads take messages before it tells that the worker has booted."""
    broker = StubBroker(middleware=[AsyncIO(), CurrentMessage()])
    penstock = Penstock(redis_settings)
    broker.add_middleware(penstock)
    broker.add_middleware(Held())

    @dramatiq.actor(broker=broker)
    async def ask() -> None:
        await penstock.asubmit_later("journal", "note", ["a"])

    ask.send()
    worker = Worker(broker, worker_threads=1)
    worker.start()
    worker.stop()

    assert raw.xlen(Keys(redis_settings.prefix, "journal").stream("interactive")) == 1


@pytest.mark.parametrize("lacking", [AsyncIO, CurrentMessage])
def test_a_worker_does_not_start_without_what_the_middleware_stands_on(
    redis_settings: RedisSettings, lacking: type[Middleware]
) -> None:
    """It says what to add, and where."""
    broker = StubBroker(middleware=[each() for each in (AsyncIO, CurrentMessage) if each is not lacking])
    broker.add_middleware(Penstock(redis_settings))

    worker = Worker(broker)

    with pytest.raises(NotSetUp, match=f"add_middleware\\({lacking.__name__}\\(\\)\\) before Penstock"):
        worker.start()
    # the loop has begun before
    broker.emit_after("worker_shutdown", worker)


def test_a_worker_does_not_start_with_its_middleware_in_the_wrong_order(redis_settings: RedisSettings) -> None:
    """The client is made on a loop that has begun before, and closed on one that still runs."""
    broker = StubBroker(middleware=[Penstock(redis_settings), AsyncIO(), CurrentMessage()])

    with pytest.raises(NotSetUp, match=r"add_middleware\(AsyncIO\(\)\) before Penstock"):
        Worker(broker).start()


def test_a_worker_does_not_start_without_a_loop(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dramatiq only logs that its loop could not begin; the actors would have no client."""
    monkeypatch.setattr(AsyncIO, "before_worker_boot", lambda *_: None)
    broker = StubBroker(middleware=[AsyncIO(), CurrentMessage(), Penstock(redis_settings)])

    with pytest.raises(NotSetUp, match="loop does not run"):
        Worker(broker).start()
