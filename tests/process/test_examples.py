"""The recipes of `examples/`, each run as its users run it, against a real worker."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rpc import RedisSettings
from tests.conftest import ON_VALKEY, MakeConsumer, StartWorker
from tests.families import Families
from tests.servers import Server, free_port
from tests.waiting import LONG_S, eventually
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

UPPER = "tests.models:Upper"


def queue_url(server: Server) -> str:
    """Return a database of the tests' server for the queue of somebody else."""
    return server.url.removesuffix("/0") + "/8"


@contextmanager
def running(settings: RedisSettings, told: Mapping[str, str], directory: Path, *line: str) -> Iterator[None]:
    """Run a Python module until left; show what it wrote if the test fails."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *line], cwd=ROOT, env=environment(settings, told), stdout=log, stderr=log
        )
    try:
        yield
    except BaseException:
        sys.stderr.write((directory / "log").read_text())
        raise
    finally:
        process.terminate()
        try:
            process.wait(LONG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def asked(settings: RedisSettings, told: Mapping[str, str], program: str) -> str:
    """Return what a short program prints, that asks for something of an example."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(settings, told),
        capture_output=True,
        text=True,
        timeout=2 * LONG_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_fastapi(start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """One client for the life of the application; errors have their statuses."""
    start_worker(UPPER)
    port = free_port()
    line = ("uvicorn", "examples.fastapi_app:app", "--port", str(port))
    with running(redis_settings, {}, tmp_path, *line), httpx2.Client(base_url=f"http://127.0.0.1:{port}") as http:

        def answer() -> Any:
            try:
                return http.get("/shout", params={"text": "hello"})
            except httpx2.TransportError:
                return None

        told = eventually(answer, what="the application answers")
        assert (told.status_code, told.json()) == (200, {"text": "HELLO"})


def test_celery(server: Server, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A client in the process that works; a task is its job's id."""
    start_worker(UPPER)
    told = {"CELERY_BROKER_URL": queue_url(server)}
    line = ("celery", "-A", "examples.celery_app", "worker", "--pool", "prefork", "--concurrency", "1", "-l", "warning")
    program = "from examples.celery_app import shout; print(shout.delay('hello').get(timeout=50))"
    with running(redis_settings, told, tmp_path, *line):
        assert asked(redis_settings, told, program) == "HELLO"


def test_taskiq(server: Server, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A client in the worker's state."""
    start_worker(UPPER)
    told = {"TASKIQ_URL": queue_url(server)}
    program = """
import asyncio
from examples.taskiq_app import broker, shout

async def main():
    await broker.startup()
    task = await shout.kiq("hello")
    print((await task.wait_result(timeout=50)).return_value)
    await broker.shutdown()

asyncio.run(main())
"""
    with running(redis_settings, told, tmp_path, "taskiq", "worker", "examples.taskiq_app:broker", "--workers", "1"):
        assert asked(redis_settings, told, program) == "HELLO"


def test_arq(server: Server, start_worker: StartWorker, redis_settings: RedisSettings, tmp_path: Path) -> None:
    """A client in the worker's context."""
    start_worker(UPPER)
    told = {"ARQ_URL": queue_url(server)}
    program = """
import asyncio, os
from arq import create_pool
from arq.connections import RedisSettings

async def main():
    pool = await create_pool(RedisSettings.from_dsn(os.environ["ARQ_URL"]))
    job = await pool.enqueue_job("shout", "hello")
    print(await job.result(timeout=50))

asyncio.run(main())
"""
    with running(redis_settings, told, tmp_path, "arq", "examples.arq_app.WorkerSettings"):
        assert asked(redis_settings, told, program) == "HELLO"


def test_a_script(redis_settings: RedisSettings, make_consumer: MakeConsumer) -> None:
    """All texts in one call; the one that fails is told beside the others."""
    with Families(make_consumer):
        ended = subprocess.run(
            [sys.executable, "examples/script.py", "one", "bad", "two"],
            cwd=ROOT,
            env=environment(redis_settings),
            capture_output=True,
            text=True,
            timeout=LONG_S,
            check=False,
        )

    assert (ended.returncode, ended.stdout) == (1, "one: 32\nbad: the text is bad\ntwo: 32\n")
