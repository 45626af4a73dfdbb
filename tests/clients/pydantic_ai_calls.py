"""Pydantic AI's embedder as its users call it, against the gateway named by the first argument."""

import asyncio
from typing import Any

import httpx
from pydantic_ai import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.report import LATE_S, TEXTS, address, awaited_error_of, write


def embedder(name: str = "bge-m3", http: httpx.AsyncClient | None = None) -> Any:
    """Return an embedder of a model behind the gateway."""
    provider = OpenAIProvider(base_url=address(), api_key="unused", http_client=http)
    return Embedder(OpenAIEmbeddingModel(name, provider=provider))


async def calls() -> dict[str, Any]:
    """Return what the calls come to."""
    made = await embedder().embed_documents(TEXTS)
    query = await embedder().embed_query(TEXTS[0])
    short = await embedder().embed_query(TEXTS[0], settings={"dimensions": 8})
    async with httpx.AsyncClient(timeout=LATE_S) as impatient:
        late = await awaited_error_of(embedder("silent", impatient).embed_query(TEXTS[0]))
    return {
        "vectors": [list(vector) for vector in made.embeddings],
        "query": list(query.embeddings[0]) == list(made.embeddings[0]),
        "tokens": made.usage.input_tokens,
        "dimensions": len(short.embeddings[0]),
        "errors": {
            "missing": await awaited_error_of(embedder("none").embed_query(TEXTS[0])),
            "bad": await awaited_error_of(embedder().embed_documents(["one", "bad"])),
            "late": late,
        },
    }


write(asyncio.run(calls()))
