"""`penstock gateway` as its users start it, in front of a worker with the four families and echo, on stand-ins."""

import asyncio
import contextlib
import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import numpy as np
import psutil
import pytest
import schemathesis
from openai import OpenAI
from PIL import Image
from schemathesis.checks import not_a_server_error

from inference_worker.standins.whisper import WORDS, tone_speech, wav
from inference_worker.standins.yunet import squares_picture
from producers.gateway.directory import passes_of
from rpc import Client, RedisSettings
from rpc.inspection import model_state
from tests.conftest import ON_VALKEY, settings_for
from tests.gateways import GatewayProcess
from tests.servers import Server
from tests.waiting import LOAD_S, LONG_S, eventually
from tests.workers import WorkerProcess, environment

pytestmark = [pytest.mark.server, pytest.mark.process, ON_VALKEY]

ECHO = {"model": "echo", "op": "echo", "inputs": ["hello"]}
WAIT = {"prefer": "wait"}


@pytest.fixture(scope="module")
def settings(server: Server) -> RedisSettings:
    """Return where this module's worker is."""
    return settings_for(server)


@pytest.fixture(scope="module")
def worker(settings: RedisSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """Yield a worker with everything the gateway has a route for."""
    environ = {"PENSTOCK_STANDINS": "1", "PENSTOCK_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    with WorkerProcess(("whisper", "siglip", "bge-m3", "yunet", "echo"), settings, environ) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    settings: RedisSettings, worker: WorkerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Yield a gateway in front of it."""
    assert worker.running
    with GatewayProcess(settings, tmp_path_factory.mktemp("gateway")) as running:
        eventually(lambda: httpx2.get(f"{running.url}/health").status_code == 200, within_s=LOAD_S)
        yield running
        assert running.process.poll() is None, running.log


@pytest.fixture
def http(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    """Yield an HTTP client of it."""
    with httpx2.Client(base_url=gateway.url, timeout=LONG_S) as client:
        yield client


def jpeg() -> bytes:
    """Return a picture with one face, as the stand-in sees it."""
    file = io.BytesIO()
    Image.fromarray(squares_picture((160, 120), [(40, 30, 32)])).save(file, "JPEG")
    return file.getvalue()


ORIGIN = r"""
curl http://localhost:8001/health

curl -X POST http://localhost:8001/embed/text \
  -H "Content-Type: application/json" \
  -d '{"text": "search query", "model": "siglip"}'

IMAGE_B64=$(base64 -w 0 image.jpg)

curl -X POST http://localhost:8001/embed/vision \
  -H "Content-Type: application/json" \
  -d "{\"image_base64\": \"$IMAGE_B64\"}"

AUDIO_B64=$(base64 -w 0 audio.wav)

curl -X POST http://localhost:8001/asr/transcribe \
  -H "Content-Type: application/json" \
  -d "{\"audio_base64\": \"$AUDIO_B64\", \"language\": \"en\"}"

curl -X POST http://localhost:8001/face/detect \
  -F "file=@image.jpg"

curl http://localhost:8001/metrics
"""
"""The lines of the origin's document, as they stand there."""


def test_the_origins_lines_work_as_they_are(gateway: GatewayProcess, tmp_path: Path) -> None:
    """All of them, but for the port, of which a machine has one."""
    (tmp_path / "image.jpg").write_bytes(jpeg())
    (tmp_path / "audio.wav").write_bytes(wav(tone_speech(["two", "five"])))
    lines = ORIGIN.replace("http://localhost:8001", gateway.url).replace(
        "\ncurl ", "\necho; curl -sS --fail-with-body "
    )
    ended = subprocess.run(
        ["/bin/bash", "-euc", lines],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=True,
    )
    told = ended.stdout.strip().splitlines()

    assert re.fullmatch(r'\{"status":"healthy","models_loaded":\[.*\],"device":"cpu",.*\}', told[0])
    assert all(re.match(r'\{"embedding":\[.*\],"dimension":\d+,', line) for line in told[1:3])
    assert told[3].startswith('{"text":" two five","segments":[{"id":0,')
    assert re.match(r'\{"faces":\[\{"bbox":\[.*"count":1,"latency_ms":', told[4])
    assert 'model_service_requests_total{model="yunet",status="success"}' in ended.stdout


def test_segments_stream_while_windows_are_still_heard(gateway: GatewayProcess) -> None:
    """Of a recording of several windows; together they are the text that is told at the end."""
    said = [WORDS[index] for index in np.random.default_rng(5).integers(0, len(WORDS), 400)]
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", timeout=LOAD_S) as client:
        stream = client.audio.transcriptions.create(
            model="whisper", file=("talk.wav", wav(tone_speech(said))), language="en", stream=True
        )
        events: list[Any] = list(stream)

    deltas = [event.delta for event in events[:-1]]
    assert (len(deltas) > 1, events[-1].type) == (True, "transcript.text.done")
    assert "".join(deltas).split() == events[-1].text.split() == said


def test_two_hundred_slow_callers_do_not_stop_others(gateway: GatewayProcess) -> None:
    """Each has sent half a request and says no more, and another is answered all the same, again and again."""

    async def crowd() -> list[int]:
        port = int(gateway.url.rpartition(":")[2])
        links = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for _, writer in links:
            writer.write(b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            await writer.drain()
        async with httpx2.AsyncClient(base_url=gateway.url, timeout=LONG_S) as client:
            answers = [await client.post("/v1/jobs", json=ECHO, headers=WAIT) for _ in range(50)]
        for _, writer in links:
            writer.close()
        return [answer.status_code for answer in answers]

    assert asyncio.run(crowd()) == [200] * 50


def test_a_worker_tells_of_its_passes(settings: RedisSettings, http: httpx2.Client) -> None:
    """So that the gateway sees that work gets done while no job ends."""
    assert http.post("/v1/jobs", json=ECHO, headers=WAIT).status_code == 200

    with Client(settings=settings) as client:

        def passes() -> list[int]:
            return [passes_of(about) for about in client.ask(model_state(settings.prefix, "echo")).workers.values()]

        eventually(lambda: min(passes()) > 0, what="the worker has announced itself again")


UNHEALTHY = list(hypothesis.HealthCheck)

EXAMPLES = 40
"""Requests of each kind for each operation."""


def test_nothing_its_own_description_allows_is_the_gateways_fault(gateway: GatewayProcess) -> None:
    """No answer of any operation has a status of 500 or above, whether the request fits the schema or just not."""
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    seen = {}
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        seen[operation.path] = sum(_tried(operation, mode) for mode in schemathesis.GenerationMode)

    assert {"/v1/embeddings", "/v1/jobs", "/asr/transcribe", "/v1/audio/transcriptions"} <= seen.keys()
    assert sum(seen.values()) > EXAMPLES * len(seen) / 2


def _tried(operation: Any, mode: schemathesis.GenerationMode) -> int:
    """Send requests that fit an operation, or just not; return how many."""
    tried = 0

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=UNHEALTHY)
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal tried
        tried += 1
        case.call_and_validate(checks=[not_a_server_error])

    # of an operation without parameters no request is wrong
    with contextlib.suppress(hypothesis.errors.Unsatisfiable):
        ask()
    return tried


def test_told_to_stop_it_answers_first(settings: RedisSettings, worker: WorkerProcess, tmp_path: Path) -> None:
    """What is under way when SIGTERM comes is answered; the exit status is 0."""
    assert worker.running
    talk = wav(tone_speech([WORDS[number % 8] for number in range(300)]))
    with GatewayProcess(settings, tmp_path) as running, httpx2.Client(base_url=running.url, timeout=LOAD_S) as client:
        eventually(lambda: client.get("/health").status_code == 200)
        job = {"model": "whisper", "stream": "true"}
        with client.stream("POST", "/v1/audio/transcriptions", data=job, files={"file": ("a.wav", talk)}) as stream:
            lines = stream.iter_lines()
            first = next(lines)
            running.process.terminate()
            rest = list(lines)

        assert first.startswith("data: ")
        assert any("transcript.text.done" in line for line in rest)
        assert running.process.wait(LONG_S) == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PENSTOCK_STALLED_S", "soon", "PENSTOCK_STALLED_S='soon'"),
        ("PENSTOCK_API_KEYS", "short", "PENSTOCK_API_KEYS: a key has at least 8 characters"),
        ("PENSTOCK_API_KEYS_FILE", "/nowhere", "PENSTOCK_API_KEYS_FILE='/nowhere'"),
        ("PENSTOCK_MODEL_ALIASES", "a=b c", "PENSTOCK_MODEL_ALIASES='a=b c': 'c' is no alias=model"),
        ("PENSTOCK_BODY_TIMEOUT_S", "0", "PENSTOCK_BODY_TIMEOUT_S='0'"),
        ("REDIS_URL", "http://x", "REDIS_URL"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value(
    settings: RedisSettings, tmp_path: Path, name: str, value: str, said: str
) -> None:
    """Before it listens; a key is not shown."""
    with GatewayProcess(settings, tmp_path, {name: value}) as running:
        assert running.process.wait(LONG_S) == 2
        assert said in running.log
        assert ("short" in running.log) is False


def test_the_gateway_loads_no_models(gateway: GatewayProcess) -> None:
    """Nothing of PyTorch or of the worker is in its memory."""
    mapped = {Path(found.path).name for found in psutil.Process(gateway.process.pid).memory_maps()}

    assert [name for name in mapped if "torch" in name or "ctranslate2" in name] == []


ELSEWHERE = [
    "http://169.254.169.254/latest/meta-data/",
    "http://nowhere.example/a.png",
    "file:///etc/passwd",
    "file:../../etc/passwd",
    "s3://bucket/a.png",
    "https://user:secret@127.0.0.1/a.png",
]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_what_no_setting_allows_is_never_opened(http: httpx2.Client, url: str) -> None:
    """Neither by the gateway nor by its worker; the caller is told with 422, and no secret of the URL."""
    jobs = http.post("/v1/jobs", json={"model": "siglip", "op": "embed_image", "inputs": [{"ref": url}]}, headers=WAIT)
    pictures = http.post("/v1/embeddings", json={"model": "siglip", "modality": "image", "input": url})

    for told in (jobs, pictures):
        assert (told.status_code, told.json()["error"]["code"]) == (422, "invalid_input")
        assert "secret" not in told.text


def test_a_picture_of_hazards_is_the_callers_fault(http: httpx2.Client) -> None:
    """What cannot be read is named, by every route that takes files."""
    junk = jpeg()[:100]
    told = [
        http.post("/face/detect", files={"file": ("a.jpg", junk)}),
        http.post("/v1/audio/transcriptions", files={"file": ("a.wav", junk)}, data={"model": "whisper-1"}),
    ]

    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in told] == [(422, "invalid_input")] * 2
