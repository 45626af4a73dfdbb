"""What the embedding models share: checking a text, and putting vectors together into a result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference_worker.models.base import InvalidInput, Outcome, failed_inputs
from rpc.errors import RpcError


class Embedded(NamedTuple):
    """One input's vector, float32 (d,), whether the input was cut to fit the model, and how many tokens were read."""

    vector: NDArray[np.float32]
    truncated: bool
    tokens: int = 0


def checked_text(given: Any, *, max_chars: int) -> str:
    """Return the text, or raise `InvalidInput` if it is none, empty, broken, or longer than `max_chars`."""
    if not isinstance(given, str):
        raise InvalidInput(f"the input is of type {type(given).__name__}, not a text")
    if not given.strip():
        raise InvalidInput("the text is empty")
    if len(given) > max_chars:
        raise InvalidInput(f"the text has {len(given)} characters, over the limit of {max_chars}")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"the text has half a character at {error.start}, a lone surrogate") from None
    return given


def checked_flag(options: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a yes-or-no option, `default` if it is missing or None; raise `InvalidInput` if it is neither."""
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(f"option {name} is {value!r:.100}, neither true nor false")
    return value


def checked_outputs(options: Mapping[str, Any], made: Sequence[str]) -> frozenset[str]:
    """Return what is asked for of what the model makes, "dense" unless told; raise `InvalidInput` on anything else."""
    asked = ["dense"] if options.get("outputs") is None else options["outputs"]
    if not isinstance(asked, list | tuple) or not asked or not all(isinstance(name, str) for name in asked):
        raise InvalidInput(f"option outputs is {asked!r:.100}, not a list of some of {', '.join(made)}")
    for name in asked:
        if name not in made:
            raise InvalidInput(f"option outputs: {name!r:.100} is none of {', '.join(made)}")
    return frozenset(asked)


def refuse_unknown(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `InvalidInput` on an option the op does not have: a misspelt one would silently do nothing."""
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        raise InvalidInput(f"unknown option {unknown[0]!r:.100}; expected one of {', '.join(known)}")


def checked_finite(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a model gave; raise `FloatingPointError` on NaN, which would read as a failure without a reason."""
    if not np.isfinite(numbers).all():
        raise FloatingPointError("the model gave numbers that are not finite")
    return numbers


def check_told_apart(vectors: Sequence[NDArray[np.float32]], dimension: int, directory: Path) -> None:
    """Raise `ValueError` unless what weights make of different inputs is vectors of their size, the first two apart."""
    for vector in vectors:
        if vector.shape != (dimension,):
            raise ValueError(f"{directory}: a vector of {vector.shape}, not of {dimension}")
    if np.allclose(vectors[0], vectors[1], atol=1e-6):
        raise ValueError(f"{directory}: two different texts give the same vector")


def embedding_result(outcomes: Sequence[Outcome], dimension: int) -> Mapping[str, Any]:
    """Return `{"vectors": (n, d), "truncated", "tokens", "failed"}`; the row of a failed input is NaN."""
    rows: list[Embedded | None] = [None if isinstance(outcome, RpcError) else outcome[0] for outcome in outcomes]
    return {
        "vectors": stacked([row and row.vector for row in rows], dimension),
        "truncated": [row is not None and row.truncated for row in rows],
        "tokens": [0 if row is None else row.tokens for row in rows],
        "failed": failed_inputs(outcomes),
    }


def stacked(rows: Sequence[NDArray[np.float32] | None], dimension: int) -> NDArray[np.float32]:
    """Return vectors as a matrix, float32 (n, d), with NaN for each None."""
    vectors = np.full((len(rows), dimension), np.nan, np.float32)
    for row, vector in enumerate(rows):
        if vector is not None:
            vectors[row] = vector
    return vectors
