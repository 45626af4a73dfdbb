"""Callers that give up, die, fork, are cancelled, or live at another time: rows F23 to F25 and F30."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from rpc import AsyncClient, Client, Expired, RedisSettings, Timeout
from rpc.consumer import Consumer
from rpc.keys import Keys
from tests.answering import Answering, echo, read_one
from tests.awaits import CancelledIn
from tests.callers import Callers
from tests.conftest import ON_VALKEY, Gates, MakeConsumer, StartWorker
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = pytest.mark.server

AWAITS = 5
"""The number of a call's last await."""

LARGE = b"x" * 300_000
"""So large that it travels as a blob, and that its reply does not come along with the wake-up."""

UPPER, GATE = "tests.models:Upper", "tests.models:Gate"

FORKS = """
import os
from rpc import Client

client = Client()
assert client.call("m", "op", ["before"], timeout_s=10) == {"outputs": ["before"]}
child = os.fork()
names = [f"{'child' if child == 0 else 'parent'}{number}" for number in range(20)]
answers = [client.call("m", "op", [name], timeout_s=10) for name in names]
assert answers == [{"outputs": [name]} for name in names], answers
if child == 0:
    os._exit(0)
grandchild = os.fork()
if grandchild == 0:
    # it has not called since it was forked: what it closes must not be its parent's
    client.close()
    os._exit(0)
assert os.waitpid(grandchild, 0)[1] == 0
assert client.call("m", "op", ["after"], timeout_s=10) == {"outputs": ["after"]}
_, status = os.waitpid(child, 0)
assert status == 0, status
client.submit("m", "op", ["left behind"], job_id="left")
client.submit("m", "op", [b"x" * 300_000], job_id="large")
os.kill(os.getpid(), 9)
"""

FORKS_ON_LOOPS = """
import asyncio, os
from rpc import AsyncClient

client = AsyncClient()
child = os.fork()
who = "child" if child == 0 else "parent"

async def calls():
    for number in range(10):
        assert await client.call("m", "op", [f"{who}{number}"], timeout_s=10) == {"outputs": [f"{who}{number}"]}
    await client.close()

asyncio.run(calls())
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""

CALLS = """
from rpc import Client, Expired

with Client() as client:
    for number in range(20):
        assert client.call("upper", "upper", [f"a{number}"], timeout_s=20)["texts"] == [f"A{number}"]
"""

WRONG_CLOCK = """
import os, time

real = time.time
time.time = lambda: real() + float(os.environ["CLOCK_OFF_S"])
"""


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


def test_a_caller_that_gives_up(callers: Callers, consumer: Consumer) -> None:
    """F23: it is told which job goes on; the late result is there for whoever asks, and disturbs no other call."""
    caller = callers.make()

    with pytest.raises(Timeout) as late:
        caller.call("m", "op", ["a"], timeout_s=0.05)
    consumer.settle([echo(read_one(consumer))])
    call = callers.start(caller.call, "m", "op", ["b"])
    consumer.settle([echo(read_one(consumer))])

    assert call.result(LONG_S) == {"outputs": ["b"]}
    assert caller.result("m", late.value.job_id, timeout_s=5.0) == {"outputs": ["a"]}
    assert caller.waiting == 0


def test_an_awaiting_caller_that_forks(redis_settings: RedisSettings, consumer: Consumer) -> None:
    """F24: a client made before a fork serves parent and child, each on a loop of its own."""
    with Answering(consumer):
        ended = subprocess.run(
            [sys.executable, "-c", FORKS_ON_LOOPS],
            cwd=ROOT,
            env=environment(redis_settings, {"PENSTOCK_SWEEP_S": "600"}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.stderr, ended.returncode) == ("", 0)


def test_a_caller_that_forks_and_dies(redis_settings: RedisSettings, consumer: Consumer, raw: "Redis") -> None:
    """F24: parent and child each get their own answers; what a killed caller leaves is done, and lapses."""
    never_swept = environment(redis_settings, {"PENSTOCK_SWEEP_S": "600"})

    with Answering(consumer):
        ended = subprocess.run(
            [sys.executable, "-c", FORKS],
            cwd=ROOT,
            env=never_swept,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.stderr, ended.returncode) == ("", -signal.SIGKILL)
        eventually(lambda: raw.exists(consumer.keys.result("left"), consumer.keys.result("large")) == 2)

    left = {key.decode() for key in raw.scan_iter(f"{redis_settings.prefix}:*") if raw.pttl(key) == -1}
    keys = Keys(redis_settings.prefix, "m")
    assert left <= {keys.stream("interactive"), keys.stream("bulk")}
    assert raw.xlen(keys.stream("interactive")) == 0


@pytest.fixture
def caller(redis_settings: RedisSettings) -> Iterator[Client]:
    """Yield a blocking client."""
    with Client(settings=redis_settings) as client:
        yield client


@pytest.fixture
async def client(redis_settings: RedisSettings) -> AsyncIterator[AsyncClient]:
    """Yield a client that hears of replies by being told, and is never saved by a sweep."""
    async with AsyncClient(settings=redis_settings.model_copy(update={"sweep_s": 600.0})) as client:
        yield client


@pytest.fixture
def answering(consumer: Consumer) -> Iterator[None]:
    """Have all calls answered."""
    with Answering(consumer):
        yield


async def call(client: AsyncClient, given: list[Any]) -> Any:
    """Call, in one."""
    return await client.call("m", "op", given, timeout_s=LONG_S)


async def submit_and_fetch(client: AsyncClient, given: list[Any]) -> Any:
    """Call, in two steps."""
    return await client.result("m", await client.submit("m", "op", given), timeout_s=LONG_S)


CANCELLED = st.lists(
    st.tuples(
        st.sampled_from([call, submit_and_fetch]), st.sampled_from([b"", LARGE]), st.integers(0, AWAITS), st.booleans()
    ),
    min_size=1,
    max_size=4,
)
"""Calls that are cancelled together: how they call, with what, in which await, and whether once that is done."""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cancelled=CANCELLED)
@pytest.mark.usefixtures("answering")
async def test_a_caller_cancelled_at_every_point(client: AsyncClient, cancelled: list[Any]) -> None:
    """F25: the calls beside and after them get their own answers on the same connection, and nobody is left waiting."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    places = range(len(cancelled))
    others = [([f"beside {place}"], call(client, [f"beside {place}"])) for place in places]
    tasks = [asyncio.create_task(each) for _, each in others]
    cut = [
        asyncio.create_task(run(CancelledIn(how(client, [place, data]), await_number, late=late)))
        for place, (how, data, await_number, late) in enumerate(cancelled)
    ]

    beside = await asyncio.gather(*tasks)
    ends = await asyncio.gather(*cut, return_exceptions=True)
    after = await call(client, ["after"])

    assert beside == [{"outputs": given} for given, _ in others]
    for place, (_, data, _, _) in enumerate(cancelled):
        assert isinstance(ends[place], asyncio.CancelledError) or ends[place] == {"outputs": [place, data]}
    assert (after, client.waiting, complaints) == ({"outputs": ["after"]}, 0, [])
    # the test's own, the connection's, and the two that listen
    assert len(asyncio.all_tasks()) == 4


async def run(awaitable: Awaitable[Any]) -> Any:
    """Return what is awaited, as a task can."""
    return await awaitable


@ON_VALKEY
@pytest.mark.process
def test_processes_whose_clocks_are_an_hour_off(
    caller: Client, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path, raw: "Redis", gates: Gates
) -> None:
    """F30: what a caller or a worker takes for the time matters to nobody: no job expires, no lease is lost."""
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK)
    path = f"{tmp_path}:{ROOT}"
    workers = [
        start_worker(UPPER, GATE, env={"PYTHONPATH": path, "CLOCK_OFF_S": off, "PENSTOCK_LEASE_S": "1"})
        for off in ("3600", "-3600")
    ]
    for off in ("-3600", "3600"):
        env = environment(redis_settings, {"PYTHONPATH": path, "CLOCK_OFF_S": off})
        subprocess.run([sys.executable, "-c", CALLS], cwd=ROOT, env=env, timeout=60, check=True)
    assert caller.call("upper", "upper", ["a"], timeout_s=LONG_S)["texts"] == ["A"]
    held = caller.submit("gate", "pass", [gates.path("held")])
    entry: Any = raw.get(Keys(redis_settings.prefix, "gate").job(held))
    eventually(lambda: server_ms(raw) > int(entry.partition(b"-")[0]) + 1500, what="one and a half leases")
    gates.open("held")
    assert caller.result("gate", held, timeout_s=LONG_S) == {"outputs": [gates.path("held")]}

    assert gates.journal() == ["held"]
    waited_s = [worker.metric("penstock_queue_seconds_sum", model="upper") for worker in workers]
    assert all(0 <= waited < 60 for waited in waited_s)
    assert [worker.metric("penstock_lost_leases_total") for worker in workers] == [0, 0]
    assert [worker.metric("penstock_redeliveries_total") for worker in workers] == [0, 0]
    for worker in workers:
        worker.kill()
    late = caller.submit("upper", "upper", ["late"], timeout_s=0.001)
    start_worker(UPPER, env={"PYTHONPATH": path, "CLOCK_OFF_S": "-3600"})
    with pytest.raises(Expired):
        caller.result("upper", late, timeout_s=LONG_S)
    assert raw.exists(Keys(redis_settings.prefix, "upper").result(late))


def server_ms(raw: "Redis") -> int:
    """Return the server's time in ms."""
    told: Any = raw.time()
    seconds, microseconds = told
    return int(seconds * 1000 + microseconds // 1000)
