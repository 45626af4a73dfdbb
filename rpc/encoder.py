"""`encode` as sentence-transformers spells it, over the queue: for code that expects such a model."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from rpc.client import Client
from rpc.errors import InvalidInput, UnknownModel
from rpc.inspection import model_state
from rpc.keys import Lane
from rpc.requests import DEFAULT_TIMEOUT_S
from rpc.results import Vector

FREE = frozenset({"show_progress_bar", "convert_to_numpy", "device", "chunk_size", "pool"})
"""Arguments that say how sentence-transformers is to work, and nothing of the vectors: batches are made by workers."""


class Encoder:
    """One embedding model, with the methods of a `SentenceTransformer`. Safe to share between threads.

    Vectors have unit norm unless `normalize_embeddings` is off. The models served here have no prompts of their own, so
    a query and a document are encoded alike.
    """

    def __init__(
        self,
        model: str = "bge-m3",
        client: Client | None = None,
        *,
        lane: Lane = "interactive",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.model = model
        self._own = client is None
        self._client = client or Client()
        self._lane: Lane = lane
        self._timeout_s = timeout_s

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
        sentences: str | Sequence[str] | NDArray[np.str_],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        *,
        normalize_embeddings: bool = True,
        **more: Any,
    ) -> Vector:
        """Return the vectors of texts, float32 (n, d), in their order, or of one text, float32 (d,).

        `prompt` is put in front of each text. Arguments of sentence-transformers that change no number are taken and
        passed over; `InvalidInput` is raised on those that would, and `PartialFailure` if some texts failed.
        """
        del batch_size
        _check(prompt_name, more)
        one = isinstance(sentences, str)
        texts = [cast("str", sentences)] if one else [str(text) for text in sentences]
        given = [f"{prompt}{text}" for text in texts] if prompt else texts
        if not given:
            return np.zeros((0, self.get_sentence_embedding_dimension()), np.float32)
        vectors = self._client.embed_texts(
            given, model=self.model, normalize=normalize_embeddings, lane=self._lane, timeout_s=self._timeout_s
        )
        row: Vector = vectors[0]
        return row if one else vectors

    def encode_query(self, sentences: str | Sequence[str], **options: Any) -> Vector:
        """Return the vectors of what is searched for; see `encode`."""
        return self.encode(sentences, **options)

    def encode_document(self, sentences: str | Sequence[str], **options: Any) -> Vector:
        """Return the vectors of what is searched in; see `encode`."""
        return self.encode(sentences, **options)

    def get_sentence_embedding_dimension(self) -> int:
        """Return how many numbers a vector has, as a live worker tells; raise `UnknownModel` if none does."""
        state = self._client.ask(model_state(self._client.prefix, self.model))
        if state.dimension is None:
            raise UnknownModel(f"no live worker tells the dimension of {self.model}")
        return state.dimension


def _check(prompt_name: str | None, more: dict[str, Any]) -> None:
    if prompt_name is not None:
        raise InvalidInput(f"prompt_name is {prompt_name!r}, and the models here have no prompts: give prompt")
    plain = {"convert_to_tensor": False, "output_value": "sentence_embedding", "precision": "float32"}
    for name, value in more.items():
        if name not in FREE and name not in plain:
            raise TypeError(f"encode got an unexpected keyword argument {name!r}")
        if name in plain and value != plain[name]:
            raise InvalidInput(f"{name} is {value!r}, and only {plain[name]!r} is made here")
