"""`encode` as sentence-transformers spells it, over the queue: for code that expects such a model."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict

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

QUERY_PROMPTS, DOCUMENT_PROMPTS = ("query",), ("document", "passage", "corpus")
"""Names of prompts that sentence-transformers takes for queries and for documents, the first that there is."""

EMPTY_PROMPTS = ("query", "document")
"""Prompts that sentence-transformers gives every model, empty unless its publisher sets them."""

ABOUT_S = 10.0
"""How long what a worker says of its model is taken for true, in seconds."""


class PromptOptions(TypedDict, total=False):
    """How a model with prompts is asked for one."""

    prompt: str | None
    prompt_name: str | None


Texts = str | Sequence[str] | NDArray[np.str_]


class Encoder:
    """One embedding model, with the methods of a `SentenceTransformer`. Safe to share between threads.

    Vectors have unit norm unless `normalize_embeddings` is off. `encode_query` and `encode_document` use the prompt
    that the model has for queries or for documents; a model without prompts encodes both alike.

    Attributes:
        model: the name of the model.
        truncate_dim: how many of their first numbers vectors keep; None keeps all.
    """

    def __init__(
        self,
        model: str = "bge-m3",
        client: Client | None = None,
        *,
        lane: Lane = "interactive",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        truncate_dim: int | None = None,
        similarity_fn_name: Similarity | None = None,
        on_error: OnError = "raise",
    ) -> None:
        check_dimensions(truncate_dim)
        check_on_error(on_error)
        self.model = model
        self.truncate_dim = truncate_dim
        self._measure = None if similarity_fn_name is None else check_similarity(similarity_fn_name)
        self._announced: Mapping[str, str] = {}
        self._asked_at = float("-inf")
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

        `prompt`, or the prompt of the model that `prompt_name` names, is put in front of each text; without either, the
        model's default one, if it has one. With `truncate_dim`, here or of the encoder, vectors keep so many of
        their first numbers, scaled to unit norm again unless `normalize_embeddings` is off. `sentences` may be called
        `inputs`, as version 6 of sentence-transformers does. Its arguments that change no number are taken and passed
        over; `InvalidInput` is raised on those that would.

        A text that fails, such as None or an empty one, raises `PartialFailure` with its index and the others' vectors;
        with `on_error="nan"` of the encoder its row is NaN.
        """
        del batch_size
        given = more.pop("inputs", None) if sentences is None else sentences
        _check(more)
        texts, one = _texts(given)
        dimensions = self.truncate_dim if truncate_dim is None else truncate_dim
        if not texts:
            return self._blank(0, dimensions)
        prompts = self._prompt_options(prompt, prompt_name)
        vectors = self._client.embed_texts(
            texts if "prompt" in prompts else _prefixed(prompt, texts),
            model=self.model,
            normalize=normalize_embeddings,
            dimensions=dimensions,
            **prompts,
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
        """Return the vectors of what is searched for, behind the model's prompt for queries; see `encode`."""
        return self.encode(sentences, **self._with_prompt(options, QUERY_PROMPTS))

    def encode_document(self, sentences: Texts | None = None, **options: Any) -> Vector:
        """Return the vectors of what is searched in, behind the model's prompt for documents; see `encode`."""
        return self.encode(sentences, **self._with_prompt(options, DOCUMENT_PROMPTS))

    def _with_prompt(self, options: dict[str, Any], candidates: Sequence[str]) -> dict[str, Any]:
        """Return options with the first of these prompts that the model has, unless they choose one themselves."""
        if options.get("prompt") is not None or options.get("prompt_name") is not None:
            return options
        names = self._prompt_names() or ()
        return {**options, "prompt_name": next((name for name in candidates if name in names), None)}

    def _prompt_options(self, prompt: str | None, prompt_name: str | None) -> PromptOptions:
        """Return how the model is asked for a prompt; `InvalidInput` if it has none of that name.

        A model without prompts of its own has empty ones for queries and documents, as sentence-transformers gives it,
        and gets texts with the prompt in front.
        """
        if prompt is not None and prompt_name is not None:
            raise InvalidInput("prompt and prompt_name exclude each other, got both")
        if prompt is None and prompt_name is None:
            return {}
        names = self._prompt_names()
        if names is None and prompt_name not in {None, *EMPTY_PROMPTS}:
            raise InvalidInput(
                f"prompt_name must be one of {', '.join(EMPTY_PROMPTS)} for {self.model}, got {prompt_name!r}"
            )
        if names is not None and prompt_name is not None and prompt_name not in names:
            raise InvalidInput(f"prompt_name must be one of {', '.join(names)} for {self.model}, got {prompt_name!r}")
        if names is None:
            return {}
        return {"prompt": prompt} if prompt is not None else {"prompt_name": prompt_name}

    def _prompt_names(self) -> list[str] | None:
        """Return the names of the model's own prompts, None if it has none; raise `UnknownModel` if nobody says so."""
        announced = self._about()
        if not announced:
            raise UnknownModel(f"no live worker says which prompts {self.model} has")
        return announced["prompts"].split(",") if announced.get("prompts") else None

    def _about(self) -> Mapping[str, str]:
        """Return what a live worker says of the model, at most `ABOUT_S` old; later what one said last, or nothing."""
        now = time.monotonic()
        if not self._announced or now - self._asked_at > ABOUT_S:
            state = self._client.ask(model_state(self._client.prefix, self.model))
            self._announced = next(iter(state.told), self._announced)
            self._asked_at = now
        return self._announced

    @property
    def similarity_fn_name(self) -> Similarity:
        """What `similarity` measures: "cosine", "dot", "euclidean" or "manhattan".

        Unless it was set, it is what the model's publisher says, as a live worker tells, else "cosine".
        """
        return self._measure or check_similarity(self._about().get("similarity", "cosine"))

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: Similarity) -> None:
        self._measure = check_similarity(name)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Vector:
        """Return how alike each vector of one side is to each of the other, float32 (n, m), larger the more alike.

        Each side is (n, d), or (d,) for one vector. Distances ("euclidean", "manhattan") are negative.
        """
        return similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Vector:
        """Return how alike the vectors in the same places are, float32 (n,); see `similarity`."""
        return pairwise_similarity(self.similarity_fn_name, embeddings1, embeddings2)

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


def _prefixed(prompt: str | None, texts: list[Any]) -> list[Any]:
    return [f"{prompt}{text}" if isinstance(text, str) else text for text in texts] if prompt else texts


def _check(more: dict[str, Any]) -> None:
    for name, value in more.items():
        if name not in FREE and name not in PLAIN:
            raise TypeError(f"encode got an unexpected keyword argument {name!r}")
        if name in PLAIN and value != PLAIN[name]:
            raise InvalidInput(f"{name} is {value!r}, and only {PLAIN[name]!r} is made here")
