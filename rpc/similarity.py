"""How alike vectors are, as sentence-transformers measures it: a larger number is more alike. NumPy only. Pure."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from rpc.errors import InvalidInput
from rpc.results import Vector

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]

DIFFERENCES = 1_000_000
"""Numbers of differences held at a time, so that a matrix of distances needs little more memory than itself."""


def check_similarity(name: Any) -> Similarity:
    """Return the name of a measure, or raise `InvalidInput`."""
    for known in get_args(Similarity):
        if name == known:
            measure: Similarity = known
            return measure
    raise InvalidInput(f"similarity_fn_name must be one of {', '.join(get_args(Similarity))}, got {name!r:.100}")


def similarity(name: Similarity, first: Any, second: Any) -> Vector:
    """Return the similarity of each row of `first` with each row of `second`, float32 (n, m).

    Each is (n, d), or (d,) for one row. A zero vector has a cosine of 0 with all others. Distances are negative.
    """
    rows, others = _matrix(first), _matrix(second)
    _check_width(rows, others)
    if name == "cosine":
        return np.asarray(_scaled(rows) @ _scaled(others).T, np.float32)
    if name == "dot":
        return np.asarray(rows @ others.T, np.float32)
    made = np.empty((len(rows), len(others)), np.float32)
    portion = max(1, DIFFERENCES // max(1, others.size))
    for start in range(0, len(rows), portion):
        made[start : start + portion] = -_LENGTHS[name](rows[start : start + portion, None, :] - others)
    return made


def pairwise_similarity(name: Similarity, first: Any, second: Any) -> Vector:
    """Return the similarity of each row of `first` with the row of `second` in the same place, float32 (n,)."""
    rows, others = _matrix(first), _matrix(second)
    _check_width(rows, others)
    if len(rows) != len(others):
        raise InvalidInput(f"as many rows must be on both sides, got {len(rows)} and {len(others)}")
    if name == "cosine":
        return np.asarray((_scaled(rows) * _scaled(others)).sum(axis=-1), np.float32)
    if name == "dot":
        return np.asarray((rows * others).sum(axis=-1), np.float32)
    return np.asarray(-_LENGTHS[name](rows - others), np.float32)


def _euclidean(differences: Any) -> Any:
    return np.linalg.norm(differences, axis=-1)


def _manhattan(differences: Any) -> Any:
    return np.abs(differences).sum(axis=-1)


_LENGTHS: dict[str, Callable[[Any], Any]] = {"euclidean": _euclidean, "manhattan": _manhattan}


def _matrix(vectors: Any) -> Vector:
    matrix = np.atleast_2d(np.asarray(vectors, np.float32))
    if matrix.ndim != 2:  # noqa: PLR2004 (rows and their numbers)
        raise InvalidInput(f"vectors must have the shape (n, d) or (d,), got {matrix.shape}")
    return matrix


def _check_width(rows: Vector, others: Vector) -> None:
    if rows.shape[1] != others.shape[1]:
        raise InvalidInput(f"vectors must be of the same length, got {rows.shape[1]} and {others.shape[1]} numbers")


def _scaled(rows: Vector) -> Vector:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
