"""`encode` as sentence-transformers spells it, over the queue: for code that expects such a model."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rpc.client import Client
from rpc.errors import InvalidInput, UnknownModel
from rpc.inspection import model_state
from rpc.keys import Lane
from rpc.requests import DEFAULT_TIMEOUT_S, OnError, check_on_error
from rpc.results import Vector, check_dimensions
from rpc.similarity import Similarity, check_similarity, pairwise_similarity, similarity

FREE = frozenset({"show_progress_bar", "convert_to_numpy", "device", "chunk_size", "pool"})
"""Arguments that say how sentence-transformers is to work, and nothing of the vectors: batches are made by workers."""

PLAIN = {
    "convert_to_tensor": False,
    "output_value": "sentence_embedding",
    "precision": "float32",
    "task": None,
    "processing_kwargs": None,
}
"""Arguments that change what comes back, and the one value of each that is served here."""

Texts = str | Sequence[str] | NDArray[np.str_]


class Encoder:
    """One embedding model, with the methods of a `SentenceTransformer`. Safe to share between threads.

    Vectors have unit norm unless `normalize_embeddings` is off. The models served here have no prompts of their own, so
    a query and a document are encoded alike.

    Attributes:
        model: the name of the model.
        truncate_dim: how many of their first numbers vectors keep; None keeps all.
        similarity_fn_name: what `similarity` measures: "cosine", "dot", "euclidean" or "manhattan".
    """

    def __init__(
        self,
        model: str = "bge-m3",
        client: Client | None = None,
        *,
        lane: Lane = "interactive",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        truncate_dim: int | None = None,
        similarity_fn_name: Similarity = "cosine",
        on_error: OnError = "raise",
    ) -> None:
        check_dimensions(truncate_dim)
        check_on_error(on_error)
        self.model = model
        self.truncate_dim = truncate_dim
        self.similarity_fn_name: Similarity = check_similarity(similarity_fn_name)
        self._own = client is None
        self._client = client or Client()
        self._lane: Lane = lane
        self._timeout_s = timeout_s
        self._on_error: OnError = on_error

    def __enter__(self) -> Self:
        """Return the encoder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client if it is its own."""
        self.close()

    def close(self) -> None:
        """Close the client, unless it was given."""
        if self._own:
            self._client.close()

    def encode(
        self,
        sentences: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        *,
        normalize_embeddings: bool = True,
        truncate_dim: int | None = None,
        **more: Any,
    ) -> Vector:
        """Return the vectors of texts, float32 (n, d), in their order, or of one text, float32 (d,).

        `prompt` is put in front of each text. With `truncate_dim`, here or of the encoder, vectors keep so many of
        their first numbers, scaled to unit norm again unless `normalize_embeddings` is off. `sentences` may be called
        `inputs`, as version 6 of sentence-transformers does. Its arguments that change no number are taken and passed
        over; `InvalidInput` is raised on those that would.

        A text that fails, such as None or an empty one, raises `PartialFailure` with its index and the others' vectors;
        with `on_error="nan"` of the encoder its row is NaN.
        """
        del batch_size
        given = more.pop("inputs", None) if sentences is None else sentences
        _check(prompt_name, more)
        texts, one = _texts(given)
        dimensions = self.truncate_dim if truncate_dim is None else truncate_dim
        if not texts:
            return self._blank(0, dimensions)
        vectors = self._client.embed_texts(
            [f"{prompt}{text}" if isinstance(text, str) else text for text in texts] if prompt else texts,
            model=self.model,
            normalize=normalize_embeddings,
            dimensions=dimensions,
            on_error=self._on_error,
            lane=self._lane,
            timeout_s=self._timeout_s,
        )
        # a call all of whose texts failed does not tell the width
        rows = vectors if vectors.shape[1] else self._blank(len(texts), dimensions)
        row: Vector = rows[0]
        return row if one else rows

    def _blank(self, count: int, dimensions: int | None) -> Vector:
        return np.full((count, self._dimension(dimensions)), np.nan, np.float32)

    def encode_query(self, sentences: Texts | None = None, **options: Any) -> Vector:
        """Return the vectors of what is searched for; see `encode`."""
        return self.encode(sentences, **options)

    def encode_document(self, sentences: Texts | None = None, **options: Any) -> Vector:
        """Return the vectors of what is searched in; see `encode`."""
        return self.encode(sentences, **options)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Vector:
        """Return how alike each vector of one side is to each of the other, float32 (n, m), larger the more alike.

        Each side is (n, d), or (d,) for one vector. Distances ("euclidean", "manhattan") are negative.
        """
        return similarity(check_similarity(self.similarity_fn_name), embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Vector:
        """Return how alike the vectors in the same places are, float32 (n,); see `similarity`."""
        return pairwise_similarity(check_similarity(self.similarity_fn_name), embeddings1, embeddings2)

    def get_embedding_dimension(self) -> int:
        """Return how many numbers a vector of `encode` has: as a live worker says, at most `truncate_dim`.

        Raises `UnknownModel` if no live worker says so.
        """
        return self._dimension(self.truncate_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """Return the same, by the name it has in versions before 6 of sentence-transformers."""
        return self.get_embedding_dimension()

    def _dimension(self, dimensions: int | None) -> int:
        state = self._client.ask(model_state(self._client.prefix, self.model))
        if state.dimension is None:
            raise UnknownModel(f"no live worker tells the dimension of {self.model}")
        return state.dimension if dimensions is None else min(state.dimension, dimensions)


def _texts(given: Any) -> tuple[list[Any], bool]:
    """Return texts as a list, and whether it was one text; raise `InvalidInput` on what is neither."""
    items = given.tolist() if isinstance(given, np.ndarray) else given
    if isinstance(items, str):
        return [items], True
    if isinstance(items, bytes) or not isinstance(items, Iterable):
        raise InvalidInput(f"sentences must be a str or a list of str, got a {type(items).__name__}")
    return list(items), False


def _check(prompt_name: str | None, more: dict[str, Any]) -> None:
    if prompt_name is not None:
        raise InvalidInput(f"prompt_name is {prompt_name!r}, and the models here have no prompts: give prompt")
    for name, value in more.items():
        if name not in FREE and name not in PLAIN:
            raise TypeError(f"encode got an unexpected keyword argument {name!r}")
        if name in PLAIN and value != PLAIN[name]:
            raise InvalidInput(f"{name} is {value!r}, and only {PLAIN[name]!r} is made here")
