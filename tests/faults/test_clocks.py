"""A server whose clock steps while jobs are held: row F36."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rpc import RedisSettings, inspection, leases, sinks
from rpc.consumer import Consumer
from rpc.deliveries import Limits
from tests.answering import carry_out, echo, read_one, show_life
from tests.callers import Callers
from tests.chaos.clock import ServerClock
from tests.conftest import MakeConsumer, installed, settings_for
from tests.servers import KINDS, Server
from tests.waiting import LONG_S, eventually

pytestmark = pytest.mark.server

LEASE_MS = 500

HOUR_S = 3600.0


@pytest.fixture(name="clock")
def _clock(tmp_path: Path) -> ServerClock:
    """Return the clock of the server."""
    clock = ServerClock(tmp_path)
    if not clock.available:
        pytest.skip("no C compiler is installed")
    return clock


@pytest.fixture(name="redis_settings", params=KINDS)
def _settings(request: pytest.FixtureRequest, tmp_path: Path, clock: ServerClock) -> Iterator[RedisSettings]:
    """Yield the settings of a server with that clock."""
    kind = installed(request.param)
    with Server(kind, tmp_path / kind, environment=clock.environment) as server:
        yield settings_for(server, sweep_s=0.2)


@pytest.fixture(name="workers")
def _workers(make_consumer: MakeConsumer) -> list[Consumer]:
    """Return one worker that is going to be lost, and another one."""
    limits = dataclasses.replace(Limits(), lease_ms=LEASE_MS)
    return [make_consumer(name, limits=limits) for name in ("lost", "other")]


def taken_over(worker: Consumer) -> list[str]:
    """Do what a worker does again and again; return the jobs it has taken over."""
    show_life(worker)
    carry_out(worker, leases.reap(worker.keys.prefix, "m", lease_ms=LEASE_MS))
    return [str(delivery.job_id) for delivery in worker.claim("interactive", 10, suspect=True).taken]


def test_a_clock_that_steps_back_after_a_worker_is_lost(
    clock: ServerClock, redis_settings: RedisSettings, workers: list[Consumer]
) -> None:
    """F36: its jobs, and one that was put off, are taken over within leases, not after the hour; it is not alive."""
    lost, other = workers
    callers = Callers("blocking", redis_settings)
    caller = callers.make()
    for name in ("held", "put-off"):
        caller.submit("m", "op", [name], job_id=name)
    read_one(lost)
    other.retry(read_one(other), delay_s=0.1)
    show_life(lost)

    clock.set(-HOUR_S)

    assert taken_over(other) == []
    found: set[str] = set()

    def all_found() -> bool:
        found.update(taken_over(other))
        return found == {"held", "put-off"}

    eventually(all_found)
    eventually(lambda: alive(caller, other) == {"other"})
    callers.close()


def alive(caller: Any, worker: Consumer) -> set[str]:
    """Return the workers that count as alive after one has shown its life."""
    show_life(worker)
    return set(caller.ask(inspection.model_state(caller.prefix, "m")).workers)


def test_a_clock_that_steps_back_while_a_completion_is_held(
    clock: ServerClock, redis_settings: RedisSettings, workers: list[Consumer]
) -> None:
    """F36: a completion of a relay that is lost is handed out again after its lease, not after the hour."""
    _, worker = workers
    callers = Callers("blocking", redis_settings)
    caller = callers.make()
    caller.submit("m", "op", ["a"], job_id="j1", sink="s")
    worker.settle([echo(read_one(worker))])
    reading = sinks.Reading(redis_settings.prefix, "s", ("m",), "lost", LEASE_MS)
    caller.ask(sinks.ensure(reading))
    assert len(caller.ask(sinks.arriving(reading, block_ms=0))) == 1

    clock.set(-HOUR_S)

    taken: list[str] = []
    relay = {"models": ["m"], "lease_s": LEASE_MS / 1000}
    with callers.consuming("s", lambda completion: taken.append(completion.job_id), **relay):
        eventually(lambda: taken == ["j1"])
    callers.close()


def test_a_clock_that_steps_forth_and_back_under_load(
    clock: ServerClock, redis_settings: RedisSettings, workers: list[Consumer]
) -> None:
    """F36: a step forth lets others take over what runs, which is told once; calls go on after both steps."""
    first, second = workers
    callers = Callers("blocking", redis_settings)
    caller = callers.make()
    for offset_s in (HOUR_S, 0.0):
        call = callers.start(caller.call, "m", "op", ["a"], timeout_s=LONG_S)
        held = read_one(first)
        clock.set(offset_s)
        eventually(lambda: taken_over(second))
        first.settle([echo(held)])
        assert call.result(LONG_S) == {"outputs": ["a"]}
    assert caller.ask(inspection.model_state(redis_settings.prefix, "m")).dead == 0
    callers.close()
