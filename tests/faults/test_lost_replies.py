"""Commands that were carried out and whose replies never came, and lines that fall silent: rows F3 to F5, F17, F21."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from rpc import Client, RedisSettings, Unavailable
from rpc.codec import decode_reply
from rpc.consumer import Consumer
from rpc.keys import Keys
from rpc.messages import Success
from rpc.scripts import SCRIPTS
from tests.answering import Answering, echo, read_one, told
from tests.callers import Callers
from tests.conftest import MakeConsumer, StartWorker
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

UPPER = "tests.models:Upper"

SWEEP_S = 0.3


def run(script: str) -> bytes:
    """Return what a command holds that runs a script."""
    return SCRIPTS[script].sha.encode()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Yield a way to the server that loses replies."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def lossy(redis_settings: RedisSettings, proxy: Proxy) -> RedisSettings:
    """Return settings that lead there."""
    told = {"url": proxy.url, "prefix": redis_settings.prefix, "sweep_s": SWEEP_S, "socket_timeout_s": 1.0}
    return redis_settings.from_env({}, **told)


def test_a_settlement_that_was_carried_out(
    client: Client, make_consumer: MakeConsumer, lossy: RedisSettings, proxy: Proxy, raw: "Redis"
) -> None:
    """F3: a worker that has to say it again wakes nobody twice and changes nothing."""
    consumer: Consumer = make_consumer(settings=lossy)
    client.submit("m", "op", ["a"], job_id="j1")
    delivery = read_one(consumer)
    subscription: Any = raw.pubsub()  # type: ignore[no-untyped-call]
    with subscription:
        subscription.subscribe("c1")
        eventually(lambda: subscription.get_message(timeout=1.0))
        proxy.lose_reply_to(run("complete"))
        with pytest.raises(Unavailable):
            consumer.settle([echo(told(delivery, "c1"))])
        before = raw.get(consumer.keys.result("j1"))
        consumer.settle([echo(told(delivery, "c1"))])
        raw.publish("c1", "end")
        heard = [subscription.get_message(timeout=5.0)["data"].partition(b"\n")[0] for _ in range(2)]

    assert heard == [b"j1", b"end"]
    assert raw.get(consumer.keys.result("j1")) == before
    assert raw.xlen(consumer.keys.stream("interactive")) == 0


@pytest.mark.process
def test_a_read_that_was_carried_out(
    client: Client, start_worker: StartWorker, lossy: RedisSettings, proxy: Proxy, raw: "Redis"
) -> None:
    """F4: entries handed out in a reply that was lost are found again by the same worker, at once and uncounted."""
    start_worker(UPPER, settings=lossy, env={"PENSTOCK_LEASE_S": "120"})
    assert client.call("upper", "upper", ["before"], timeout_s=LONG_S)["texts"] == ["BEFORE"]
    proxy.lose_reply_to(b"XREADGROUP")
    eventually(lambda: proxy.to_lose == 0)
    proxy.lose_reply_to(b"XREADGROUP")
    names = [client.submit("upper", "upper", [f"a{number}"]) for number in range(5)]

    results = [client.result("upper", name, timeout_s=LONG_S)["texts"] for name in names]

    assert results == [[f"A{number}"] for number in range(5)]
    replies: list[Any] = [raw.get(Keys(lossy.prefix, "upper").result(name)) for name in names]
    metas = [reply.meta for reply in map(decode_reply, replies) if isinstance(reply, Success)]
    assert ([meta.attempts for meta in metas], proxy.to_lose) == ([1] * 5, 0)


def test_a_submit_that_was_carried_out(
    callers: Callers, lossy: RedisSettings, proxy: Proxy, raw: "Redis", make_consumer: MakeConsumer
) -> None:
    """F5: three lost replies to one call are one entry of one id, and the call is answered."""
    with Answering(make_consumer()):
        caller = callers.make(lossy)
        assert caller.call("m", "op", ["warm"], timeout_s=LONG_S) == {"outputs": ["warm"]}
    proxy.lose_reply_to(run("submit"), times=3)

    call = callers.start(caller.call, "m", "op", ["b"], job_id="j1", timeout_s=LONG_S)
    eventually(lambda: proxy.to_lose == 0)
    eventually(lambda: raw.xlen(f"{lossy.prefix}:{{m}}:interactive") == 1)
    with Answering(make_consumer()):
        assert call.result(LONG_S) == {"outputs": ["b"]}
    told: Any = raw.xinfo_stream(f"{lossy.prefix}:{{m}}:interactive")
    assert told["entries-added"] == len(["warm", "b"])


def test_lines_that_are_reset_and_fall_silent(
    callers: Callers, lossy: RedisSettings, proxy: Proxy, make_consumer: MakeConsumer
) -> None:
    """F17: callers are answered through resets of every line; a deaf one is served by sweeps, and listens anew."""
    caller = callers.make(lossy)
    consumer = make_consumer()
    with Answering(consumer):
        for number in range(5):
            for command in (run("submit"), b"GETRANGE", b"SUBSCRIBE", b"PING"):
                proxy.lose_reply_to(command)
            assert caller.call("m", "op", [number], timeout_s=LONG_S) == {"outputs": [number]}
        proxy.lose_no_more()
        assert caller.call("m", "op", ["heard"], timeout_s=LONG_S) == {"outputs": ["heard"]}
        before = proxy.subscriptions

        with proxy.deaf():
            calls = [callers.start(caller.call, "m", "op", [number], timeout_s=LONG_S) for number in range(20)]
            assert [call.result(LONG_S) for call in calls] == [{"outputs": [number]} for number in range(20)]
            eventually(lambda: proxy.subscriptions > before)


@pytest.mark.process
def test_scripts_that_are_forgotten_all_the_time(callers: Callers, start_worker: StartWorker, raw: "Redis") -> None:
    """F21: whatever script is flushed in the middle of whatever it takes part in, it is loaded again, unnoticed."""
    start_worker(UPPER)
    caller = callers.make()
    done = threading.Event()

    def forget() -> int:
        count = 0
        while not done.is_set():
            raw.script_flush()
            count += 1
            done.wait(0.002)
        return count

    with ThreadPoolExecutor(9) as threads:
        forgetting = threads.submit(forget)
        texts = [f"a{number}" for number in range(200)]
        try:
            answers = list(
                threads.map(lambda text: caller.call("upper", "upper", [text], timeout_s=LONG_S)["texts"], texts)
            )
        finally:
            done.set()

    assert answers == [[text.upper()] for text in texts]
    assert forgetting.result() > 10
