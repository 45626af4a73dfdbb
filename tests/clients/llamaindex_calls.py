"""LlamaIndex's embeddings as its users call them, against the gateway named by the first argument."""

import asyncio
from typing import Any

from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from tests.clients.report import LATE_S, TEXTS, address, awaited_error_of, error_of, write


def model(name: str = "bge-m3", **options: Any) -> Any:
    """Return the class for servers like OpenAI's."""
    options = {"max_retries": 0, **options}
    return OpenAILikeEmbedding(model_name=name, api_base=address(), api_key="unused", **options)


async def awaited() -> dict[str, Any]:
    """Return what the awaited calls come to."""
    vectors = await model().aget_text_embedding_batch(TEXTS)
    query = await model().aget_query_embedding(TEXTS[0])
    missing = await awaited_error_of(model("none").aget_query_embedding(TEXTS[0]))
    return {"vectors": vectors, "query": query == vectors[0], "errors": {"missing": missing}}


own = OpenAIEmbedding(model="text-embedding-3-small", api_base=address(), api_key="unused")
write(
    {
        "vectors": model().get_text_embedding_batch(TEXTS),
        "own class": own.get_text_embedding_batch(TEXTS) == model().get_text_embedding_batch(TEXTS),
        "many": len(model(embed_batch_size=100).get_text_embedding_batch([f"text {number}" for number in range(250)])),
        "dimensions": len(model(dimensions=8).get_query_embedding(TEXTS[0])),
        "errors": {
            "missing": error_of(lambda: model("none").get_query_embedding(TEXTS[0])),
            "bad": error_of(lambda: model().get_text_embedding_batch(["one", "bad"])),
            "late": error_of(lambda: model("silent", timeout=LATE_S).get_query_embedding(TEXTS[0])),
        },
        "awaited": asyncio.run(awaited()),
    }
)
