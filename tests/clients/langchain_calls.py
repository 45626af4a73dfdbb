"""LangChain's class for OpenAI as its users call it, against the gateway named by the first argument."""

import asyncio
from typing import Any

from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from tests.clients.report import LATE_S, TEXTS, address, awaited_error_of, error_of, write


def model(name: str = "bge-m3", **options: Any) -> Any:
    """Return the class, told to send texts and not token ids of another vocabulary."""
    options = {"max_retries": 0, **options}
    return OpenAIEmbeddings(
        model=name, base_url=address(), api_key=SecretStr("unused"), check_embedding_ctx_length=False, **options
    )


async def awaited() -> dict[str, Any]:
    """Return what the awaited calls come to."""
    missing = await awaited_error_of(model("none").aembed_query(TEXTS[0]))
    return {"vectors": await model().aembed_documents(TEXTS), "errors": {"missing": missing}}


vectors = model().embed_documents(TEXTS)
write(
    {
        "vectors": vectors,
        "query": model().embed_query(TEXTS[0]) == vectors[0],
        "dimensions": len(model(dimensions=8).embed_query(TEXTS[0])),
        "errors": {
            "missing": error_of(lambda: model("none").embed_query(TEXTS[0])),
            "bad": error_of(lambda: model().embed_documents(["one", "bad"])),
            "late": error_of(lambda: model("silent", timeout=LATE_S).embed_query(TEXTS[0])),
        },
        "awaited": asyncio.run(awaited()),
    }
)
