"""Servers that crash, lose their last writes, are emptied, stand still or are replaced: rows F13 to F16, F22, F35."""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis

from rpc import Cancelled, JobLost, RedisSettings, Timeout, Unavailable, inspection
from rpc.consumer import Consumer
from rpc.keys import GROUP, LANES
from tests.answering import Answering, echo, read_one
from tests.callers import Callers
from tests.conftest import MakeConsumer, StartWorker, settings_for
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

UPPER = "tests.models:Upper"


@pytest.fixture(name="redis_settings")
def _own_settings(own_server: Server) -> RedisSettings:
    """Return settings of a server of the test's own, so that consumers and callers use that one."""
    return settings_for(own_server, sweep_s=0.2, connect_timeout_s=0.5)


@pytest.fixture
def raw(own_server: Server) -> Iterator["Redis"]:
    """Yield redis-py itself."""
    with Redis.from_url(own_server.url, protocol=2) as redis:
        yield redis


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


class Crowd:
    """Callers that call all the time; every answer is checked."""

    def __init__(self, clients: Sequence[Any], count: int = 8) -> None:
        self.clients = clients
        self.answered = 0
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(count)
        self._calls = [self._threads.submit(self._call, number) for number in range(count)]

    def _call(self, number: int) -> None:
        count = 0
        client = self.clients[number % len(self.clients)]
        while not self._ended.is_set():
            text = f"text {number} {count}"
            assert client.call("upper", "upper", [text], timeout_s=LONG_S)["texts"] == [text.upper()]
            count += 1
            self.answered += 1

    def go_on(self, more: int = 40) -> None:
        """Wait until so many more calls are answered."""
        before = self.answered
        eventually(lambda: self.answered >= before + more or any(call.done() for call in self._calls))
        for call in self._calls:
            if call.done():
                call.result()

    def end(self) -> None:
        """End all calls, and raise what one of them has raised."""
        self._ended.set()
        for call in self._calls:
            call.result(LONG_S)
        self._threads.shutdown()


@pytest.fixture
def crowd(redis_settings: RedisSettings, start_worker: StartWorker) -> Iterator[Crowd]:
    """Yield callers of a worker that lets jobs wait, all on the test's own server; they must be right to the end."""
    start_worker(UPPER, env={"PENSTOCK_LEASE_S": "1", "PENSTOCK_UNITS_HELD": "1", "PENSTOCK_BATCH_SIZE": "1"})
    kinds = [Callers(kind, redis_settings) for kind in ("blocking", "asyncio")]
    crowd = Crowd([callers.make() for callers in kinds])
    try:
        crowd.go_on()
        yield crowd
    finally:
        crowd.end()
        for callers in kinds:
            callers.close()


@pytest.mark.process
@pytest.mark.bound
def test_a_server_that_is_killed_again_and_again(own_server: Server, crowd: Crowd, raw: "Redis") -> None:
    """F13: callers and workers go on within five seconds of its return; no call is lost and none answered wrongly."""
    own_server.fsync = "everysec"
    for _ in range(3):
        own_server.restart()
        back = time.monotonic()
        crowd.go_on(8)
        assert time.monotonic() - back < 5.0
        crowd.go_on()
    assert raw.config_get("appendfsync") == {"appendfsync": "everysec"}


MARK = b"x" * 100

AT_THE_EDGE, IN_MID_ENTRY = 0, 60
"""How many bytes are kept of what follows a mark: none, or so many that a transaction breaks off in a command."""


def cut_log(server: Server, kept: int) -> None:
    """Cut what the server has written of its log behind the mark, as a power failure may."""
    (file,) = [file for file in Path(server.directory, "appendonlydir").iterdir() if ".incr." in file.name]
    os.truncate(file, file.read_bytes().rindex(MARK) + len(MARK) + len("\r\n") + kept)


@pytest.mark.parametrize(
    ("callers", "lost", "kept"),
    [
        ("blocking", "submit", AT_THE_EDGE),
        ("asyncio", "submit", IN_MID_ENTRY),
        ("blocking", "settlement", IN_MID_ENTRY),
        ("asyncio", "settlement", AT_THE_EDGE),
    ],
    indirect=["callers"],
)
def test_a_power_failure(
    callers: Callers, consumer: Consumer, own_server: Server, raw: "Redis", lost: str, kept: int
) -> None:
    """F14: a log cut off anywhere loads; a submit it lost is sent again or told, work it forgot is done again."""
    caller = callers.make()
    caller.submit("m", "op", ["kept"], job_id="kept")
    first = read_one(consumer)
    raw.set("mark", MARK)
    if lost == "submit":
        call = callers.start(caller.call, "m", "op", ["a"], job_id="called", timeout_s=LONG_S)
        gone = caller.submit("m", "op", ["b"], job_id="sent")
        eventually(lambda: raw.xlen(consumer.keys.stream("interactive")) == 3)
    else:
        consumer.settle([echo(first)])
    own_server.kill()
    cut_log(own_server, kept)
    own_server.start()

    with pytest.raises(Unavailable):
        consumer.server_ms()
    if lost == "submit":
        with Answering(consumer):
            assert call.result(LONG_S) == {"outputs": ["a"]}
        with pytest.raises(JobLost):
            caller.result("m", gone, timeout_s=LONG_S)
    else:
        # the acknowledgement went with the reply: the job is there again, in its worker's hands
        (again,) = consumer.adopt(()).taken
        assert again.job_id == "kept"
        consumer.settle([echo(again)])
        assert caller.result("m", "kept", timeout_s=LONG_S) == {"outputs": ["kept"]}


def start_empty(server: Server) -> None:
    """Kill a server and start it again without what it had written."""
    server.kill()
    shutil.rmtree(server.directory / "appendonlydir")
    server.start()


@pytest.mark.process
def test_a_server_that_is_emptied_under_load(
    own_server: Server, raw: "Redis", redis_settings: RedisSettings, crowd: Crowd
) -> None:
    """F15: groups are made again from the first entry on; calls under way are sent again, who has but an id is told."""
    prefix = redis_settings.prefix
    lanes = [f"{prefix}:{{{model}}}:{lane}" for model in ("upper", "nobody") for lane in LANES]
    ways: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: start_empty(own_server), JobLost),
        (raw.flushall, JobLost),
        (lambda: raw.delete(*lanes), JobLost),
        (lambda: raw.xgroup_destroy(lanes[0], GROUP), Cancelled),
    ]
    for empty, end in ways:
        with ThreadPoolExecutor(len(crowd.clients)) as threads:
            left = [client.submit("nobody", "op", ["left"]) for client in crowd.clients]
            waiting = [
                threads.submit(client.result, "nobody", job_id, timeout_s=LONG_S)
                for client, job_id in zip(crowd.clients, left, strict=True)
            ]
            empty()
            crowd.go_on()
            if end is Cancelled:
                # nothing of theirs was lost: they would wait on
                assert [crowd.clients[0].cancel("nobody", job_id) for job_id in left] == ["cancelled"] * len(left)
            assert [type(each.exception(LONG_S)) for each in waiting] == [end] * len(left)
    eventually(lambda: crowd.clients[0].ask(inspection.model_state(prefix, "upper")).workers)


def test_a_server_that_stands_still(
    callers: Callers, redis_settings: RedisSettings, own_server: Server, raw: "Redis", consumer: Consumer
) -> None:
    """F16: calls end within their time, leave no connection behind, and are one job once the server moves again."""
    # the calls' own time is to end them, nothing shorter
    caller = callers.make(redis_settings.model_copy(update={"socket_timeout_s": LONG_S, "connect_timeout_s": LONG_S}))
    with Answering(consumer):
        assert caller.call("m", "op", ["before"], timeout_s=LONG_S) == {"outputs": ["before"]}
    process = psutil.Process()
    lines_before, files_before = len(raw.client_list()), process.num_fds()
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        calls = [callers.start(caller.call, "m", "op", ["a"], job_id="j1", timeout_s=0.3) for _ in range(8)]
        assert all(isinstance(call.exception(LONG_S), Unavailable | Timeout) for call in calls)
        took_s = time.monotonic() - stopped
    finally:
        os.kill(own_server.pid, signal.SIGCONT)

    call = callers.start(caller.call, "m", "op", ["a"], job_id="j1", timeout_s=LONG_S)
    consumer.settle([echo(read_one(consumer))])

    assert call.result(LONG_S) == {"outputs": ["a"]}
    told: Any = raw.xinfo_stream(consumer.keys.stream("interactive"))
    assert (told["entries-added"], told["length"]) == (len(["before", "a"]), 0)
    assert took_s < LONG_S / 3
    eventually(lambda: len(raw.client_list()) <= lines_before)
    eventually(lambda: process.num_fds() <= files_before)


def test_a_server_that_is_replaced_by_one_that_lacks_the_last_writes(
    callers: Callers, own_server: Server, redis_settings: RedisSettings, tmp_path: Path, make_consumer: MakeConsumer
) -> None:
    """F22: callers and workers find the new master; calls it never heard of are sent again, lost answers too."""
    with Server(own_server.kind, tmp_path / "replica") as replica, Proxy(own_server) as proxy:
        follow(replica, own_server)
        reached = redis_settings.from_env(
            {}, url=proxy.url, prefix=redis_settings.prefix, sweep_s=0.2, socket_timeout_s=1.0
        )
        caller, consumer = callers.make(reached), make_consumer(settings=reached)
        answered = callers.start(caller.call, "m", "op", ["seen"], job_id="seen", timeout_s=LONG_S)
        delivery = read_one(consumer)
        eventually(lambda: in_step(replica, own_server))
        # from here on the replica hears nothing
        with Redis.from_url(replica.url, protocol=2) as new:
            new.replicaof("NO", "ONE")
        consumer.settle([echo(delivery)])
        assert answered.result(LONG_S) == {"outputs": ["seen"]}
        unseen = callers.start(caller.call, "m", "op", ["unseen"], job_id="unseen", timeout_s=LONG_S)
        assert read_one(consumer).job_id == "unseen"

        with Redis.from_url(own_server.url, protocol=2) as old:
            old.replicaof("127.0.0.1", "1")
        meanwhile = callers.start(caller.call, "m", "op", ["meanwhile"], timeout_s=LONG_S)
        with pytest.raises(Unavailable, match="read only"):
            consumer.announce({"device": "cpu"})
        proxy.lead_to(replica)
        own_server.kill()

        eventually(lambda: is_reached(consumer))
        (again,) = consumer.adopt(()).taken
        assert again.job_id == "seen"
        consumer.settle([echo(again)])
        with Answering(consumer):
            assert unseen.result(LONG_S) == {"outputs": ["unseen"]}
            assert meanwhile.result(LONG_S) == {"outputs": ["meanwhile"]}
        assert caller.result("m", "seen", timeout_s=LONG_S) == {"outputs": ["seen"]}


@pytest.mark.process
def test_a_demoted_master_that_stays_alive(
    own_server: Server, tmp_path: Path, start_worker_on: StartWorker, make_consumer: MakeConsumer
) -> None:
    """F35: clients, workers and relays leave a master that answers READONLY for its successor, also an empty one."""
    replica, empty = (Server(own_server.kind, tmp_path / name) for name in ("replica", "empty"))
    with replica, empty, Proxy(own_server) as proxy:
        follow(replica, own_server)
        prefix = settings_for(own_server).prefix
        reached = RedisSettings.from_env({}, url=proxy.url, prefix=prefix, sweep_s=0.2)
        worker = start_worker_on(UPPER, settings=reached, env={"PENSTOCK_LEASE_S": "1"})
        kinds = [Callers(kind, reached) for kind in ("blocking", "asyncio")]
        clients = [callers.make() for callers in kinds]
        # these only wait or read: no write of theirs is refused
        waiters, reader = [callers.make() for callers in kinds], kinds[0].make()
        taken: list[str] = []
        with contextlib.ExitStack() as relays:
            for callers in kinds:
                relays.enter_context(callers.consuming("s", lambda completion: taken.append(completion.job_id)))
            for old, new in ((own_server, replica), (replica, empty)):
                assert [client.call("upper", "upper", ["a"])["texts"] for client in clients] == [["A"], ["A"]]
                waiting = [kinds[0].start(waiter.call, "m", "op", ["a"], timeout_s=LONG_S) for waiter in waiters]
                eventually(lambda: [waiter.waiting for waiter in waiters] == [1, 1])
                if new is replica:
                    eventually(lambda: in_step(replica, own_server))

                fail_over(old, new, proxy)

                with Answering(make_consumer(settings=settings_like(reached, new))):
                    for client in clients:
                        assert client.call("upper", "upper", ["b"], timeout_s=LONG_S)["texts"] == ["B"]
                    assert [call.result(LONG_S) for call in waiting] == [{"outputs": ["a"]}] * len(waiting)
                eventually(partial(sees_addition_to, new, reader))
                eventually(lambda: worker.get("/readyz")[0] == HTTPStatus.OK)
                sunk = {client.submit("upper", "upper", ["c"], sink="s") for client in clients}
                eventually(partial(sunk.issubset, taken))
        for callers in kinds:
            callers.close()


def sees_addition_to(server: Server, reader: Any) -> bool:
    """Return whether a client that only reads finds what stands on this server alone."""
    name = server.directory.name
    with Redis.from_url(server.url, protocol=2) as raw:
        raw.sadd(f"{reader.prefix}:models", name)
    return name in reader.ask(inspection.known_models(reader.prefix))


def settings_like(settings: RedisSettings, server: Server) -> RedisSettings:
    """Return the settings with the address of a server."""
    return RedisSettings.from_env({}, url=server.url, prefix=settings.prefix, sweep_s=settings.sweep_s)


def fail_over(old: Server, new: Server, proxy: Proxy) -> None:
    """Promote a server; demote the old master, which lives on, keeps its connections, and hears of nothing more."""
    with Redis.from_url(new.url, protocol=2) as raw, Redis.from_url(old.url, protocol=2) as other:
        raw.replicaof("NO", "ONE")
        other.replicaof("127.0.0.1", "1")
    proxy.lead_to(new)


def follow(replica: Server, master: Server) -> None:
    """Make a server the replica of another one, and wait until it is."""
    with Redis.from_url(replica.url, protocol=2) as raw, Redis.from_url(master.url, protocol=2) as other:
        other.config_set("repl-diskless-sync-delay", "0")
        raw.replicaof("127.0.0.1", str(master.port))
        eventually(lambda: raw.info("replication")["master_link_status"] == "up")


def in_step(replica: Server, master: Server) -> bool:
    """Return whether a replica has heard all its master has said."""
    with Redis.from_url(replica.url, protocol=2) as one, Redis.from_url(master.url, protocol=2) as other:
        return bool(one.info("replication")["slave_repl_offset"] == other.info("replication")["master_repl_offset"])


def is_reached(consumer: Consumer) -> bool:
    """Return whether a worker reaches a server."""
    try:
        return consumer.server_ms() > 0
    except Unavailable:
        return False
