"""The origin's client over the queue: its methods, arguments, return types and keys."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from rpc import AsyncModelServiceClient, InvalidInput, ModelServiceClient, RedisSettings, Timeout, Unavailable
from rpc import model_service as origin
from tests.answering import show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import STARTED, Families, text_vector, vector_of
from tests.waiting import LONG_S
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, ON_VALKEY]

OLD_URL = "http://localhost:8001"
"""What MODEL_SERVICE_URL used to say."""


class Awaited:
    """The asynchronous twin behind a blocking face: each method runs a loop from open to close."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._made = args, kwargs

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: each call has closed its client."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method."""

        async def run(*args: Any, **kwargs: Any) -> Any:
            async with AsyncModelServiceClient(*self._made[0], **self._made[1]) as client:
                return await getattr(client, name)(*args, **kwargs)

        return lambda *args, **kwargs: asyncio.run(run(*args, **kwargs))


@pytest.fixture(params=[ModelServiceClient, Awaited], ids=["blocking", "asyncio"])
def kind(
    request: pytest.FixtureRequest, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return the class, once blocking and once not, in an environment that says where Redis is."""
    monkeypatch.setenv("REDIS_URL", redis_settings.url.get_secret_value())
    monkeypatch.setenv("PENSTOCK_PREFIX", redis_settings.prefix)
    kind: Callable[..., Any] = request.param
    return kind


@pytest.fixture
def families(make_consumer: MakeConsumer) -> Iterator[Families]:
    """Yield live workers of the four families."""
    with Families(make_consumer) as played:
        yield played


@pytest.fixture
def frame() -> Image.Image:
    """Return a frame with one bright rectangle."""
    pixels = np.zeros((600, 800, 3), np.uint8)
    pixels[100:300, 200:300] = 255
    return Image.fromarray(pixels)


def test_a_text_has_a_vector(kind: Callable[..., Any], families: Families) -> None:
    """Of either model, float32 and of unit norm."""
    with kind() as client:
        siglip, bge = client.generate_text_embedding("a"), client.generate_text_embedding("b", model="bge-m3")

    assert (siglip.dtype, siglip.tolist()) == (np.float32, text_vector("a").tolist())
    assert bge.tolist() == text_vector("b").tolist()
    assert [job.model for job, _ in families.jobs] == ["siglip", "bge-m3"]


def test_a_frame_has_a_vector(kind: Callable[..., Any], families: Families, frame: Image.Image) -> None:
    """A PIL image goes in, float32 comes out, and what travels is no larger than what SigLIP sees."""
    with kind() as client:
        vector = client.generate_vision_embedding(frame)

    assert (vector.dtype, vector.tolist()) == (np.float32, vector_of(np.asarray(frame), normalize=True).tolist())
    assert families.inputs[0].nbytes == 384 * 384 * 3


def test_a_transcript_has_the_keys_its_callers_read(
    kind: Callable[..., Any], families: Families, tmp_path: Path
) -> None:
    """Text, segments with openai-whisper's fields, language and latency, all of them plain."""
    path = tmp_path / "speech.wav"
    path.write_bytes(b"one two")

    with kind() as client:
        told, korean = client.transcribe_audio(str(path)), client.transcribe_audio(str(path), language="ko")

    (segment,) = told["segments"]
    assert (set(told), told["text"], told["language"]) == (
        {"text", "segments", "language", "latency_ms"},
        " one two",
        "en",
    )
    assert set(segment) == {
        "id",
        "seek",
        "start",
        "end",
        "text",
        "tokens",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
    }
    assert (type(told["latency_ms"]), told["latency_ms"] > 0, korean["language"]) == (float, True, "ko")
    assert [job.ttl_ms for job, _ in families.jobs] == [3_600_000] * 2


def test_faces_are_plain_maps(kind: Callable[..., Any], families: Families, frame: Image.Image, tmp_path: Path) -> None:
    """Boxes and landmarks are lists of numbers, as they came from JSON before."""
    frame.save(tmp_path / "frame.png")

    with kind() as client:
        faces = client.detect_faces(str(tmp_path / "frame.png"))

    assert faces == [{"bbox": [200, 100, 100, 200], "confidence": 0.9, "landmarks": [[250, 200]] * 5}]
    assert len(families.jobs) == 1


def test_health_is_told_by_live_workers(kind: Callable[..., Any], families: Families) -> None:
    """The old keys, from what the workers announce; a model that nobody serves any more is not among them."""
    del families
    with kind() as client:
        told = client.health_check()

    assert sorted(told["models_loaded"]) == ["bge-m3", "siglip", "whisper", "yunet"]
    assert (told["status"], told["device"], told["memory_used_gb"]) == ("healthy", "cpu", 4.0)
    assert 0 <= time.time() - STARTED - told["uptime_seconds"] < LONG_S


def test_without_a_worker_nothing_is_healthy(kind: Callable[..., Any], make_consumer: MakeConsumer) -> None:
    """A queue that nobody serves is no service: it raises, as the old client did when nobody answered."""
    consumer = make_consumer(model="siglip")
    consumer.announce({"device": "cpu"})
    show_life(consumer)
    consumer.leave()

    with kind() as client, pytest.raises(Unavailable, match="no worker is alive"):
        client.health_check()


def test_an_http_url_is_passed_over_aloud(
    kind: Callable[..., Any], families: Families, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says where jobs go instead, and no password."""
    del families
    with kind("https://user:secret@models.example:8001/v1") as client:
        client.health_check()

    (line,) = {record.getMessage() for record in caplog.records if "ModelServiceClient" in record.getMessage()}
    assert "models.example:8001" in line
    assert "secret" not in line


@pytest.mark.parametrize("given", [(), (None,), (OLD_URL,)], ids=["nothing", "None", "the old URL"])
def test_redis_is_found_by_the_environment(given: Any, kind: Callable[..., Any], families: Families) -> None:
    """Callers that still pass the old service's URL are served by REDIS_URL."""
    with kind(*given, timeout=7.0) as client:
        client.generate_text_embedding("a")

    assert families.jobs[0][0].ttl_ms == 7_000


def test_a_redis_url_goes_before_the_environment(
    kind: Callable[..., Any], families: Families, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`base_url` may say where Redis is."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")

    with kind(redis_settings.url.get_secret_value()) as client:
        client.generate_text_embedding("a")

    assert len(families.jobs) == 1


def test_a_url_of_neither_kind_is_told(kind: Callable[..., Any]) -> None:
    """A host and port, say, is refused by name and not guessed at."""
    with pytest.raises(ValueError, match="redis://"):
        kind("localhost:8001").health_check()


def test_errors_say_whose_fault_they_are(kind: Callable[..., Any], families: Families, tmp_path: Path) -> None:
    """Where the old service said 500 to everything, a bad input and a slow model are told apart."""
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")

    with kind(timeout=0.05) as client, pytest.raises(Timeout):
        client.generate_text_embedding("a", model="nobody-serves-this")
    with kind() as client:
        with pytest.raises(InvalidInput):
            client.detect_faces(str(path))
        with pytest.raises(FileNotFoundError):
            client.transcribe_audio(str(tmp_path / "never.wav"))
    assert len(families.jobs) == 1


@pytest.fixture
def _blocking_only(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", redis_settings.url.get_secret_value())
    monkeypatch.setenv("PENSTOCK_PREFIX", redis_settings.prefix)
    yield
    # the process would keep them, and look for a server that is gone while other tests run
    while origin._CLIENTS:
        origin._CLIENTS.popitem()[1].close()


@pytest.mark.usefixtures("_blocking_only")
def test_the_old_functions_return_vectors(families: Families, frame: Image.Image) -> None:
    """They are called as before."""
    vectors = [
        origin.generate_text_embedding("a"),
        origin.generate_text_embedding("b", model_name="bge-m3"),
        origin.generate_vision_embedding(frame),
    ]

    expected = [text_vector("a"), text_vector("b"), vector_of(np.asarray(frame), normalize=True)]
    assert [vector.tolist() for vector in vectors if vector is not None] == [vector.tolist() for vector in expected]
    assert len(families.jobs) == 3


@pytest.mark.usefixtures("_blocking_only")
def test_the_old_functions_return_none_on_failure(
    families: Families, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong is logged, once each, and nothing is remembered of it."""
    with caplog.at_level(logging.WARNING):
        refused = origin.generate_text_embedding("bad"), origin.generate_vision_embedding(b"no picture")
        monkeypatch.setenv("REDIS_URL", "nonsense")
        unset = origin.generate_text_embedding("a")
    monkeypatch.undo()

    assert (refused, unset) == ((None, None), None)
    assert [record.levelname for record in caplog.records if record.name == "rpc.model_service"] == ["WARNING"] * 3
    assert len(families.jobs) == 2


@pytest.mark.usefixtures("_blocking_only")
def test_the_old_functions_share_one_client(families: Families, raw: "Redis") -> None:
    """However many threads call them, first and later, they hold two connections."""
    together = threading.Barrier(8)

    def call(number: int) -> Any:
        together.wait(LONG_S)
        return origin.generate_text_embedding(str(number))

    before = len(raw.client_list())
    with ThreadPoolExecutor(8) as threads:
        vectors = [vector.tolist() for vector in threads.map(call, range(8))]

    assert vectors == [text_vector(str(number)).tolist() for number in range(8)]
    assert len(raw.client_list()) - before == 2
    assert len(families.jobs) == 8


FORKS = """
import os
from rpc.model_service import generate_text_embedding

first = generate_text_embedding("a")
child = os.fork()
second = generate_text_embedding("a")
assert first is not None and second is not None and first.tolist() == second.tolist()
if child == 0:
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
"""


def test_the_old_functions_work_after_a_fork(redis_settings: RedisSettings, families: Families) -> None:
    """A web server that has called them before it forks serves from parent and child."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=ROOT,
        env=environment(redis_settings),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(families.jobs) == 3
