"""What `status` and `peek` show: what waits, what runs, who serves."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from producers.tables import SECOND_MS, duration, print_json, print_lines, print_table, shortened
from rpc import Client
from rpc.codec import to_json
from rpc.inspection import ModelState, known_models, model_state, peek
from rpc.keys import NOBODY, Lane
from rpc.settings import RedisSettings
from rpc.soundness import queued_models

PAYLOAD_SHOWN = 60

MEGABYTE = 1_000_000

TENTHS_BELOW_MB = 10


def states(client: Client, prefix: str, models: Sequence[str]) -> list[ModelState]:
    """Return the state of the models named, or else of all that were ever served or have jobs."""
    names = models or sorted({*client.ask(known_models(prefix)), *client.ask(queued_models(prefix))})
    return [client.ask(model_state(prefix, name)) for name in names]


def show_status(settings: RedisSettings, models: Sequence[str], *, as_json: bool) -> None:
    """Print the lanes of the models and the live workers behind them."""
    with Client(settings=settings) as client:
        found = states(client, settings.prefix, models)
    if as_json:
        print_json([asdict(state) for state in found])
        return
    if not found:
        print_lines([f"no model was ever served or called at {settings.address} under the prefix {settings.prefix}"])
        return
    print_table("models", ("model", "lane", "waiting#", "running#", "oldest#", "workers#", "dead#"), lane_rows(found))
    print_table("live workers", ("model", "worker", "says"), worker_rows(found, time.time()))


def lane_rows(found: Iterable[ModelState]) -> Iterator[Sequence[object]]:
    """Yield a row for each lane; what is the model's, not the lane's, stands in its first one."""
    for state in found:
        whole: tuple[object, object, object] = (state.model, len(state.workers), state.dead)
        for lane in state.lanes:
            model, workers, dead = whole
            oldest = duration(lane.oldest_ms) if lane.waiting or lane.running else ""
            yield (model, lane.lane, lane.waiting, lane.running, oldest, workers, dead)
            whole = ("", "", "")


def worker_rows(found: Iterable[ModelState], now: float) -> Iterator[Sequence[object]]:
    """Yield a row for each live worker of each model, with whatever it says of itself."""
    for state in found:
        for name, told in sorted(state.workers.items()):
            yield (state.model, name, ", ".join(_said(told, now)))


def _said(told: Mapping[str, str], now: float) -> Iterator[str]:
    for name, value in told.items():
        if name == "started" and value.isdigit():
            yield f"up {duration((now - int(value)) * SECOND_MS)}"
        elif name == "bytes" and value.isdigit():
            yield f"{_megabytes(int(value))} of weights"
        elif name == "free_bytes" and value.isdigit():
            yield f"{_megabytes(int(value))} free"
        else:
            yield f"{name} {value}"


def _megabytes(count: int) -> str:
    """Return a number of bytes as people say it; small weights are not none."""
    megabytes = count / MEGABYTE
    return f"{megabytes:,.0f} MB" if megabytes >= TENTHS_BELOW_MB else f"{megabytes:.1f} MB"


def show_jobs(settings: RedisSettings, model: str, lane: Lane, count: int, *, as_json: bool) -> None:
    """Print the first jobs of a lane."""
    with Client(settings=settings) as client:
        jobs = client.ask(peek(settings.prefix, model, lane, count))
    if as_json:
        print_json(jobs)
        return
    columns = ("entry", "id", "op", "age#", "held by", "deliveries#", "bytes#", "payload")
    print_table(f"{model}, {lane}: the first {len(jobs)}", columns, map(_job_row, jobs))


def _job_row(job: Mapping[str, Any]) -> Sequence[object]:
    payload = job["payload"] if isinstance(job["payload"], str) else to_json(job["payload"])
    return (
        job["entry"],
        job.get("id", ""),
        job.get("op", ""),
        duration(job["age_ms"]),
        "(waiting)" if (job["held_by"] or NOBODY).startswith(NOBODY) else job["held_by"],
        job["deliveries"],
        job["payload_bytes"],
        shortened(payload, PAYLOAD_SHOWN),
    )
