"""Workers killed, drained and poisoned, and a Redis that goes away: every job is answered, once."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import psutil
import pytest
from redis import Redis

from rpc import Client, RedisSettings
from rpc.codec import decode_reply
from rpc.keys import BEGUN, GROUP, LANES, Keys
from rpc.messages import Reply, Success
from rpc.scripts import SCRIPTS
from tests.callers import Callers
from tests.conftest import Gates, StartWorker, settings_for
from tests.proxy import Proxy
from tests.servers import Server
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, pytest.mark.process]

GATE = "tests.models:Gate"
WIDE = "tests.models:WideGate"
DIES = "tests.models:Dies"

LEASE_S = 2.0
LEASE = {"PENSTOCK_LEASE_S": str(LEASE_S)}


def results(client: Client, model: str, ids: list[str]) -> list[Any]:
    """Return the results of jobs, waiting for each."""
    return [client.result(model, job_id, timeout_s=LONG_S) for job_id in ids]


def holders(raw: "Redis", keys: Keys) -> dict[str, int]:
    """Return how many jobs each consumer holds."""
    pending: Any = raw.xpending_range(keys.stream("interactive"), GROUP, "-", "+", 1000)
    names = [item["consumer"].decode() for item in pending]
    return {name: names.count(name) for name in names}


def stored(raw: "Redis", keys: Keys, job_id: str) -> Reply:
    """Return the stored reply to a job."""
    value: Any = raw.get(keys.result(job_id))
    return decode_reply(value)


def left(raw: "Redis", keys: Keys) -> int:
    """Return how many jobs are in the lanes."""
    return sum(int(raw.xlen(keys.stream(lane))) for lane in LANES)


@pytest.mark.bound
def test_a_worker_killed_in_mid_batch_costs_at_most_two_leases(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """Issue 2: after SIGKILL in mid-batch another worker answers every job, each once, within two leases."""
    keys = Keys(redis_settings.prefix, "wide-gate")
    names = [f"g{number}" for number in range(8)]
    victim = start_worker(WIDE, env=LEASE)
    ids = [client.submit("wide-gate", "pass", [gates.path(name)], job_id=name) for name in names]
    eventually(lambda: len(gates.journal()) > 0 and holders(raw, keys) == {victim.name: len(names)})
    survivor = start_worker(WIDE, env=LEASE)
    engine = psutil.Process(victim.engine_pid)

    victim.kill()
    killed = time.monotonic()
    # it ends with its supervisor; alive, it would go on as soon as the gates are open
    engine.wait(LONG_S)
    gates.open(*names)
    answers = results(client, "wide-gate", ids)
    took_s = time.monotonic() - killed

    assert [{"outputs": [gates.path(name)]} for name in names] == answers
    assert took_s <= 2 * LEASE_S
    replies = [stored(raw, keys, name) for name in names]
    assert {reply.meta.worker for reply in replies if isinstance(reply, Success)} == {survivor.name}
    assert (left(raw, keys), survivor.metric("penstock_jobs_total", model="wide-gate")) == (0, len(names))


def test_jobs_nobody_had_begun_are_not_suspected(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """Jobs that wait in the stream while a worker dies are simply served by the next one."""
    victim = start_worker(GATE, env={**LEASE, "PENSTOCK_UNITS_HELD": "1", "PENSTOCK_BATCH_SIZE": "1"})
    client.submit("gate", "pass", [gates.path("a")], job_id="a")
    eventually(gates.entered("a"))
    client.submit("gate", "pass", [gates.path("b")], job_id="b")
    engine = psutil.Process(victim.engine_pid)
    victim.kill()
    engine.wait(LONG_S)
    gates.open("a", "b")

    start_worker(GATE, env=LEASE)

    assert client.result("gate", "b", timeout_s=LONG_S) == {"outputs": [gates.path("b")]}
    reply = stored(raw, Keys(redis_settings.prefix, "gate"), "b")
    assert isinstance(reply, Success)
    assert reply.meta.attempts == 1


@pytest.mark.bound
def test_released_jobs_are_found_within_a_second(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """Issue 2: what a drained worker releases is picked up within 1 s by workers that run."""
    keys = Keys(redis_settings.prefix, "gate")
    names = [f"g{number}" for number in range(3)]
    drained = start_worker(GATE)
    for name in names:
        client.submit("gate", "pass", [gates.path(name)], job_id=name)
    eventually(lambda: gates.journal() == ["g0"] and holders(raw, keys) == {drained.name: 3})
    other = start_worker(GATE)

    drained.terminate()
    eventually(lambda: drained.name not in holders(raw, keys) or holders(raw, keys)[drained.name] == 1)
    released = time.monotonic()
    eventually(lambda: holders(raw, keys).get(other.name, 0) == 2)
    took_s = time.monotonic() - released

    gates.open(*names)
    assert took_s <= 1.0
    assert drained.wait() == 0


def test_a_job_that_outlasts_the_grace_is_given_back_too(
    client: Client, start_worker: StartWorker, gates: Gates, raw: "Redis", redis_settings: RedisSettings
) -> None:
    """A worker whose grace has ended ends with status 0 at once, and its job is another's, uncounted."""
    drained = start_worker(GATE, env={"PENSTOCK_DRAIN_GRACE_S": "0.2"})
    client.submit("gate", "pass", [gates.path("a")], job_id="a")
    eventually(gates.entered("a"))

    drained.terminate()

    assert drained.wait() == 0
    assert holders(raw, Keys(redis_settings.prefix, "gate")) == {BEGUN: 1}
    gates.open("a")
    start_worker(GATE)
    assert client.result("gate", "a", timeout_s=LONG_S) == {"outputs": [gates.path("a")]}


@pytest.fixture
def own_callers(own_server: Server) -> Iterator[Callers]:
    """Yield callers of a server of the test's own."""
    made = Callers("asyncio", settings_for(own_server, sweep_s=0.5))
    yield made
    made.close()


def test_a_redis_that_crashes_loses_no_call(
    own_callers: Callers, own_server: Server, start_worker_on: StartWorker, gates: Gates
) -> None:
    """Redis killed and started again with calls in flight: those that run, wait or come meanwhile are all answered."""
    start_worker_on(GATE, "echo", settings=own_callers.settings)
    caller = own_callers.make()
    names = [f"g{number}" for number in range(5)]
    inflight: list[Future[Any]] = [
        own_callers.start(caller.call, "gate", "pass", [gates.path(name)], timeout_s=LONG_S) for name in names
    ]
    eventually(lambda: len(gates.journal()) == 1)

    own_server.kill()
    meanwhile = [own_callers.start(caller.call, "echo", "echo", [number], timeout_s=LONG_S) for number in range(20)]
    own_server.start()
    gates.open(*names)

    assert [call.result(LONG_S) for call in inflight] == [{"outputs": [gates.path(name)]} for name in names]
    assert [call.result(LONG_S) for call in meanwhile] == [{"outputs": [number]} for number in range(20)]


def test_a_worker_whose_replies_get_lost_answers_every_job(
    client: Client, server: Server, start_worker: StartWorker, redis_settings: RedisSettings, raw: "Redis"
) -> None:
    """Replies to reads and to scripts of a worker may get lost: every job is answered, none is left."""
    keys = Keys(redis_settings.prefix, "upper")
    scripts = [SCRIPTS[name].sha.encode() for name in ("complete", "claim", "look", "renew", "complete")]
    lost = [b"XREADGROUP", *scripts, b"XREADGROUP"]
    answers = []
    with Proxy(server) as proxy:
        lossy = redis_settings.from_env({}, url=proxy.url, prefix=redis_settings.prefix)
        start_worker("tests.models:Upper", settings=lossy, env={"PENSTOCK_LEASE_S": "1"})
        for number, command in enumerate(lost):
            proxy.lose_reply_to(command)
            ids = [client.submit("upper", "upper", [f"a{number}.{place}"]) for place in range(5)]
            answers += [result["texts"] for result in results(client, "upper", ids)]
            eventually(lambda: proxy.to_lose == 0)
        eventually(lambda: left(raw, keys) == 0)

    assert [[f"A{number}.{place}"] for number in range(len(lost)) for place in range(5)] == answers
