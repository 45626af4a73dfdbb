"""`penstock bench`: throughput and latency of whoever serves a model."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from producers.load import Call, Level, measure
from producers.tables import print_json, print_table, progress
from producers.texts import mixed_texts
from rpc import AsyncClient, InvalidInput, Unavailable
from rpc.inspection import model_state
from rpc.settings import RedisSettings

ECHOED = b"x" * 200

TEXTS = 256


def show(settings: RedisSettings, model: str, levels: Sequence[int], seconds: float, *, as_json: bool) -> None:
    """Measure and print one level after another; raise `Unavailable` if nobody serves the model."""
    found = asyncio.run(_measured(settings, model, levels, seconds))
    if as_json:
        print_json({"model": model, "levels": [asdict(level) for level in found]})
        return
    columns = ("in flight#", "calls#", "per second#", "p50 ms#", "p99 ms#")
    print_table(f"{model}, {seconds:g} s a level", columns, map(_row, found))


def _row(level: Level) -> Sequence[object]:
    return (
        level.in_flight,
        level.calls,
        f"{level.per_second:,.0f}",
        f"{level.p50_ms:.2f}",
        f"{level.p99_ms:.2f}",
    )


async def _measured(settings: RedisSettings, model: str, levels: Sequence[int], seconds: float) -> list[Level]:
    async with AsyncClient(settings=settings) as client:
        call = await _call(client, settings.prefix, model)
        with progress() as bar:
            steps = bar.track(levels, description=f"calling {model}")
            return [await measure(call, in_flight, seconds=seconds) for in_flight in steps]


async def _call(client: AsyncClient, prefix: str, model: str) -> Call:
    state = await client.ask(model_state(prefix, model))
    if not state.workers:
        raise Unavailable(f"no live worker serves {model}: penstock worker --models {model}")
    if "embed_text" in state.ops:
        texts = itertools.cycle(mixed_texts(TEXTS))
        return lambda: client.embed_text(next(texts), model=model)
    if "echo" in state.ops:
        return partial(client.call, model, "echo", [ECHOED])
    raise InvalidInput(f"{model} offers {', '.join(state.ops)}; bench can call embed_text and echo")
