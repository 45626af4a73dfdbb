"""Batching: real MiniLM weights on one thread, the same texts one call at a time and 64 at a time, in turns.

Exits with 1 if the gain or the mean size of a batch misses its bound.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import ratios
from producers.embedded import EmbeddedServer
from producers.load import Call, run_all
from producers.metrics import Passes
from producers.signals import ended_in_order
from producers.tables import console, progress
from producers.texts import mixed_texts
from producers.worker_process import WorkerProcess
from rpc import AsyncClient, Client, RedisSettings

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = ROOT / "bench" / "offline.py"
MODEL = "minilm"
TEXTS, IN_FLIGHT, ROUNDS = 600, 64, 3
LEAST_GAIN, LEAST_UNITS = 1.3, 8.0
WHOLE_S, OFFLINE_S = 500.0, 300.0


def main() -> int:
    """Run the benchmark and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        directory = Path(name)
        with ended_in_order(), EmbeddedServer(directory / "valkey") as server:
            settings = RedisSettings.from_env({}, url=server.url)
            environment = {
                "PYTHONPATH": str(ROOT),
                "PENSTOCK_TORCH_THREADS": "1",
                "PENSTOCK_LOG_LEVEL": "warning",
                "HF_HUB_OFFLINE": "1",
            }
            worker = WorkerProcess([MODEL], settings, directory / "worker.log", environment)
            try:
                with Client(settings=settings) as client:
                    health = worker.wait_until_ready(client, MODEL).health
                gain, crowd = asyncio.run(_compare(settings, health))
            finally:
                worker.close()
    return _conclude(gain, crowd)


async def _compare(settings: RedisSettings, health: str) -> tuple[ratios.Ratio, Passes]:
    gain = ratios.Ratio("texts/s", at_least=LEAST_GAIN)
    crowd = Passes()
    async with asyncio.timeout(WHOLE_S), AsyncClient(settings=settings) as client:
        calls: list[Call] = [partial(client.embed_text, text, model=MODEL) for text in mixed_texts(TEXTS)]
        await run_all(calls[:IN_FLIGHT], IN_FLIGHT)
        with progress() as bar:
            for turn in bar.track(range(ROUNDS), description="rounds"):
                alone = [] if turn % 2 else [TEXTS / await run_all(calls, 1)]
                before = await _passes(health)
                together = TEXTS / await run_all(calls, IN_FLIGHT)
                crowd += await _passes(health) - before
                alone = alone or [TEXTS / await run_all(calls, 1)]
                gain.add(alone[0], together)
    return gain, crowd


async def _passes(health: str) -> Passes:
    return await asyncio.to_thread(Passes.at, health, MODEL)


def _conclude(gain: ratios.Ratio, crowd: Passes) -> int:
    units = ratios.Ratio("mean units in a pass", at_least=LEAST_UNITS)
    units.add(1.0, crowd.mean_units)
    title = f"embed_text: {TEXTS} texts of 3 to 120 words, one thread; {ROUNDS} rounds"
    status = ratios.conclude(title, ("one at a time", f"{IN_FLIGHT} in flight"), [gain, units])
    limit = _offline(TEXTS)
    tell = partial(console().print, highlight=False)
    tell(f"padding: {100 * (crowd.padding - 1):.1f} % of the tokens, with {IN_FLIGHT} in flight")
    tell(
        f"the model alone, without a queue: {limit['single']:.0f} texts/s one by one, {limit['batched']:.0f} sorted"
        f" and {limit['pass']:.0f} a pass; {limit['batched'] / limit['single']:.2f} times is what batching gains there"
    )
    return status


def _offline(count: int) -> dict[str, float]:
    line: Sequence[str] = (sys.executable, str(OFFLINE), str(count))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(line, env=environment, stdout=subprocess.PIPE, timeout=OFFLINE_S, check=True)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
