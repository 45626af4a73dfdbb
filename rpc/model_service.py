"""The client of the service this replaces, with its methods, arguments, return types and keys: change the import only.

What it does differently: vectors have unit norm, texts are padded as SigLIP was trained, a failed call raises one of
`rpc.errors` instead of an HTTP error, and it reads REDIS_URL where the old one read MODEL_SERVICE_URL.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from rpc.aio import AsyncClient
from rpc.client import Client
from rpc.errors import Unavailable
from rpc.inspection import ModelState, known_models, model_state
from rpc.plans import TRANSCRIBE_TIMEOUT_S
from rpc.results import Face, Transcript, Vector
from rpc.settings import RedisSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0

GIGABYTE = 1024**3

MILLISECONDS = 1000


def settings_of(base_url: str | None) -> RedisSettings:
    """Return where Redis is: what `base_url` says if it is no HTTP URL of the old service, else REDIS_URL.

    An HTTP URL is passed over, and the log says so: the old service's callers name one.
    """
    old = base_url is not None and base_url.startswith(("http://", "https://"))
    settings = RedisSettings.from_env(url=None if old else base_url)
    if base_url is not None and old:
        host = base_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        text = "ModelServiceClient sends jobs to Redis at %s (REDIS_URL) and no requests to the HTTP server %s"
        log.warning(text, settings.address, host)
    return settings


def health(states: Iterable[ModelState], now: float) -> dict[str, Any]:
    """Return what the old service told of its health, from what live workers tell; raise `Unavailable` without any."""
    served = [state for state in states if state.workers]
    told = [about for state in served for about in state.workers.values()]
    if not told:
        raise Unavailable("no worker is alive")
    devices = sorted({about.get("device", "cpu").partition(":")[0] for about in told})
    return {
        "status": "healthy",
        "models_loaded": [state.model for state in served],
        "device": "cuda" if "cuda" in devices else devices[0],
        "memory_used_gb": sum(int(about.get("bytes", 0)) for about in told) / GIGABYTE,
        "uptime_seconds": max(now - float(about.get("started", now)) for about in told),
    }


def _transcribed(transcript: Transcript, started: float) -> dict[str, Any]:
    told = transcript.as_dict()
    latency_ms = (time.monotonic() - started) * MILLISECONDS
    return {**{name: told[name] for name in ("text", "segments", "language")}, "latency_ms": latency_ms}


def plain_faces(faces: Iterable[Face]) -> list[dict[str, Any]]:
    """Return faces as the maps the old service told."""
    return [
        {"bbox": list(face.bbox), "confidence": face.confidence, "landmarks": [list(point) for point in face.landmarks]}
        for face in faces
    ]


class ModelServiceClient:
    """The origin's class, over the queue. Safe to share between threads."""

    def __init__(self, base_url: str | None = None, timeout: float = TIMEOUT_S) -> None:
        self._settings = settings_of(base_url)
        self._client = Client(settings=self._settings)
        self.timeout = timeout

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def health_check(self) -> dict[str, Any]:
        """Return status, models_loaded, device, memory_used_gb and uptime_seconds; raise `Unavailable` if none is."""
        names = self._client.ask(known_models(self._settings.prefix))
        states = [self._client.ask(model_state(self._settings.prefix, name)) for name in names]
        return health(states, time.time())

    def transcribe_audio(self, audio_path: str, language: str | None = None) -> dict[str, Any]:
        """Return text, segments, language and latency_ms of a recording. Waits an hour, or `timeout` if longer."""
        started = time.monotonic()
        timeout_s = max(self.timeout, TRANSCRIBE_TIMEOUT_S)
        return _transcribed(self._client.transcribe(audio_path, language, timeout_s=timeout_s), started)

    def generate_text_embedding(self, text: str, model: str = "siglip") -> Vector:
        """Return the vector of a text, float32 (n,)."""
        return self._client.embed_text(text, model=model, timeout_s=self.timeout)

    def generate_vision_embedding(self, image: Any) -> Vector:
        """Return the vector of a PIL image, float32 (n,)."""
        return self._client.embed_image(image, timeout_s=self.timeout)

    def detect_faces(self, image_path: str) -> list[dict[str, Any]]:
        """Return the faces in a picture, each with bbox [x, y, w, h], confidence and five landmarks [x, y]."""
        return plain_faces(self._client.detect_faces(image_path, timeout_s=self.timeout))


class AsyncModelServiceClient:
    """The same, awaited."""

    def __init__(self, base_url: str | None = None, timeout: float = TIMEOUT_S) -> None:
        self._settings = settings_of(base_url)
        self._client = AsyncClient(settings=self._settings)
        self.timeout = timeout

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def health_check(self) -> dict[str, Any]:
        """Return status, models_loaded, device, memory_used_gb and uptime_seconds; raise `Unavailable` if none is."""
        names = await self._client.ask(known_models(self._settings.prefix))
        asked = (self._client.ask(model_state(self._settings.prefix, name)) for name in names)
        return health(await asyncio.gather(*asked), time.time())

    async def transcribe_audio(self, audio_path: str, language: str | None = None) -> dict[str, Any]:
        """Return text, segments, language and latency_ms of a recording. Waits an hour, or `timeout` if longer."""
        started = time.monotonic()
        timeout_s = max(self.timeout, TRANSCRIBE_TIMEOUT_S)
        return _transcribed(await self._client.transcribe(audio_path, language, timeout_s=timeout_s), started)

    async def generate_text_embedding(self, text: str, model: str = "siglip") -> Vector:
        """Return the vector of a text, float32 (n,)."""
        return await self._client.embed_text(text, model=model, timeout_s=self.timeout)

    async def generate_vision_embedding(self, image: Any) -> Vector:
        """Return the vector of a PIL image, float32 (n,)."""
        return await self._client.embed_image(image, timeout_s=self.timeout)

    async def detect_faces(self, image_path: str) -> list[dict[str, Any]]:
        """Return the faces in a picture, each with bbox [x, y, w, h], confidence and five landmarks [x, y]."""
        return plain_faces(await self._client.detect_faces(image_path, timeout_s=self.timeout))


_CLIENTS: dict[RedisSettings, ModelServiceClient] = {}


def _shared() -> ModelServiceClient:
    """Return this process's client of the functions below, one for each environment they are called in."""
    settings = settings_of(None)
    # of two made at the same moment only one is kept, and an unused one holds no connection
    return _CLIENTS.get(settings) or _CLIENTS.setdefault(settings, ModelServiceClient())


def generate_text_embedding(text: str, model_name: str = "siglip") -> Vector | None:
    """Return the vector of a text, or None if that failed, which is logged. The oldest form of the call."""
    try:
        return _shared().generate_text_embedding(text, model_name)
    except Exception:
        log.warning("no embedding of a text", exc_info=True)
        return None


def generate_vision_embedding(image: Any) -> Vector | None:
    """Return the vector of a PIL image, or None if that failed, which is logged. The oldest form of the call."""
    try:
        return _shared().generate_vision_embedding(image)
    except Exception:
        log.warning("no embedding of a picture", exc_info=True)
        return None
