"""What the asyncio client promises beyond what both do: many awaits, few connections, cancellation at any point."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from rpc import AsyncClient, RedisSettings
from rpc.calls import Call
from rpc.consumer import Consumer
from tests.answering import Answering, echo, read_one
from tests.conftest import MakeConsumer
from tests.waiting import eventually

pytestmark = pytest.mark.server

MANY = 2000

TICKS = 40
"""More turns of the loop than a call takes to be submitted and answered."""


@pytest.fixture
def consumer(make_consumer: MakeConsumer) -> Consumer:
    """Return the worker that answers."""
    return make_consumer()


@pytest.fixture
async def client(redis_settings: RedisSettings) -> AsyncIterator[AsyncClient]:
    """Yield a client that hears of replies by being told, and is never saved by a sweep."""
    async with AsyncClient(settings=redis_settings.model_copy(update={"sweep_s": 600.0})) as client:
        yield client


async def ticks(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.bound
async def test_two_thousand_awaits_hold_three_connections(
    client: AsyncClient, consumer: Consumer, raw: "Redis"
) -> None:
    """Issue 2: 2,000 awaits in flight from one asyncio process hold at most 3 connections, and none is crossed."""
    others = len(raw.client_list())
    stream = consumer.keys.stream("interactive")

    calls = [asyncio.create_task(client.call("m", "op", [number])) for number in range(MANY)]
    await asyncio.to_thread(eventually, lambda: raw.xlen(stream) == MANY)
    held = len(raw.client_list()) - others
    with Answering(consumer):
        answers = [answer["outputs"] for answer in await asyncio.gather(*calls)]

    assert held <= 3
    assert [[number] for number in range(MANY)] == answers


async def test_calls_of_one_tick_travel_together(client: AsyncClient, consumer: Consumer, raw: "Redis") -> None:
    """A hundred submits made in one turn of the loop cost the server far fewer reads than a hundred."""
    await client.cancel("m", "warm")
    before = raw.info("stats")["total_reads_processed"]

    calls = [asyncio.create_task(client.submit("m", "op", [number])) for number in range(100)]
    await asyncio.gather(*calls)

    assert raw.info("stats")["total_reads_processed"] - before <= 10
    assert raw.xlen(consumer.keys.stream("interactive")) == 100


async def test_what_cannot_be_sent_fails_by_itself(client: AsyncClient, consumer: Consumer) -> None:
    """A conversation that says what has no bytes ends with that; those that travel with it, and later ones, go on."""

    def unsayable() -> Call[None]:
        yield [("GET", "\ud800")]

    with Answering(consumer):
        calls = [client.call("m", "op", [1]), client.ask(unsayable()), client.call("m", "op", [2])]
        first, failed, second = await asyncio.gather(*calls, return_exceptions=True)

        assert isinstance(failed, UnicodeEncodeError)
        assert [first, second] == [{"outputs": [1]}, {"outputs": [2]}]
        assert await client.call("m", "op", [3]) == {"outputs": [3]}


async def test_a_call_given_up_by_its_caller_is_forgotten(client: AsyncClient, consumer: Consumer) -> None:
    """`asyncio.timeout` around a call works like any cancellation: the job goes on, nothing is left behind."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.call("m", "op", ["given up"])
    delivery = await asyncio.to_thread(read_one, consumer)
    await asyncio.to_thread(consumer.settle, [echo(delivery)])
    with Answering(consumer):
        answer = await client.call("m", "op", ["next"])

    assert answer == {"outputs": ["next"]}


@pytest.mark.parametrize("wanted", [True, False], ids=["cancelled", "left"])
async def test_a_cancelled_call_takes_its_job_along_if_asked(
    client: AsyncClient, redis_settings: RedisSettings, *, wanted: bool
) -> None:
    """A task that is cancelled leaves its job to go on, unless the call said otherwise; closing waits for that."""
    async with AsyncClient(settings=redis_settings) as caller:
        call = asyncio.create_task(caller.call("m", "op", ["a"], job_id="j1", cancel_abandoned=wanted))
        while (await client.progress("m", "j1")).state == "unknown":
            await ticks(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert (await client.progress("m", "j1")).state == ("finished" if wanted else "waiting")


async def test_many_clients_of_one_loop_are_apart(redis_settings: RedisSettings, consumer: Consumer) -> None:
    """Closing one client leaves the others as they are."""
    async with AsyncClient(settings=redis_settings) as kept:
        with Answering(consumer):
            async with AsyncClient(settings=redis_settings) as closed:
                first = await asyncio.gather(kept.call("m", "op", [1]), closed.call("m", "op", [2]))
            second = await kept.call("m", "op", [3])

    assert [*first, second] == [{"outputs": [1]}, {"outputs": [2]}, {"outputs": [3]}]


def test_a_client_per_event_loop_leaves_nothing_open(
    redis_settings: RedisSettings, consumer: Consumer, raw: "Redis"
) -> None:
    """A program that runs a loop per call leaks no connection and no task."""
    others = len(raw.client_list())

    async def once(number: int) -> object:
        async with AsyncClient(settings=redis_settings) as client:
            return await client.call("m", "op", [number])

    with Answering(consumer):
        answers = [asyncio.run(once(number)) for number in range(3)]

    assert answers == [{"outputs": [0]}, {"outputs": [1]}, {"outputs": [2]}]
    eventually(lambda: len(raw.client_list()) <= others)
