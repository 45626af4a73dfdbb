"""LangChain's `Embeddings` over the queue, without a gateway in between. Needs the extra `langchain`."""

from langchain_core.embeddings import Embeddings

from rpc import AsyncClient, Client, RedisSettings
from rpc.keys import Lane
from rpc.plans import ListOptions
from rpc.requests import OnError


class PenstockEmbeddings(Embeddings):
    """Embeds texts with a model behind the queue; vectors have unit norm.

    A text that fails, such as a blank chunk, fails its call with `PartialFailure`, which names its index and has the
    vectors of the others. With `on_error="nan"` its vector is NaN instead, for callers that drop such rows.
    `query_prompt_name` and `document_prompt_name` name prompts of a model that has some; without them its default one
    is used.
    """

    def __init__(
        self,
        model: str = "bge-m3",
        *,
        settings: RedisSettings | None = None,
        lane: Lane = "interactive",
        dimensions: int | None = None,
        on_error: OnError = "raise",
        query_prompt_name: str | None = None,
        document_prompt_name: str | None = None,
    ) -> None:
        self.model = model
        common: ListOptions = {"model": model, "lane": lane, "dimensions": dimensions, "on_error": on_error}
        self._documents: ListOptions = {**common, "prompt_name": document_prompt_name}
        self._queries: ListOptions = {**common, "prompt_name": query_prompt_name}
        settings = settings or RedisSettings.from_env()
        self._client = Client(settings=settings)
        self._async_client = AsyncClient(settings=settings)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order."""
        return self._embed(texts, self._documents)

    def _embed(self, texts: list[str], options: ListOptions) -> list[list[float]]:
        if not texts:
            return []
        vectors: list[list[float]] = self._client.embed_texts(texts, **options).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        return self._embed([text], self._queries)[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order."""
        return await self._aembed(texts, self._documents)

    async def _aembed(self, texts: list[str], options: ListOptions) -> list[list[float]]:
        if not texts:
            return []
        vectors: list[list[float]] = (await self._async_client.embed_texts(texts, **options)).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        return (await self._aembed([text], self._queries))[0]

    def close(self) -> None:
        """Close the blocking client."""
        self._client.close()

    async def aclose(self) -> None:
        """Close both clients, on every event loop that used them."""
        self.close()
        await self._async_client.close()
