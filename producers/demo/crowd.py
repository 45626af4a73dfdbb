"""Scene: one call at a time, and then all of them at once."""

import asyncio
from functools import partial

from producers.demo.narration import Counter, Narrator, expect
from producers.demo.stage import MODEL, Stage
from producers.load import run_all
from producers.metrics import Passes
from producers.texts import mixed_texts
from producers.worker_process import Announced, WorkerProcess
from rpc import AsyncClient
from rpc.settings import RedisSettings

CALLS = 64

COUNTED_S = 5.0


def play(stage: Stage, narrator: Narrator, worker: WorkerProcess, announced: Announced) -> None:
    """Time the same texts both ways, and tell which batches the worker made of them."""
    narrator.step(
        "One at a time, then many at once",
        f"The same {CALLS} texts of 3 to 120 words, each in a call of its own, on one thread of the worker's.",
    )
    before = Passes.at(announced.health, MODEL)
    with narrator.counting("calling", 2 * CALLS) as counter:
        alone_s, together_s, between = asyncio.run(_both(stage.settings, announced.health, counter))

    def counted() -> bool:
        return (Passes.at(announced.health, MODEL) - before).units >= 2 * CALLS

    # a pass is counted just after its replies have left
    worker.wait_until(counted, within_s=COUNTED_S, what="the last pass was counted")
    crowd = Passes.at(announced.health, MODEL) - between
    narrator.show(f"one at a time  {CALLS / alone_s:6.0f} texts/s   every text a forward pass of its own")
    narrator.show(
        f"all at once    {CALLS / together_s:6.0f} texts/s   {crowd.passes:.0f} passes of {crowd.mean_units:.1f} texts,"
        f" {100 * (crowd.padding - 1):.0f} % padding",
        style="green",
    )
    narrator.show(f"{alone_s / together_s:.2f} times the throughput, from the same model on the same core")
    expect(holds=crowd.mean_units > 1, otherwise="calls made at once should have shared forward passes")


async def _both(settings: RedisSettings, health: str, counter: Counter) -> tuple[float, float, Passes]:
    texts = mixed_texts(CALLS)
    async with AsyncClient(settings=settings) as client:
        await client.embed_text("warm", model=MODEL)
        calls = [partial(_counted, client, text, counter) for text in texts]
        alone_s = await run_all(calls, 1)
        between = await asyncio.to_thread(Passes.at, health, MODEL)
        together_s = await run_all(calls, CALLS)
    return alone_s, together_s, between


async def _counted(client: AsyncClient, text: str, counter: Counter) -> None:
    await client.embed_text(text, model=MODEL)
    counter.one_done()
