"""The way itself: 200 bytes in, 4 KB out, against a loop written by hand, in turns and in one process.

The caller of both is one event loop. Exits with 1 if a median ratio misses its bound.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import floor, ratios
from producers.embedded import EmbeddedServer
from producers.load import Call, Level, measure
from producers.signals import ended_in_order
from producers.tables import progress
from producers.worker_process import WorkerProcess
from rpc import AsyncClient, Client, RedisSettings

ROOT = Path(__file__).resolve().parent.parent
PAYLOAD = b"x" * 200
LEVELS = (64, 256)
ROUNDS, SECONDS = 7, 1.0
WHOLE_S = 300.0
STOP_S = 5.0


def main() -> int:
    """Run the benchmark and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        directory = Path(name)
        with ended_in_order(), EmbeddedServer(directory / "valkey") as server, _floor_worker(server.url):
            settings = RedisSettings.from_env({}, url=server.url)
            environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}", "PENSTOCK_LOG_LEVEL": "warning"}
            worker = WorkerProcess(["reply_model:Reply"], settings, directory / "worker.log", environment)
            try:
                with Client(settings=settings) as client:
                    worker.wait_until_ready(client, "bench")
                found = asyncio.run(_compare(settings))
            finally:
                worker.close()
    title = f"echo: 200 B in, 4 KB out; {ROUNDS} rounds of {SECONDS:g} s each"
    return ratios.conclude(title, ("by hand", "penstock"), found)


@contextmanager
def _floor_worker(url: str) -> Iterator[None]:
    worker = subprocess.Popen([sys.executable, floor.__file__, url], stdout=subprocess.PIPE)
    try:
        if worker.stdout is None or worker.stdout.readline() != b"ready\n":
            raise RuntimeError("the loop written by hand did not start")
        yield
    finally:
        worker.kill()
        worker.wait(STOP_S)
        if worker.stdout is not None:
            worker.stdout.close()


async def _compare(settings: RedisSettings) -> list[ratios.Ratio]:
    p50 = ratios.Ratio("one after another, p50 µs", at_most=2.0)
    p99 = ratios.Ratio("one after another, p99 µs")
    rates = {level: ratios.Ratio(f"{level} in flight, calls/s", at_least=0.5) for level in LEVELS}
    by_hand = floor.Caller(settings.url.get_secret_value(), most=max(LEVELS))
    async with asyncio.timeout(WHOLE_S), AsyncClient(settings=settings) as client:
        calls = (partial(by_hand.call, PAYLOAD), partial(client.call, "bench", "reply", [PAYLOAD]))
        with progress() as bar:
            for turn in bar.track(range(ROUNDS), description="rounds"):
                other, our = await _in_turns(calls, 1, turn)
                p50.add(other.p50_ms * 1000, our.p50_ms * 1000)
                p99.add(other.p99_ms * 1000, our.p99_ms * 1000)
                for level, rate in rates.items():
                    other, our = await _in_turns(calls, level, turn)
                    rate.add(other.per_second, our.per_second)
    await by_hand.close()
    return [p50, p99, *rates.values()]


async def _in_turns(calls: tuple[Call, Call], in_flight: int, turn: int) -> tuple[Level, Level]:
    """Measure both, the one first that was last in the turn before."""
    if turn % 2:
        second = await measure(calls[1], in_flight, seconds=SECONDS)
        return await measure(calls[0], in_flight, seconds=SECONDS), second
    first = await measure(calls[0], in_flight, seconds=SECONDS)
    return first, await measure(calls[1], in_flight, seconds=SECONDS)


if __name__ == "__main__":
    sys.exit(main())
