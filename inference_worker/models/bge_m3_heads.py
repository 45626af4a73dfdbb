"""The linear layers that BGE-M3 has on top of XLM-RoBERTa, each in a file of its own, and the weights of words."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inference_worker.models.pretrained import require


class SparseWeights(NamedTuple):
    """The weights of a text's words: `ids` int32, ascending and each once; `weights` float32, above 0."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


def load_head(file: Path, *, rows: int, columns: int) -> torch.nn.Linear:
    """Return the linear layer in a file of PyTorch's, without running code the file may bring.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no file of tensors, or they are not a weight (rows, columns) and a bias (rows,).
    """
    require(file.parent, file.name)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{file} is no file of tensors: {str(error).partition(chr(10))[0]}") from error
    found = {name: _shape(part) for name, part in state.items()} if isinstance(state, dict) else _shape(state)
    if found != {"weight": (rows, columns), "bias": (rows,)}:
        raise ValueError(f"{file} holds {found}, not weight {(rows, columns)} and bias {(rows,)}")
    layer = torch.nn.Linear(columns, rows)
    layer.load_state_dict(state)
    return layer.requires_grad_(requires_grad=False)


def _shape(part: object) -> object:
    return tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__


def sparse_weights(ids: NDArray[np.int32], weights: NDArray[np.float32], dropped: NDArray[np.int32]) -> SparseWeights:
    """Return of each id the largest weight at any of its places, without `dropped` ids and weights of 0."""
    kept = (weights > 0) & ~np.isin(ids, dropped)
    unique, place = np.unique(ids[kept], return_inverse=True)
    largest = np.zeros(len(unique), np.float32)
    np.maximum.at(largest, place, weights[kept])
    return SparseWeights(unique, largest)
