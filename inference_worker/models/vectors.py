"""What the embedding models share: checking a text, and putting vectors together into a result."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference_worker.models.base import InvalidInput, Outcome
from rpc.errors import RpcError


class Embedded(NamedTuple):
    """One input's vector, float32 (d,), and whether the input was cut to fit the model."""

    vector: NDArray[np.float32]
    truncated: bool


def checked_text(given: Any, *, max_chars: int) -> str:
    """Return the text, or raise `InvalidInput` if it is none, empty, or longer than `max_chars`."""
    if not isinstance(given, str):
        raise InvalidInput(f"the input is of type {type(given).__name__}, not a text")
    if not given.strip():
        raise InvalidInput("the text is empty")
    if len(given) > max_chars:
        raise InvalidInput(f"the text has {len(given)} characters, over the limit of {max_chars}")
    return given


def checked_flag(options: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a yes-or-no option, or raise `InvalidInput` if it is neither."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"option {name} is {value!r}, neither true nor false")
    return value


def refuse_unknown(options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `InvalidInput` on an option the op does not have: a misspelt one would silently do nothing."""
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        raise InvalidInput(f"option {unknown[0]!r} is none of {', '.join(known)}")


def embedding_result(outcomes: Sequence[Outcome], dimension: int) -> Mapping[str, Any]:
    """Return `{"vectors": (n, d), "truncated", "failed"}`; the row of a failed input is NaN."""
    vectors = np.full((len(outcomes), dimension), np.nan, np.float32)
    truncated = [False] * len(outcomes)
    failed = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, RpcError):
            failed.append({"index": index, "code": outcome.code, "message": str(outcome)})
        else:
            vectors[index], truncated[index] = outcome[0]
    return {"vectors": vectors, "truncated": truncated, "failed": failed}
