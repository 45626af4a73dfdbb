"""Inputs of a list call that fail before they are sent: the others are sent without them, and their rows are NaN. Pure.

An input that cannot travel, such as half an emoji, would fail its whole job. It fails alone here, by its index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from rpc.errors import InvalidInput, RpcError
from rpc.results import Embeddings, Vector, no_rows

T = TypeVar("T")


def text_error(text: Any) -> InvalidInput | None:
    """Return why an input cannot be sent as a text, or None: anything but a str, and a str that UTF-8 cannot hold."""
    if not isinstance(text, str):
        return InvalidInput(f"the text is a {type(text).__name__}, not a str")
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return InvalidInput(f"the text has half a character at {error.start}, a lone surrogate")
    return None


def text_rejects(texts: Sequence[Any]) -> "Rejects":
    """Return which of these texts cannot be sent. An empty text can: its model says what becomes of it."""
    errors = ((index, text_error(text)) for index, text in enumerate(texts))
    return Rejects(len(texts), {index: error for index, error in errors if error is not None})


@dataclass(frozen=True, slots=True)
class Rejects:
    """Which inputs of a list call are not sent.

    Attributes:
        count: how many inputs the call has.
        errors: input index -> why it is not sent.
    """

    count: int
    errors: Mapping[int, InvalidInput]

    def sent(self, inputs: Sequence[T]) -> list[T]:
        """Return the inputs that are sent, in their order."""
        return [inputs[index] for index in self._indexes()]

    def failed(self, failed: Mapping[int, RpcError]) -> dict[int, RpcError]:
        """Return the errors of all inputs by their index in the call; `failed` counts those that were sent."""
        indexes = self._indexes()
        merged = {**self.errors, **{indexes[place]: error for place, error in failed.items()}}
        return dict(sorted(merged.items()))

    def rows(self, rows: Vector) -> Vector:
        """Return the rows of all inputs, float32 (n, d), from those of the inputs that were sent."""
        if not self.errors:
            return rows
        merged = np.full((self.count, rows.shape[1]), np.nan, np.float32)
        merged[self._indexes()] = rows
        return merged

    def embeddings(self, sent: Embeddings) -> Embeddings:
        """Return the embeddings of all inputs, from those of the inputs that were sent."""
        if not self.errors:
            return sent
        return replace(
            sent,
            dense=None if sent.dense is None else self.rows(sent.dense),
            sparse=None if sent.sparse is None else self._spread(sent.sparse, dict),
            colbert=None if sent.colbert is None else self._spread(sent.colbert, no_rows),
            truncated=self._spread(sent.truncated, bool),
            failed=self.failed(sent.failed),
        )

    def _spread(self, items: Sequence[T], blank: Callable[[], T]) -> list[T]:
        merged = [blank() for _ in range(self.count)]
        for index, item in zip(self._indexes(), items, strict=True):
            merged[index] = item
        return merged

    def _indexes(self) -> list[int]:
        return [index for index in range(self.count) if index not in self.errors]
