"""Replies whose callers have them make room; those that somebody was promised stay."""

from collections.abc import Mapping
from typing import Any

import pytest
from redis import Redis

from rpc.connection import BlockingConnection
from rpc.consumer import Consumer
from rpc.deliveries import Limits
from rpc.kept_replies import kept_replies
from rpc.keys import Keys
from rpc.messages import Job
from tests.answering import Answering
from tests.callers import Callers
from tests.conftest import MakeConsumer, settings_for
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

ROOM_BYTES = 2_000_000
"""Room for fewer than 500 replies of 4 KB."""

CALLS = 1_200


def reply_4k(job: Job, inputs: list[Any]) -> Mapping[str, Any]:
    """Return a result of 4 KB."""
    del job, inputs
    return {"outputs": ["x" * 4096]}


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_server_with_room_for_few_replies_answers_any_number_of_calls(own_server: Server, kind: str) -> None:
    """Callers that wait for their replies fill no server, whatever `keep_ms` their jobs have."""
    settings = settings_for(own_server)
    connection = BlockingConnection(settings, block_s=1.0)
    consumer = Consumer(connection, Keys(settings.prefix, "m"), "w1", Limits())
    consumer.ensure_groups()
    callers = Callers(kind, settings)
    with Redis.from_url(own_server.url, protocol=2) as raw, Answering(consumer, reply_4k):
        caller = callers.make()
        caller.call("m", "op", ["warm"], timeout_s=LONG_S)
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] + ROOM_BYTES)
        turns = [
            callers.start(lambda: [caller.call("m", "op", ["a"], timeout_s=LONG_S) for _ in range(CALLS // 20)])
            for _ in range(20)
        ]
        assert sum(len(turn.result(10 * LONG_S)) for turn in turns) == CALLS
        callers.close()

        assert list(raw.scan_iter(match="*:result:*")) == []
    connection.close()


@pytest.mark.parametrize(
    "promise", [{"job_id": "j1"}, {"keep_s": 60.0}, {"sink": "s"}], ids=["an id", "a life", "a sink"]
)
def test_a_promised_reply_stays_when_its_caller_has_it(
    callers: Callers, make_consumer: MakeConsumer, raw: "Redis", promise: Mapping[str, Any]
) -> None:
    """Who names an id, how long a reply is kept, or a sink, finds the reply after the call."""
    caller = callers.make(sweep_s=0.1)
    with Answering(make_consumer()):
        caller.call("m", "op", ["kept"], timeout_s=LONG_S, **promise)
        caller.call("m", "op", ["received"], timeout_s=LONG_S)

        eventually(lambda: len(list(raw.scan_iter(match=f"{callers.settings.prefix}:*:result:*"))) == 1)


def test_the_reply_to_a_submit_can_be_read_again(callers: Callers, make_consumer: MakeConsumer) -> None:
    """The id that `submit` returns fetches the reply as often as it is asked for, also after calls were answered."""
    caller = callers.make(sweep_s=0.1)
    with Answering(make_consumer()):
        job_id = caller.submit("m", "op", ["a"])
        for _ in range(100):
            caller.call("m", "op", ["b"], timeout_s=LONG_S)
        answers = [caller.result("m", job_id, timeout_s=LONG_S) for _ in range(2)]

    assert answers == [{"outputs": ["a"]}] * 2


@pytest.mark.parametrize("size", [100, 40_000], ids=["told along", "fetched"])
def test_the_last_replies_of_a_quiet_client_go_too(
    callers: Callers, make_consumer: MakeConsumer, raw: "Redis", size: int
) -> None:
    """A client that makes no further call deletes what it has received within a sweep."""
    caller = callers.make(sweep_s=0.2)
    with Answering(make_consumer()):
        assert caller.call("m", "op", ["x" * size], timeout_s=LONG_S) == {"outputs": ["x" * size]}

    eventually(lambda: not list(raw.scan_iter(match=f"{callers.settings.prefix}:*:result:*")))


def test_kept_replies_are_counted_with_their_bytes(callers: Callers, make_consumer: MakeConsumer, raw: "Redis") -> None:
    """What the doctor tells of kept replies is what they take on the server, within a quarter."""
    caller = callers.make()
    with Answering(make_consumer(), reply_4k):
        job_ids = [caller.submit("m", "op", [number]) for number in range(20)]
        for job_id in job_ids:
            caller.result("m", job_id, timeout_s=LONG_S)

    kept = caller.ask(kept_replies(callers.settings.prefix))
    used = sum(raw.memory_usage(name) or 0 for name in raw.scan_iter(match=f"{callers.settings.prefix}:*:result:*"))

    assert (kept.count, kept.whole) == (20, True)
    assert used * 0.75 <= kept.memory_bytes <= used * 1.25
