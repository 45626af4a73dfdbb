"""Haystack's embedders as its users call them, against the gateway named by the first argument."""

import asyncio
from typing import Any

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

from tests.clients.report import LATE_S, TEXTS, address, awaited_error_of, error_of, write


def embedder(kind: Any, name: str = "bge-m3", **options: Any) -> Any:
    """Return one of the embedders."""
    options = {"max_retries": 0, **options}
    return kind(model=name, api_base_url=address(), api_key=Secret.from_token("unused"), **options)


def documents(texts: list[str]) -> list[Document]:
    """Return texts as documents."""
    return [Document(content=text) for text in texts]


async def awaited() -> dict[str, Any]:
    """Return what the awaited calls come to."""
    made = await embedder(OpenAIDocumentEmbedder).run_async(documents(TEXTS))
    missing = await awaited_error_of(embedder(OpenAITextEmbedder, "none").run_async(TEXTS[0]))
    return {"vectors": [document.embedding for document in made["documents"]], "errors": {"missing": missing}}


made = embedder(OpenAIDocumentEmbedder).run(documents(TEXTS))
query = embedder(OpenAITextEmbedder).run(TEXTS[0])
strict = embedder(OpenAIDocumentEmbedder, raise_on_failure=True)
write(
    {
        "vectors": [document.embedding for document in made["documents"]],
        "query": query["embedding"] == made["documents"][0].embedding,
        "usage": query["meta"]["usage"],
        "dimensions": len(embedder(OpenAITextEmbedder, dimensions=8).run(TEXTS[0])["embedding"]),
        "errors": {
            "missing": error_of(lambda: embedder(OpenAITextEmbedder, "none").run(TEXTS[0])),
            "bad": error_of(lambda: strict.run(documents(["one", "bad"]))),
            "late": error_of(lambda: embedder(OpenAITextEmbedder, "silent", timeout=LATE_S).run(TEXTS[0])),
        },
        "awaited": asyncio.run(awaited()),
    }
)
