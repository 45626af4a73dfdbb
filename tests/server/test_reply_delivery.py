"""A reply that lies in Redis reaches all who wait for it, whoever else stops waiting and however slow the line is."""

import asyncio
from collections.abc import Iterator

import pytest

from rpc import AsyncClient, RedisSettings
from rpc.scripts import SCRIPTS
from tests.answering import echo, read_one, reply_with, told
from tests.awaits import CancelledIn
from tests.callers import Callers
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

NEVER_S = 600.0

AWAITS = 12
"""More awaits than a look at one result takes."""

LINE_BYTES_PER_S = 5_000_000.0


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Yield a way to the server whose lines can be cut."""
    with Proxy(server) as proxy:
        yield proxy


@ON_VALKEY
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("place", range(AWAITS))
async def test_a_reader_cancelled_at_any_point_takes_no_answer_from_another(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, place: int, *, late: bool
) -> None:
    """Of two who wait for one id on one client, the second is answered, wherever the first is cancelled."""
    consumer = make_consumer()
    async with AsyncClient(settings=redis_settings.model_copy(update={"sweep_s": NEVER_S})) as client:
        first_id, second_id = "warm", "j1"
        await client.submit("m", "op", [1], job_id=first_id)
        await client.submit("m", "op", [2], job_id=second_id)
        for _ in range(2):
            # nobody is woken: a reader is answered by its own look or by another's
            consumer.settle([echo(told(await asyncio.to_thread(read_one, consumer), "nobody"))])
        await client.result("m", first_id, timeout_s=LONG_S)

        waiting = asyncio.create_task(client.call("m", "op", [2], job_id=second_id, timeout_s=LONG_S))
        reading = asyncio.create_task(_cancelled(client, second_id, place, late=late))
        results = await asyncio.gather(waiting, reading, return_exceptions=True)

    assert results[0] == {"outputs": [2]}
    assert isinstance(results[1], asyncio.CancelledError) or results[1] == {"outputs": [2]}


async def _cancelled(client: AsyncClient, job_id: str, place: int, *, late: bool) -> object:
    return await CancelledIn(client.result("m", job_id, timeout_s=LONG_S), place, late=late)


@ON_VALKEY
async def test_a_hundred_readers_of_one_id_are_answered_whoever_is_cancelled(
    redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """Readers that give up in the middle of their looks leave the others their answer, without a sweep."""
    consumer = make_consumer()
    async with AsyncClient(settings=redis_settings.model_copy(update={"sweep_s": NEVER_S})) as client:
        await client.submit("m", "op", ["a"], job_id="j1")
        consumer.settle([echo(await asyncio.to_thread(read_one, consumer))])
        readers = [asyncio.create_task(client.call("m", "op", ["a"], job_id="j1")) for _ in range(100)]
        for turn, reader in enumerate(readers):
            if turn % 2:
                reader.cancel()
                await asyncio.sleep(0)
        results = await asyncio.gather(*readers, return_exceptions=True)

    assert results[::2] == [{"outputs": ["a"]}] * 50


@pytest.mark.parametrize("cut_at", [b":job:", b"STRLEN", b"GETRANGE", SCRIPTS["lost"].sha.encode()])
def test_a_sweep_cut_in_any_round_loses_no_answer(
    callers: Callers, redis_settings: RedisSettings, proxy: Proxy, make_consumer: MakeConsumer, cut_at: bytes
) -> None:
    """A line that breaks in the middle of a sweep drops nothing of what an earlier round of it found."""
    consumer = make_consumer()
    lossy = redis_settings.from_env({}, url=proxy.url, prefix=redis_settings.prefix, sweep_s=0.1)
    caller = callers.make(lossy)
    answered = callers.start(caller.call, "m", "op", ["a"], timeout_s=LONG_S)
    first = read_one(consumer)
    running = callers.start(caller.call, "m", "op", ["b"], timeout_s=LONG_S)
    second = read_one(consumer)

    with proxy.silent():
        proxy.lose_reply_to(cut_at)
        consumer.settle([echo(told(first, "nobody"))])

    assert answered.result(LONG_S) == {"outputs": ["a"]}
    eventually(lambda: proxy.to_lose == 0)
    consumer.settle([echo(told(second, "nobody"))])
    assert running.result(LONG_S) == {"outputs": ["b"]}


@ON_VALKEY
@pytest.mark.parametrize(("count", "size"), [(60, 200_000), (1, 8_000_000)], ids=["sixty at once", "a large one"])
def test_replies_that_take_longer_than_the_time_limit_arrive(
    callers: Callers, server: Server, redis_settings: RedisSettings, make_consumer: MakeConsumer, count: int, size: int
) -> None:
    """The time limit of the socket counts since the line last moved, not for all that is fetched together."""
    consumer = make_consumer()
    with Proxy(server, bytes_per_s=LINE_BYTES_PER_S) as slow:
        settings = redis_settings.from_env(
            {}, url=slow.url, prefix=redis_settings.prefix, sweep_s=0.5, socket_timeout_s=0.5
        )
        caller = callers.make(settings)
        calls = [callers.start(caller.call, "m", "op", [number], timeout_s=LONG_S) for number in range(count)]
        deliveries = [read_one(consumer) for _ in calls]
        consumer.settle([reply_with(delivery, {"outputs": ["x" * size]}) for delivery in deliveries])

        assert {len(call.result(LONG_S)["outputs"][0]) for call in calls} == {size}


@ON_VALKEY
def test_a_completion_larger_than_the_time_limit_allows_arrives(
    callers: Callers, server: Server, redis_settings: RedisSettings, make_consumer: MakeConsumer
) -> None:
    """One reply of the server that takes longer than the time limit is read whole, as long as its bytes keep coming."""
    consumer = make_consumer()
    completions: list[object] = []
    with Proxy(server, bytes_per_s=LINE_BYTES_PER_S) as slow:
        settings = redis_settings.from_env({}, url=slow.url, prefix=redis_settings.prefix, socket_timeout_s=0.5)
        callers.make().submit("m", "op", ["a"], sink="s", job_id="j1")
        consumer.announce({"ops": "op"})
        delivery = read_one(consumer)
        consumer.settle([reply_with(delivery, {"outputs": ["x" * 8_000_000]})])
        callers.settings = settings

        with callers.consuming("s", completions.append, models=["m"]):
            eventually(lambda: completions)
