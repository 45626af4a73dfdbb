"""The front door: its echo against a bare FastAPI's, in turns; and how late its event loop is under heavy uploads.

Exits with 1 if the median ratio or the lateness misses its bound.
"""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import bare_echo, ratios, watched_gateway
from bench.http_caller import HttpCaller
from producers.embedded import EmbeddedServer
from producers.load import measure
from producers.signals import ended_in_order
from producers.tables import print_table, progress
from producers.worker_process import WorkerProcess
from rpc import Client, RedisSettings

ROOT = Path(__file__).resolve().parent.parent
BODY = json.dumps({"model": "echo", "op": "echo", "inputs": ["x" * 200]}).encode()
IN_FLIGHT = 64
ROUNDS, SECONDS = 7, 2.0
STOP_S = 10.0

HOUR = bytes(3600 * 16_000 * 2)
"""An hour of 16 kHz, 16 bits: 115.2 MB."""
UPLOADS, UPLOADERS, BULK_IN_FLIGHT = 12, 2, 16
IDLE_S = 10.0
MOST_LATE_MS = 50.0


def main() -> int:
    """Run the benchmark and return its exit status."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        directory = Path(name)
        with ended_in_order(), EmbeddedServer(directory / "valkey") as server:
            settings = RedisSettings.from_env({}, url=server.url)
            environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}", "PENSTOCK_LOG_LEVEL": "warning"}
            models = ["echo", "listening_model:Listening"]
            worker = WorkerProcess(models, settings, directory / "worker.log", environment)
            try:
                with Client(settings=settings) as client:
                    worker.wait_until_ready(client, "echo")
                    worker.wait_until_ready(client, "whisper")
                with _http(bare_echo.__file__, server.url) as bare, _http(watched_gateway.__file__, server.url) as ours:
                    rate = asyncio.run(_compare(bare, ours))
                    lags = asyncio.run(_lateness(ours))
            finally:
                worker.close()
    title = f"gateway: 200 B echoed, {IN_FLIGHT} in flight; {ROUNDS} rounds of {SECONDS:g} s each"
    missed = ratios.conclude(title, ("bare FastAPI", "gateway"), [rate])
    return max(missed, _conclude(lags))


@contextmanager
def _http(script: str, redis_url: str) -> Iterator[str]:
    """Run a script that serves HTTP, and yield where."""
    environment = {**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        if process.stderr is None:
            raise RuntimeError("no standard error")
        for line in process.stderr:
            if found := re.search(r"running on (http://[\d.]+:\d+)", line):
                yield found[1]
                return
        raise RuntimeError(f"{script} did not start")
    finally:
        process.terminate()
        process.wait(STOP_S)
        if process.stderr is not None:
            process.stderr.close()


async def _compare(bare: str, ours: str) -> ratios.Ratio:
    rate = ratios.Ratio("calls/s", at_least=0.4)
    callers = (HttpCaller(bare), HttpCaller(ours))
    json_type = "content-type: application/json\r\n"
    requests = (
        callers[0].request("POST", "/echo", BODY, json_type),
        callers[1].request("POST", "/v1/jobs", BODY, f"{json_type}prefer: wait\r\n"),
    )
    calls = [partial(caller.call, request) for caller, request in zip(callers, requests, strict=True)]
    with progress() as bar:
        for turn in bar.track(range(ROUNDS), description="rounds"):
            order = (0, 1) if turn % 2 else (1, 0)
            found = {at: await measure(calls[at], IN_FLIGHT, seconds=SECONDS) for at in order}
            rate.add(found[0].per_second, found[1].per_second)
    for caller in callers:
        await caller.close()
    return rate


async def _lateness(url: str) -> list[tuple[str, dict[str, float]]]:
    """Return how late the loop was, idle, and under each kind of upload with a bulk load beside it."""
    caller = HttpCaller(url)
    ask = caller.request("GET", "/lag", b"")
    await caller.call(ask)
    await asyncio.sleep(IDLE_S)
    found = [("idle", json.loads(await caller.call(ask)))]
    for name, request in _uploads(caller):
        loading = asyncio.create_task(_load(caller))
        await _upload_all(caller, request)
        found.append((f"{UPLOADS} x 1 h, {name}, and a bulk load", json.loads(await caller.call(ask))))
        loading.cancel()
        await asyncio.wait([loading])
        await caller.call(ask)
    await caller.close()
    return found


def _uploads(caller: HttpCaller) -> Iterator[tuple[str, bytes]]:
    mark = "mark-of-the-parts"
    fields = f'--{mark}\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    file = f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = (fields + file).encode() + HOUR + f"\r\n--{mark}--\r\n".encode()
    kind = f"content-type: multipart/form-data; boundary={mark}\r\n"
    yield "as a form", caller.request("POST", "/v1/audio/transcriptions", body, kind)
    body = b'{"language": "en", "audio_base64": "' + base64.b64encode(HOUR) + b'"}'
    yield "in base64", caller.request("POST", "/asr/transcribe", body, "content-type: application/json\r\n")
    body = b'{"model": "whisper", "op": "transcribe", "inputs": [{"base64": "' + base64.b64encode(HOUR) + b'"}]}'
    yield "as a job", caller.request("POST", "/v1/jobs", body, "content-type: application/json\r\nprefer: wait\r\n")


async def _upload_all(caller: HttpCaller, request: bytes) -> None:
    left = iter(range(UPLOADS))

    async def uploader() -> None:
        for _ in left:
            await caller.call(request)

    await asyncio.gather(*(uploader() for _ in range(UPLOADERS)))


async def _load(caller: HttpCaller) -> None:
    body = json.dumps({"model": "echo", "op": "echo", "inputs": ["x" * 200] * 64, "lane": "bulk"}).encode()
    request = caller.request("POST", "/v1/jobs", body, "prefer: wait\r\n")

    async def bulk() -> None:
        while True:
            await caller.call(request)

    await asyncio.gather(*(bulk() for _ in range(BULK_IN_FLIGHT)))


def _conclude(found: Sequence[tuple[str, dict[str, float]]]) -> int:
    """Print the table; return 0 if no kind of upload made the loop late by more than its bound over idle, else 1."""
    idle = found[0][1]["p999_ms"]
    held = [lag["p999_ms"] <= idle + MOST_LATE_MS for _, lag in found]
    rows = [
        (name, *(f"{lag[figure]:.1f}" for figure in ("p50_ms", "p999_ms", "worst_ms")), "held" if well else "MISSED")
        for (name, lag), well in zip(found, held, strict=True)
    ]
    columns = ("load", "p50 ms#", "p99.9 ms#", "worst ms#", f"idle + {MOST_LATE_MS:g} ms")
    print_table("how late the gateway's event loop is", columns, rows)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
