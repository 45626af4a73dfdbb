"""Clients used from several event loops, after forks of every kind, and forgotten without being closed."""

import asyncio
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from rpc import AsyncClient, Client, RedisSettings
from tests.answering import Answering
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.waiting import LONG_S, eventually
from tests.workers import environment

pytestmark = [pytest.mark.server, ON_VALKEY]

ROOT = Path(__file__).resolve().parent.parent.parent

FORGOTTEN = 100

FORKS = """
import asyncio, ctypes, os, sys
from rpc import AsyncClient, Client, RedisSettings
from rpc.connection import BlockingConnection

# as a prefork server written in C forks: none of Python's hooks run
fork = ctypes.PyDLL(None).fork
client, connection = Client(), BlockingConnection(RedisSettings.from_env())
shared = AsyncClient()

async def awaited(name):
    return await shared.call("m", "op", [name], timeout_s=20)

def all_three(name):
    for number in range(10):
        text = f"{name}{number}"
        assert client.call("m", "op", [text], timeout_s=20) == {"outputs": [text]}
        assert connection.send([("ECHO", text)]) == [text.encode()]
        assert asyncio.run(awaited(text)) == {"outputs": [text]}

all_three("before")
child = fork()
all_three("child" if child == 0 else "parent")
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.close()
connection.close()
"""


@pytest.fixture
def answering(make_consumer: MakeConsumer) -> Iterator[Answering]:
    """Yield a worker that answers all there is."""
    with Answering(make_consumer()) as running:
        yield running


def connections(raw: "Redis") -> int:
    """Return how many connections the server has."""
    return len(raw.client_list())


@pytest.mark.usefixtures("answering")
def test_one_client_serves_a_program_that_runs_a_loop_per_call(redis_settings: RedisSettings, raw: "Redis") -> None:
    """A task queue's worker that calls `asyncio.run` for each task shares one client, and each loop closes its own."""
    others = connections(raw)
    client = AsyncClient(settings=redis_settings)

    async def once(number: int) -> object:
        return await client.call("m", "op", [number], timeout_s=LONG_S)

    answers = [asyncio.run(once(number)) for number in range(5)]

    assert answers == [{"outputs": [number]} for number in range(5)]
    eventually(lambda: connections(raw) <= others)


@pytest.mark.usefixtures("answering")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_closed_under_its_tasks_leaves_no_connection(redis_settings: RedisSettings, raw: "Redis") -> None:
    """A program that closes a loop without ending its tasks uses the client on the next one, and leaks nothing."""
    others = connections(raw)
    client = AsyncClient(settings=redis_settings)
    for number in range(3):
        loop = asyncio.new_event_loop()
        answer = loop.run_until_complete(client.call("m", "op", [number], timeout_s=LONG_S))
        loop.close()
        assert answer == {"outputs": [number]}
    del client, loop
    gc.collect()

    eventually(lambda: connections(raw) <= others)


@pytest.mark.usefixtures("answering")
def test_one_client_serves_many_loops_at_once(redis_settings: RedisSettings, raw: "Redis") -> None:
    """Threads that each run a loop of their own, as a WSGI server does, share one client and cross no answers."""
    others = connections(raw)
    client = AsyncClient(settings=redis_settings)

    async def several(first: int) -> list[int]:
        calls = [client.call("m", "op", [first + turn], timeout_s=LONG_S) for turn in range(10)]
        return [answer["outputs"][0] for answer in await asyncio.gather(*calls)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda first: asyncio.run(several(first)), range(0, 160, 10)))

    assert [number for rows in answers for number in rows] == list(range(160))
    eventually(lambda: connections(raw) <= others)


@pytest.mark.usefixtures("answering")
def test_closing_on_one_loop_closes_what_is_open_on_another(redis_settings: RedisSettings, raw: "Redis") -> None:
    """A client closed at the end of a program gives back what it had on a loop that still runs elsewhere."""
    others = connections(raw)
    client = AsyncClient(settings=redis_settings)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    call = client.call("m", "op", ["a"], timeout_s=LONG_S)
    assert asyncio.run_coroutine_threadsafe(call, loop).result(LONG_S) == {"outputs": ["a"]}

    asyncio.run(client.close())

    eventually(lambda: connections(raw) <= others)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(LONG_S)
    loop.close()


async def test_a_client_whose_tasks_were_all_cancelled_goes_on(
    redis_settings: RedisSettings, answering: Answering
) -> None:
    """A program that cancels every task but its own finds the client in working order."""
    del answering
    async with AsyncClient(settings=redis_settings) as client:
        await client.call("m", "op", ["a"], timeout_s=LONG_S)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

        assert await client.call("m", "op", ["b"], timeout_s=LONG_S) == {"outputs": ["b"]}


@pytest.mark.usefixtures("answering")
def test_a_fork_that_python_does_not_know_of_is_noticed(redis_settings: RedisSettings) -> None:
    """Parent and child of a fork made in C each use connections of their own, with all three ways to the server."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", FORKS],
        cwd=ROOT,
        env=environment(redis_settings, {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.stderr, ended.returncode) == ("", 0)


@pytest.mark.usefixtures("answering")
def test_forgotten_clients_leave_no_thread_and_no_connection(redis_settings: RedisSettings, raw: "Redis") -> None:
    """A hundred clients that were used and never closed warn, and give back all they held."""
    quick = redis_settings.model_copy(update={"sweep_s": 0.2})
    others, threads = connections(raw), threading.active_count()

    def use_one(number: int) -> None:
        assert Client(settings=quick).call("m", "op", [number], timeout_s=LONG_S) == {"outputs": [number]}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(FORGOTTEN):
            use_one(number)
        gc.collect()

    assert sum("unclosed Client" in str(each.message) for each in caught) == FORGOTTEN
    eventually(lambda: connections(raw) <= others)
    eventually(lambda: threading.active_count() <= threads)


async def test_forgotten_awaiting_clients_leave_no_task_and_no_connection(
    redis_settings: RedisSettings, raw: "Redis", answering: Answering
) -> None:
    """The same of a hundred asyncio clients on one loop that goes on."""
    del answering
    others, tasks = connections(raw), len(asyncio.all_tasks())

    async def use_one(number: int) -> None:
        answer = await AsyncClient(settings=redis_settings).call("m", "op", [number], timeout_s=LONG_S)
        assert answer == {"outputs": [number]}

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(FORGOTTEN):
            await use_one(number)
        gc.collect()
        await asyncio.to_thread(eventually, lambda: connections(raw) <= others)

    assert sum("unclosed AsyncClient" in str(each.message) for each in caught) == FORGOTTEN
    assert len(asyncio.all_tasks()) <= tasks
