"""Scaled to zero: requests for models without workers are queued, and answered once a worker is started for them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from redis import Redis

from rpc import RedisSettings
from rpc.keys import Keys
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import DIMENSION, Families
from tests.gateways import GatewayThread
from tests.server.test_gateway_http import ECHO, WAIT, problem
from tests.waiting import LONG_S, eventually

pytestmark = [pytest.mark.server, ON_VALKEY]

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/embeddings", {"json": {"model": "bge-m3", "input": "text"}}),
    ("/embed/text", {"json": {"text": "text", "model": "bge-m3"}}),
    ("/v1/audio/transcriptions", {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", b"good day")}}),
    ("/asr/transcribe", {"json": {"audio_base64": "Z29vZCBkYXk="}}),
    ("/v1/jobs", {"json": ECHO, "headers": WAIT}),
]

MODELS = ["bge-m3", "whisper", "echo"]


@pytest.mark.parametrize("given", ["*", "true", "bge-m3 whisper,echo"])
def test_requests_wait_for_the_worker_that_is_started_for_them(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis", given: str
) -> None:
    """On every route; named models need never have been served. The gateway stays healthy, and lists them."""
    if given in {"*", "true"}:
        raw.sadd(f"{redis_settings.prefix}:models", *MODELS)
    with (
        GatewayThread(redis_settings, scale_from_zero=given, stalled_s=0.1) as running,
        httpx2.Client(base_url=running.url, timeout=LONG_S) as http,
        ThreadPoolExecutor(len(CALLS)) as threads,
    ):
        keys = [Keys(redis_settings.prefix, model) for model in MODELS]
        asked = [threads.submit(http.post, path, **call) for path, call in CALLS]
        eventually(lambda: sum(raw.xlen(each.stream("interactive")) for each in keys) == 5, what="all jobs are queued")
        idle, listed = http.get("/health"), http.get("/v1/models").json()["data"]
        one = http.get("/v1/models/echo")
        with Families(make_consumer, models=MODELS):
            answers = [each.result(LONG_S) for each in asked]

    assert (idle.status_code, idle.json()["status"]) == (200, "idle")
    assert [(each["id"], each["workers"]) for each in listed] == [(name, 0) for name in sorted(MODELS)]
    assert (one.status_code, one.json()["workers"]) == (200, 0)
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len(answers[1].json()["embedding"]) == DIMENSION


def test_other_models_are_refused_as_before(
    redis_settings: RedisSettings, make_consumer: MakeConsumer, raw: "Redis"
) -> None:
    """Those that are not named, those that were never served, and all without the setting."""
    with Families(make_consumer, models=["echo"]):
        raw.delete(Keys(redis_settings.prefix, "echo").workers)
        seen = {}
        for given in ("bge-m3", "*", ""):
            with GatewayThread(redis_settings, scale_from_zero=given) as running:
                for model in ("echo", "never"):
                    body, limit = {**ECHO, "model": model}, {"x-penstock-timeout": "0.1"}
                    answer = httpx2.post(f"{running.url}/v1/jobs", json=body, headers={**WAIT, **limit})
                    seen[given, model] = problem(answer) if answer.is_error else (200, "")

    assert seen.pop(("*", "echo"))[0] in {200, 504}
    assert set(seen.items()) == {
        (("bge-m3", "echo"), (503, "no_worker")),
        (("bge-m3", "never"), (404, "model_not_found")),
        (("*", "never"), (404, "model_not_found")),
        (("", "echo"), (503, "no_worker")),
        (("", "never"), (404, "model_not_found")),
    }
