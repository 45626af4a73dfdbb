"""LiteLLM as its users call it, against the gateway named by the first argument."""

import asyncio
from typing import Any

import litellm

from tests.clients.report import LATE_S, RECORDING, TEXTS, address, awaited_error_of, error_of, write

PROVIDERS = ("openai", "openai_like", "hosted_vllm", "infinity", "lm_studio")
"""The prefixes under which LiteLLM speaks OpenAI's routes to an address of one's own."""


def embed(model: str, **options: Any) -> Any:
    """Return the vectors of the texts."""
    options = {"input": TEXTS, **options}
    response = litellm.embedding(model=model, api_base=address(), api_key="unused", **options)
    return [item["embedding"] for item in response.data]


def transcribe(**options: Any) -> Any:
    """Return a transcription."""
    return litellm.transcription(
        model="openai/whisper-1", file=RECORDING, api_base=address(), api_key="unused", **options
    )


async def awaited() -> dict[str, Any]:
    """Return what the awaited calls come to."""
    named = {"api_base": address(), "api_key": "unused"}
    response = await litellm.aembedding(model="openai/bge-m3", input=TEXTS, **named)
    transcript = await litellm.atranscription(model="openai/whisper-1", file=RECORDING, **named)
    missing = await awaited_error_of(litellm.aembedding(model="openai/none", input=TEXTS, **named))
    return {
        "vectors": [item["embedding"] for item in response.data],
        "text": transcript.text,
        "errors": {"missing": missing},
    }


verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"])
router = litellm.Router(
    model_list=[
        {
            "model_name": "embeddings",
            "litellm_params": {"model": "openai/bge-m3", "api_base": address(), "api_key": "unused"},
        }
    ]
)
write(
    {
        "vectors": embed("openai/bge-m3"),
        "providers": {name: len(embed(f"{name}/bge-m3")) for name in PROVIDERS},
        "router": len(router.embedding(model="embeddings", input=TEXTS).data),
        "dimensions": len(embed("openai/bge-m3", dimensions=8, allowed_openai_params=["dimensions"])[0]),
        "models": litellm.get_valid_models(
            check_provider_endpoint=True, custom_llm_provider="openai", api_base=address(), api_key="unused"
        ),
        "text": transcribe().text,
        "words": [word["word"] for word in verbose.words],
        "subtitles": transcribe(response_format="srt").text,
        "errors": {
            "missing": error_of(lambda: embed("openai/none")),
            "bad": error_of(lambda: embed("openai/bge-m3", input=["one", "bad"])),
            "late": error_of(lambda: embed("openai/silent", timeout=LATE_S, max_retries=0)),
        },
        "awaited": asyncio.run(awaited()),
    }
)
