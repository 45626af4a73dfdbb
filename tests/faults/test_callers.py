"""Callers that give up, die, fork, are cancelled, or live at another time: rows F23 to F25 and F30."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from rpc import AsyncClient, Client, Expired, RedisSettings, Timeout
from rpc.consumer import Consumer
from rpc.keys import Keys
from tests.answering import Answering, echo, read_one
from tests.callers import Callers
from tests.conftest import ON_VALKEY, MakeConsumer, StartWorker
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = pytest.mark.server

TICKS = 40
"""More turns of the loop than a call takes to be submitted and answered."""

UPPER = "tests.models:Upper"

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
_, status = os.waitpid(child, 0)
assert status == 0, status
client.submit("m", "op", ["left behind"], job_id="left")
client.submit("m", "op", [b"x" * 300_000], job_id="large")
os.kill(os.getpid(), 9)
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


async def ticks(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("answered", [True, False], ids=["while answers come", "while none comes"])
async def test_a_caller_cancelled_at_every_point(client: AsyncClient, consumer: Consumer, *, answered: bool) -> None:
    """F25: the calls beside and after it get their own answers on the same connection, and nobody is left waiting."""
    crossed = []
    for turns in range(TICKS):
        names = [f"{turns}.{place}" for place in range(3)]
        tasks = [asyncio.create_task(client.call("m", "op", [name], timeout_s=LONG_S)) for name in names]
        if not answered:
            await ticks(turns)
            tasks[1].cancel()
        with Answering(consumer):
            await ticks(turns)
            tasks[1].cancel()
            beside = await asyncio.gather(*tasks, return_exceptions=True)
            after = await client.call("m", "op", [turns], timeout_s=LONG_S)
        mine = isinstance(beside[1], asyncio.CancelledError) or beside[1] == {"outputs": [names[1]]}
        got = (beside[0], mine, beside[2], after)
        expected = ({"outputs": [names[0]]}, True, {"outputs": [names[2]]}, {"outputs": [turns]})
        crossed += [] if expected == got else [(turns, got)]

    assert crossed == []
    assert client.waiting == 0


@ON_VALKEY
@pytest.mark.process
def test_processes_whose_clocks_are_an_hour_off(
    caller: Client, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path, raw: "Redis"
) -> None:
    """F30: what a caller or a worker takes for the time matters to nobody: no job expires, no lease is lost."""
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK)
    path = f"{tmp_path}:{ROOT}"
    workers = [
        start_worker(UPPER, env={"PYTHONPATH": path, "CLOCK_OFF_S": off, "PENSTOCK_LEASE_S": "1"})
        for off in ("3600", "-3600")
    ]
    for off in ("-3600", "3600"):
        env = environment(redis_settings, {"PYTHONPATH": path, "CLOCK_OFF_S": off})
        subprocess.run([sys.executable, "-c", CALLS], cwd=ROOT, env=env, timeout=60, check=True)
    assert caller.call("upper", "upper", ["a"], timeout_s=LONG_S)["texts"] == ["A"]

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
