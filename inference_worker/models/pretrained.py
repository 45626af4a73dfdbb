"""Directories of pretrained weights, as the hub publishes them: finding, measuring and loading, with nothing missed.

Transformers fills what a file lacks with random numbers and says so in a log. Here it is an error.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from inference_worker import weights
from inference_worker.weights.published import PICKLED, SAFETENSORS

# its progress bars and load reports are for people at a prompt
transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

LENGTH_BYTES = 8
"""Of the little-endian number that a safetensors file begins with: the length of its header."""

OLD_SUBFOLDER = "0_Transformer"
"""Where early versions of sentence-transformers put a transformer's weights."""

OTHER_FORMATS = {
    ".onnx": "ONNX",
    ".xml": "OpenVINO",
    ".h5": "TensorFlow",
    ".msgpack": "Flax",
    ".gguf": "GGUF",
}
"""Suffix of a weights file -> its format, of those that are not read."""

PUBLISHED_WIDTH = 4
"""Bytes of a number in a pickled file, whose header cannot be read without unpickling: all known ones are float32."""


def find(source: str, *, models_dir: str, files: Sequence[str]) -> Path:
    """Return the directory of `source`, fetched from the hub if need be: `files`, and the weights in one format.

    Raises:
        FileNotFoundError: nothing has it.
        ValueError: it is a file.
    """
    place = weights.locate(source, models_dir=models_dir, patterns=(*files, SAFETENSORS))
    if not (_weight_files(place) or _weight_files(place / OLD_SUBFOLDER)):
        place = weights.locate(source, models_dir=models_dir, patterns=(*files, PICKLED))
    if not place.is_dir():
        raise ValueError(f"{place} is a file, not a directory of weights")
    return place


def require(directory: Path, *files: str) -> None:
    """Raise `FileNotFoundError` naming the first of the files that the directory lacks."""
    for file in files:
        if not (directory / file).is_file():
            raise FileNotFoundError(f"{directory} has no {file}")


def read_json(path: Path) -> dict[str, Any]:
    """Return the map a JSON file holds; raise `ValueError` naming the file if it holds none."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no map in JSON: {error}") from error


def read_json_list(path: Path) -> list[Any]:
    """Return the list a JSON file holds; raise `ValueError` naming the file if it does not hold one."""
    text = path.read_text("utf-8")
    try:
        if (entries := json.loads(text)) == list(entries):
            return list(entries)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold a list in JSON: {error}") from error
    raise ValueError(f"{path} must hold a list in JSON, got {text:.100}")


def stored_bytes(directory: Path, dtype: torch.dtype) -> int:
    """Return the memory the weights in a directory will take in `dtype`, from their files' headers and sizes alone.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file is no safetensors file.
    """
    return sum(_bytes_in(file, dtype.itemsize) for file in _required_weights(directory))


def _required_weights(directory: Path) -> list[Path]:
    files = _weight_files(directory)
    if not files:
        raise FileNotFoundError(
            f"{directory} has no weights: neither model.safetensors nor pytorch_model.bin{_other_weights(directory)}"
        )
    return files


def _other_weights(directory: Path) -> str:
    """Return words on weights in formats that are not read, which a directory has instead."""
    for file in sorted([*directory.glob("*"), *directory.glob("*/*")]):
        if format_name := OTHER_FORMATS.get(file.suffix):
            return f"; weights in {format_name}'s format ({file.relative_to(directory)}) are not served yet"
    return ""


def _weight_files(directory: Path) -> list[Path]:
    """Return the files Transformers would read: one, or its parts; safetensors before pickled."""
    for pattern in ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin"):
        if files := sorted(directory.glob(pattern)):
            return files
    return []


def _bytes_in(file: Path, width: int) -> int:
    size = file.stat().st_size
    if file.suffix != ".safetensors":
        return size * width // PUBLISHED_WIDTH
    with file.open("rb") as stored:
        length = int.from_bytes(stored.read(LENGTH_BYTES), "little")
        if not 0 < length <= size - LENGTH_BYTES:
            raise ValueError(f"{file} is no safetensors file, or not all of it")
        header = json.loads(stored.read(length))
    return sum(_tensor_bytes(about, width) for name, about in header.items() if name != "__metadata__")


def _tensor_bytes(about: dict[str, Any], width: int) -> int:
    """Return what a tensor takes; only numbers with a fraction (F32, BF16, F8_E4M3) are converted."""
    if about["dtype"].startswith(("F", "BF")):
        return width * int(math.prod(about["shape"]))
    start, stop = about["data_offsets"]
    return int(stop - start)


def load(kind: Any, directory: Path, *, dtype: torch.dtype, device: torch.device, **given: Any) -> PreTrainedModel:
    """Return a model of a class of Transformers from a local directory, on its device, ready to compute.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: the files cannot be read, or lack weights of the model, or have them in other shapes.
    """
    _required_weights(directory)
    try:
        model, report = kind.from_pretrained(
            directory, dtype=dtype, local_files_only=True, output_loading_info=True, **given
        )
    except Exception as error:
        raise ValueError(f"{directory} cannot be loaded: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{directory} lacks {len(missing)} weights of the model, the first {missing[0]}")
    model.to(device).eval().requires_grad_(requires_grad=False)
    loaded: PreTrainedModel = model
    return loaded
