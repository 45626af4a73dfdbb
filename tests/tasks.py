"""A user's Dramatiq tasks: embeddings asked for and not waited for, and stored when they come."""

import json
import os
import sqlite3

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage

from producers.dramatiq import Penstock
from rpc import RedisSettings

broker = RedisBroker(  # type: ignore[no-untyped-call] # Dramatiq's own
    url=os.environ["TASKS_REDIS_URL"], heartbeat_timeout=2000, maintenance_chance=20_000
)
broker.add_middleware(AsyncIO())
broker.add_middleware(CurrentMessage())
penstock = Penstock(RedisSettings.from_env())
broker.add_middleware(penstock)
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=50, min_backoff=50, max_backoff=500)
def index(number: int) -> None:
    """Ask for one result, which nobody waits for; some fail once after they have asked."""
    penstock.submit_later("journal", "note", [f"{os.environ['TASKS_DIRECTORY']}/{number}"], sink="stored", keep_s=600)
    if number % 10 == 0 and first_time(number):
        raise ConnectionError("fails once, after it has asked")


@dramatiq.actor(max_retries=0)
def index_once(number: int) -> None:
    """Ask for one result; an error is not tried again."""
    penstock.submit_later("journal", "note", [f"{os.environ['TASKS_DIRECTORY']}/{number}"], sink="stored", keep_s=600)


def first_time(number: int) -> bool:
    """Return whether it is asked of this number for the first time."""
    try:
        os.close(os.open(f"{os.environ['TASKS_DIRECTORY']}/failed-{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@dramatiq.actor(max_retries=50, min_backoff=50, max_backoff=500)
def store(completion: dict[str, object]) -> None:
    """Store a result under its job's id, which two hand-overs have in common."""
    with sqlite3.connect(f"{os.environ['TASKS_DIRECTORY']}/results.db", timeout=30) as database:
        row = (completion["job_id"], json.dumps(completion["result"]))
        database.execute("INSERT INTO results VALUES (?, ?) ON CONFLICT (job_id) DO NOTHING", row)


@dramatiq.actor
def refused() -> None:
    """Ask for what cannot be: another try could not help."""
    with open(f"{os.environ['TASKS_DIRECTORY']}/refused", "a", encoding="utf-8") as journal:  # noqa: PTH123 (appends)
        journal.write("tried\n")
    penstock.submit_later("no such model", "note", ["a"])


@dramatiq.actor
def wait_for(number: int) -> None:
    """Ask for a result and wait for it."""
    result = penstock.call("journal", "note", [f"{os.environ['TASKS_DIRECTORY']}/{number}"], timeout_s=30)
    store.send({"job_id": f"waited-{number}", "result": result})


@dramatiq.actor
async def await_for(number: int) -> None:
    """Do the same in a coroutine."""
    inputs = [f"{os.environ['TASKS_DIRECTORY']}/{number}"]
    result = await penstock.acall("journal", "note", inputs, timeout_s=30)
    store.send({"job_id": f"awaited-{number}", "result": result})
