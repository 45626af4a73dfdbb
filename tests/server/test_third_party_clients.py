"""Clients of others, as they are and in a process of their own, against the gateway: what their users get."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rpc import RedisSettings
from tests.answering import show_life
from tests.conftest import ON_VALKEY, MakeConsumer
from tests.families import OPS, Families, text_vector
from tests.gateways import GatewayThread
from tests.workers import ROOT, environment

pytestmark = [pytest.mark.server, ON_VALKEY]

RUN_S = 240.0
"""How long a client may take: importing one of them takes up to 6 s of a quiet core."""

JAVASCRIPT = ROOT / "tests" / "clients_js"

QUIET = {
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}
"""What keeps the clients from asking other servers."""

ALIASES = "whisper-1=whisper,text-embedding-3-small=bge-m3"


@pytest.fixture
def address(redis_settings: RedisSettings, played: Families, make_consumer: MakeConsumer) -> Iterator[str]:
    """Yield the URL of a gateway in front of played models, and of a model `silent` that never answers."""
    del played
    silent = make_consumer(model="silent")
    silent.announce({"ops": OPS["bge-m3"], "started": "0"})
    show_life(silent)
    with GatewayThread(redis_settings, model_aliases=ALIASES) as running:
        yield running.url


def run(command: list[str], tmp_path: Path) -> Any:
    """Return what a client prints as its last line of JSON."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment(more=QUIET), "HOME": str(tmp_path)},
        capture_output=True,
        timeout=RUN_S,
        check=False,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def need(present: bool, what: str) -> None:  # noqa: FBT001 (the condition)
    """Skip the test without a client, saying so; fail where all clients have to be there."""
    if not present and os.environ.get("PENSTOCK_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{what} is missing")
    if not present:
        pytest.skip(f"{what} is missing")


def run_python(module: str, package: str, address: str, tmp_path: Path) -> Any:
    """Return the results of a client in Python."""
    need(importlib.util.find_spec(package) is not None, f"the package {package}")
    return run([sys.executable, "-m", f"tests.clients.{module}", address], tmp_path)


def check_vectors(results: dict[str, Any]) -> None:
    """Take the vectors out of results, the awaited ones too, and check that they are the models'."""
    for made in (results, results.get("awaited", results)):
        if "vectors" in made:
            assert np.allclose(made.pop("vectors"), [text_vector("one"), text_vector("two")], atol=1e-6)


OPENAI_ERRORS = {"missing": "NotFoundError", "bad": "UnprocessableEntityError", "late": "APITimeoutError"}
"""Of OpenAI's own package: a model that is not there, a bad text, a time that is up."""

EXPECTED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "openai_calls": (
        "openai",
        {
            "ignored": "user",
            "request id": True,
            "models": ["bge-m3", "echo", "siglip", "silent", "whisper", "yunet"],
            "text": "good day",
            "events": ["transcript.text.delta", "transcript.text.done"],
            "errors": {**OPENAI_ERRORS, "tokens": "BadRequestError"},
        },
    ),
    "litellm_calls": (
        "litellm",
        {
            "providers": dict.fromkeys(("openai", "openai_like", "hosted_vllm", "infinity", "lm_studio"), 2),
            "router": 2,
            "dimensions": 8,
            "models": ["bge-m3", "echo", "siglip", "silent", "whisper", "yunet"],
            "text": "good day",
            "words": ["good day"],
            "subtitles": "1\n00:00:00,000 --> 00:00:01,500\ngood day\n",
            "errors": {"missing": "NotFoundError", "bad": "BadRequestError", "late": "Timeout"},
            "awaited": {"text": "good day", "errors": {"missing": "NotFoundError"}},
        },
    ),
    "llamaindex_calls": (
        "llama_index",
        {
            "own class": True,
            "many": 250,
            "dimensions": 8,
            "errors": OPENAI_ERRORS,
            "awaited": {"query": True, "errors": {"missing": "NotFoundError"}},
        },
    ),
    "haystack_calls": (
        "haystack",
        {
            "query": True,
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
            "dimensions": 8,
            "errors": OPENAI_ERRORS,
            "awaited": {"errors": {"missing": "NotFoundError"}},
        },
    ),
    "pydantic_ai_calls": (
        "pydantic_ai",
        {
            "query": True,
            "tokens": 6,
            "dimensions": 8,
            "errors": {
                "missing": "ModelNotFoundError",
                "bad": "ModelRequestRejectedError",
                "late": "ModelTimeoutError",
            },
        },
    ),
    "langchain_calls": (
        "langchain_openai",
        {
            "query": True,
            "dimensions": 8,
            "errors": OPENAI_ERRORS,
            "awaited": {"errors": {"missing": "NotFoundError"}},
        },
    ),
}
"""Module of a client -> the package it needs, and what its calls come to."""


@pytest.mark.parametrize("module", EXPECTED)
def test_python_client_gets_what_its_users_expect(module: str, address: str, tmp_path: Path) -> None:
    """Vectors, models and transcripts, blocking and awaited; errors of its own kinds."""
    package, expected = EXPECTED[module]
    results = run_python(module, package, address, tmp_path)
    check_vectors(results)

    assert results == expected


def test_javascript_clients_get_what_their_users_expect(address: str, tmp_path: Path) -> None:
    """OpenAI's package, Vercel's AI SDK with both of its providers, LangChain; in one process of Node."""
    node = shutil.which("node")
    need(node is not None, "node")
    need((JAVASCRIPT / "node_modules").is_dir(), "node_modules (npm ci --prefix tests/clients_js)")
    assert node is not None
    results = run([node, str(JAVASCRIPT / "calls.mjs"), address], tmp_path)
    for client in results.values():
        check_vectors(client)

    vercel = {"tokens": 6, "dimensions": 8, "errors": {"missing": "AI_APICallError", "bad": "AI_APICallError"}}
    late = {name: client["errors"].pop("late") for name, client in results.items()}
    spoken = {name: results["vercel"].pop(name) for name in ("text", "seconds", "segments", "language")}
    assert late == {
        "openai": "APIConnectionTimeoutError",
        "vercel": "TimeoutError",
        "compatible": "TimeoutError",
        "langchain": "TimeoutError",
    }
    assert spoken == {"text": "good day", "language": "en", "seconds": 1.5, "segments": ["good day"]}
    assert (results["vercel"], results["compatible"]) == (vercel, vercel)
    assert results["langchain"] == {
        "query": True,
        "dimensions": 8,
        "errors": {"missing": "NotFoundError", "bad": "UnprocessableEntityError"},
    }
    assert results["openai"] == {
        "dimensions": 8,
        "models": ["bge-m3", "echo", "siglip", "silent", "whisper", "yunet"],
        "text": "good day",
        "words": ["good day"],
        "subtitles": "1\n00:00:00,000 --> 00:00:01,500\ngood day\n",
        "events": ["transcript.text.delta", "transcript.text.done"],
        "errors": {
            "missing": "NotFoundError",
            "bad": "UnprocessableEntityError",
            "half": "UnprocessableEntityError",
        },
    }
